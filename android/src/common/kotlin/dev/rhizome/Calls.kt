package dev.rhizome

import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/** Runs an instant call of the library. */
internal inline fun <T> instant(call: () -> T): T = try {
    call()
} catch (e: InternalException) {
    throw fault(e)
} catch (e: IllegalStateException) {
    throw released(e)
}

/**
 * The library's threads that say that a call is done stay known to the virtual machine: to make one known and to forget it again, each time, costs
 * more than most calls.
 */
private val threadsStayAttached by lazy {
    Native.setCallbackThreadInitializer(uniffiRustFutureContinuationCallbackImpl, CallbackThreadInitializer(true, false, "rhizome"))
}

/** Runs an async call of the library; whoever cancels the coroutine ends the call too. */
internal suspend fun <T> awaiting(call: suspend (CancelHandle) -> T): T {
    threadsStayAttached
    val cancel = CancelHandle()
    try {
        return call(cancel)
    } catch (e: CancellationException) {
        // The generated code has let go of the call by now. Work that runs behind it is told here.
        cancel.cancel()
        throw e
    } catch (e: RhizomeException.Cancelled) {
        currentCoroutineContext().ensureActive()
        throw e
    } catch (e: InternalException) {
        throw fault(e)
    } catch (e: IllegalStateException) {
        throw released(e)
    } finally {
        cancel.close()
    }
}

/** Runs an async call that ends once begun, whoever waits. */
internal suspend fun toItsEnd(call: suspend () -> Unit) = awaiting { call() }

/** A subscription as a flow: cold, one reader each; whoever reads slowly gets several changes as one. */
internal fun <S : AutoCloseable, T : Any> pulled(begin: () -> S, next: suspend S.(CancelHandle) -> T?, end: S.() -> Unit): Flow<T> = flow {
    val subscription = instant(begin)
    try {
        while (true) {
            emit(awaiting { subscription.next(it) } ?: break)
        }
    } finally {
        subscription.end()
        subscription.close()
    }
}

// What the generated code throws where the library answers something that it should not.
private fun fault(e: InternalException) = RhizomeException
    .Internal("panic", "a fault in the library ended this call: the pod stays usable; please report it", false)
    .also { it.initCause(e) }

private fun released(e: IllegalStateException): Throwable =
    if (e is CancellationException || e.message?.endsWith("object has already been destroyed") != true) {
        e
    } else {
        RhizomeException.Closed("closed", "this object was closed: open it again", false).also { it.initCause(e) }
    }
