package dev.rhizome

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.net.DatagramPacket
import java.net.DatagramSocket
import java.net.InetAddress
import java.util.concurrent.TimeUnit

class ErrorTest {
    private val folder = Folder()
    private val keeper = TestKeeper()

    @AfterEach
    fun close() = folder.close()

    private suspend fun newPod() = Pod.create(folder.options(), keeper, "laptop").pod

    private suspend inline fun <reified E : RhizomeException> told(code: String, retryable: Boolean, call: () -> Any?) {
        val error = thrown<E> { call() }
        assertEquals(code, error.code)
        assertEquals(retryable, error.retryable, error.reason)
        assertEquals(error.reason, error.message)
        assertTrue(error.reason.length > 10, error.reason)
    }

    @Test
    fun `a folder is empty, taken, closed`() = running {
        told<RhizomeException.NotFound>("no-pod", false) { Pod.open(folder.options(), keeper) }
        val pod = newPod()
        told<RhizomeException.AlreadyExists>("pod-exists", false) { Pod.create(folder.options(), keeper, "again") }
        pod.shutdown()
        told<RhizomeException.Closed>("closed", false) { pod.collection("journal").count() }
        val journal = pod.collection("journal")
        pod.close()
        told<RhizomeException.Closed>("closed", false) { pod.status() }
        told<RhizomeException.Closed>("closed", false) { journal.count() }
        journal.close()
        told<RhizomeException.Closed>("closed", false) { journal.count() }
        told<RhizomeException.Closed>("closed", false) { journal.name }
    }

    @Test
    fun `another process has the folder`() = running {
        newPod().close()
        // This test's own JVM, once more, with the pod open until its input ends.
        val keys = folder.file.resolve("keys").toPath()
        val options = folder.options("shared")
        Pod.create(options, FileKeeper(keys), "first").pod.close()
        val java = ProcessHandle.current().info().command().get()
        val words = listOf(java, "-cp", System.getProperty("java.class.path"), "dev.rhizome.HolderKt", options.path, keys.toString())
        val other = ProcessBuilder(words).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        try {
            assertEquals("open", other.inputReader().readLine())
            told<RhizomeException.InUse>("in-use", true) { Pod.open(options, FileKeeper(keys)) }
        } finally {
            other.outputStream.close()
            if (!other.waitFor(30, TimeUnit.SECONDS)) other.destroyForcibly().waitFor()
        }
        Pod.open(options, FileKeeper(keys)).close()
    }

    @Test
    fun `a keeper is locked, has nothing, fails, throws, gives another secret`() = running {
        newPod().also { it.collection("journal").create { set("date", Value.Date(1)) } }.close()
        keeper.answers = Answers.LOCKED
        told<RhizomeException.Locked>("locked", true) { Pod.open(folder.options(), keeper) }
        keeper.answers = Answers.ABSENT
        told<RhizomeException.NeedsRecovery>("needs-recovery", false) { Pod.open(folder.options(), keeper) }
        keeper.answers = Answers.FAILING
        told<RhizomeException.Storage>("keeper", false) { Pod.open(folder.options(), keeper) }
        keeper.answers = Answers.THROWING
        val error = thrown<RhizomeException.Storage> { Pod.open(folder.options(), keeper) }
        assertFalse("person" in error.reason, error.reason)
        keeper.answers = Answers.OK
        keeper.wrong = true
        told<RhizomeException.Storage>("damaged", false) { Pod.open(folder.options(), keeper) }
        keeper.wrong = false
        Pod.open(folder.options(), keeper).use { assertEquals(1, it.collection("journal").count()) }
    }

    @Test
    fun `arguments that make no sense`() = running {
        newPod().use { pod ->
            told<RhizomeException.InvalidInput>("id", false) { pod.collection("journal").get("nonsense") }
            told<RhizomeException.InvalidInput>("ticket", false) { pod.linkDevice("nonsense").finished() }
            told<RhizomeException.InvalidInput>("address", false) { Pod.open(folder.options(listen = "home"), keeper) }
            thrown<IllegalArgumentException> { pod.collection("journal").list("date", -1) }
            thrown<IllegalArgumentException> { path("a", 1.5) }
        }
    }

    @Test
    fun `a link that is refused`() = running {
        newPod().use { pod ->
            val here = pod.invite()
            val matrix = here.matrix!!
            assertEquals(List(matrix.width.toInt()) { matrix.width.toInt() }, matrix.rows.map { it.size })
            // The finder's corner.
            assertEquals(List(7) { true } + false, matrix.rows[0].take(8))
            val there = Pod.join(folder.options("other"), TestKeeper(), "thief", here.code!!)
            assertNull(there.matrix)
            assertEquals(here.number(), there.number())
            there.answer(true)
            here.answer(false)
            told<RhizomeException.Refused>("link", false) { here.finished() }
            told<RhizomeException.Refused>("link", false) { there.pod() }
            assertNull(pod.linkDevice("nonsense").number())
        }
    }

    @Test
    fun `a call against a peer that never answers is cancelled and leaves nothing`() = running {
        newPod().use { pod ->
            val port = DatagramSocket(0, InetAddress.getLoopbackAddress()).use { it.localPort }
            val silentCode = Pod.create(folder.options("silent", "127.0.0.1:$port"), TestKeeper(), "silent").pod.use {
                it.invite().code!!
            }
            DatagramSocket(port, InetAddress.getLoopbackAddress()).use { silent ->
                silent.soTimeout = 60_000
                val handles = pod.handle.alive()
                val sockets = openFiles().count { it.startsWith("socket:") }
                repeat(3) { round ->
                    val joining = Pod.join(folder.options("joining$round"), TestKeeper(), "new", silentCode)
                    coroutineScope {
                        val waiting = launch(start = CoroutineStart.UNDISPATCHED) { joining.pod() }
                        // Dialled by now.
                        silent.receive(DatagramPacket(ByteArray(2048), 2048))
                        waiting.cancelAndJoin()
                        assertTrue(waiting.isCancelled)
                    }
                    joining.abort()
                    joining.close()
                }
                until("tasks and sockets are as before") {
                    pod.handle.alive().tasks == 1uL && openFiles().count { it.startsWith("socket:") } == sockets
                }
            }
        }
    }

    @Test
    fun `whoever cancels is told that it was cancelled, not that the library was`() = running {
        newPod().use { pod ->
            coroutineScope {
                val subscription = pod.handle.watchStatus()
                subscription.next(null)
                val waiting = async { runCatching { awaiting { subscription.next(it) } }.exceptionOrNull() }
                val asked =
                    launch(start = CoroutineStart.UNDISPATCHED) { thrown<CancellationException> { awaiting { subscription.next(it) } } }
                asked.cancelAndJoin()
                // The other waits on, and misses nothing.
                pod.collection("journal").create { set("date", Value.Date(1)) }
                assertNull(waiting.await())
            }
        }
    }

    @Test
    fun `a handle that cancels ends its call, which says so`() = running {
        newPod().use { pod ->
            pod.handle.watchStatus().use { subscription ->
                subscription.next(null)
                told<RhizomeException.Cancelled>("cancelled", true) {
                    awaiting {
                        it.cancel()
                        subscription.next(it)
                    }
                }
            }
            assertEquals(0, pod.collection("journal").count())
        }
    }

    @Test
    fun `a network that cannot be used`() = running {
        // An address that is nobody's (RFC 5737), so not this machine's either.
        Pod.create(folder.options(listen = "192.0.2.1:0"), keeper, "laptop").pod.use { pod ->
            told<RhizomeException.Network>("network", true) { pod.invite() }
            pod.collection("journal").create { set("date", Value.Date(1)) }
        }
    }

    @Test
    fun `a folder of a newer version`() = running {
        newPod().close()
        val file = folder.file.resolve("pod/pod.json")
        val text = file.readText()
        file.writeText(text.replace("\"format\": 1", "\"format\": 2"))
        told<RhizomeException.UpdateNeeded>("update-needed", false) { Pod.open(folder.options(), keeper) }
        file.writeText(text)
        Pod.open(folder.options(), keeper).close()
    }

    @Test
    fun `a panic ends its call and the pod goes on`() = running {
        newPod().use { pod ->
            told<RhizomeException.Internal>("panic", false) { instant { pod.handle.panicNow() } }
            told<RhizomeException.Internal>("panic", false) { awaiting { pod.handle.panicLater(it) } }
            pod.collection("journal").create { set("date", Value.Date(1)) }
            assertEquals(1, pod.collection("journal").count())
        }
    }
}
