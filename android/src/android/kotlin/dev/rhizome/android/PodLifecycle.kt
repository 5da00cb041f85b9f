package dev.rhizome.android

import android.app.Activity
import android.app.Application
import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.ComponentName
import android.os.Build
import android.os.Bundle
import android.os.PersistableBundle
import android.util.Log
import dev.rhizome.Live
import dev.rhizome.Pod
import dev.rhizome.RhizomeException
import dev.rhizome.SyncReport
import dev.rhizome.SyncState
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/**
 * Keeps a pod in step with the app: live while it is in front, suspended while it is not, and synced in between by jobs of the system. Install it once,
 * in `Application.onCreate`, so that it is there too when the system starts the process for a job alone.
 *
 * While an activity is started the pod is open and connected. When the last one is gone the pod is suspended, and an expedited job (from Android 12 on;
 * before, a job that may start at once) syncs what was written last. A repeated job syncs as [SyncSchedule] says. What the system says of network, battery,
 * data saver and restrictions is forwarded to the pod, whose status gives it as reasons.
 */
public class PodLifecycle private constructor(
    private val application: Application,
    private val schedule: SyncSchedule,
    private val open: suspend () -> Pod?,
) {
    internal val scheduler: JobScheduler =
        application.getSystemService(JobScheduler::class.java).let {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) it.forNamespace(NAMESPACE) else it
        }
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    /** Held while the pod changes between its states. */
    private val turn = Mutex()
    private var pod: Pod? = null
    private var live: Live? = null
    private var syncs = 0

    // Of the main thread.
    private var started = 0
    private var leaving: Job? = null

    @Volatile
    private var inFront = false

    private val conditions: ConditionsWatch =
        ConditionsWatch(application) { network ->
            scope.launch {
                turn.withLock { pod }?.let { pod ->
                    pod.tell()
                    if (network) pod.quietly { networkChanged() }
                }
            }
        }

    /**
     * The pod, open and not suspended for as long as the app is in front; `null` while there is none, that is, when `open` gave none. To be asked for again
     * after one was made.
     */
    public suspend fun pod(): Pod? = turn.withLock {
        opened()?.also {
            it.resume()
            if (inFront && live == null) live = it.goLive()
        }
    }

    /** Syncs now, as the repeated job does. `null` while there is no pod. */
    public suspend fun sync(): SyncReport? {
        val pod =
            turn.withLock {
                opened()?.also {
                    it.resume()
                    syncs += 1
                }
            } ?: return null
        try {
            return pod.syncOnce(schedule.deadline, schedule.byteBudget)
        } finally {
            withContext(NonCancellable) {
                turn.withLock { syncs -= 1 }
                rest()
            }
        }
    }

    private suspend fun opened(): Pod? = pod ?: open()?.also { pod = it.apply { tell() } }

    private fun Pod.tell() {
        try {
            setConditions(conditions.now())
        } catch (e: RuntimeException) {
            // A maker's system that refuses a question is no reason not to sync.
            Log.w(TAG, "conditions: ${e.javaClass.simpleName}")
        }
    }

    private suspend fun Pod.quietly(call: suspend Pod.() -> Unit) {
        try {
            call()
        } catch (e: RhizomeException) {
            // Suspended meanwhile, most likely: then it has nothing to do.
            Log.d(TAG, "not done: ${e.code}")
        }
    }

    /** Lets go of files and sockets, unless the app is in front or a job syncs. */
    private suspend fun rest() = turn.withLock {
        if (inFront) return@withLock
        live?.apply {
            stop()
            close()
        }
        live = null
        if (syncs == 0) pod?.quietly { suspend() }
    }

    private fun enter() {
        inFront = true
        leaving?.cancel()
        leaving = null
        scope.launch {
            try {
                pod()
            } catch (e: RhizomeException) {
                Log.w(TAG, "the pod does not open: ${e.code}: ${e.reason}")
            }
        }
    }

    private fun leave() {
        // An activity that is made anew (the phone was turned) is gone for a moment.
        leaving =
            scope.launch {
                delay(GRACE)
                inFront = false
                withContext(NonCancellable) {
                    scheduleSoon()
                    rest()
                }
            }
    }

    private fun scheduleSoon() {
        val builder =
            JobInfo
                .Builder(schedule.soonJobId, ComponentName(application, SyncJobService::class.java))
                .setRequiredNetworkType(networkType())
                .setBackoffCriteria(schedule.backoff.inWholeMilliseconds, JobInfo.BACKOFF_POLICY_EXPONENTIAL)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) builder.setExpedited(true)
        if (scheduler.schedule(builder.build()) !=
            JobScheduler.RESULT_SUCCESS
        ) {
            Log.i(TAG, "the system takes no job now; the repeated one syncs")
        }
    }

    private fun networkType() = if (schedule.unmeteredOnly) JobInfo.NETWORK_TYPE_UNMETERED else JobInfo.NETWORK_TYPE_ANY

    private fun scheduleRepeated() {
        // Scheduling a job that is there already would begin its interval again, at every start of the app.
        val terms = "${schedule.interval} ${schedule.unmeteredOnly} ${schedule.chargingOnly} ${schedule.batteryNotLow} ${schedule.backoff}"
        if (scheduler.getPendingJob(schedule.jobId)?.extras?.getString(TERMS) == terms) return
        val job =
            JobInfo
                .Builder(schedule.jobId, ComponentName(application, SyncJobService::class.java))
                .setPeriodic(schedule.interval.inWholeMilliseconds)
                .setRequiredNetworkType(networkType())
                .setRequiresCharging(schedule.chargingOnly)
                .setRequiresBatteryNotLow(schedule.batteryNotLow)
                .setBackoffCriteria(schedule.backoff.inWholeMilliseconds, JobInfo.BACKOFF_POLICY_EXPONENTIAL)
                .setPersisted(true)
                .setExtras(PersistableBundle().apply { putString(TERMS, terms) })
                .build()
        if (scheduler.schedule(job) != JobScheduler.RESULT_SUCCESS) Log.w(TAG, "the system does not take the repeated job")
    }

    /** A job of the system's, to be started; it tells [done] whether to come again. */
    internal fun job(done: (again: Boolean) -> Unit): Job = scope.launch(start = CoroutineStart.LAZY) {
        val again =
            try {
                sync()?.let { unfinished(it.state) } ?: false
            } catch (e: RhizomeException) {
                Log.i(TAG, "a job ended: ${e.code}")
                e.retryable
            }
        done(again)
    }

    private fun unfinished(state: SyncState) = state is SyncState.Waiting && state.reason.kind in WORTH_TRYING

    /** Says to the pod that its network changed, for a job that goes on over it. */
    internal fun networkChanged() {
        scope.launch { turn.withLock { pod }?.quietly { networkChanged() } }
    }

    private val activities =
        object : Application.ActivityLifecycleCallbacks {
            override fun onActivityStarted(activity: Activity) {
                started += 1
                if (started == 1) enter()
            }

            override fun onActivityStopped(activity: Activity) {
                started -= 1
                if (started == 0) leave()
            }

            override fun onActivityCreated(activity: Activity, savedInstanceState: Bundle?) = Unit

            override fun onActivityResumed(activity: Activity) = Unit

            override fun onActivityPaused(activity: Activity) = Unit

            override fun onActivitySaveInstanceState(activity: Activity, outState: Bundle) = Unit

            override fun onActivityDestroyed(activity: Activity) = Unit
        }

    /** Ends it, for tests: an app's is there for as long as the process is. */
    internal suspend fun uninstall() {
        application.unregisterActivityLifecycleCallbacks(activities)
        conditions.close()
        scope.coroutineContext[Job]!!.cancel()
        pod?.close()
        if (installed === this) installed = null
    }

    /** Installs. */
    public companion object {
        private const val TAG = "rhizome"
        private const val TERMS = "dev.rhizome.terms"
        internal const val NAMESPACE = "dev.rhizome"
        internal val GRACE: Duration = 700.milliseconds

        /** What a later try may mend with nothing changed. */
        private val WORTH_TRYING =
            setOf(
                "not-tried",
                "new-entries",
                "peer-unreachable",
                "not-finished",
                "ended",
                "offline",
                "metered",
                "data-saver",
                "battery-low",
            )

        @Volatile
        internal var installed: PodLifecycle? = null
            private set

        /**
         * Installs it, in `Application.onCreate`. [open] opens the pod (`Pod.openIfThere(context)`), or gives `null` while the person has none; it is called when the
         * pod is first needed.
         */
        public fun install(application: Application, schedule: SyncSchedule, open: suspend () -> Pod?): PodLifecycle {
            check(installed == null) { "a process has one PodLifecycle" }
            return PodLifecycle(application, schedule, open).also {
                installed = it
                application.registerActivityLifecycleCallbacks(it.activities)
                it.scheduleRepeated()
            }
        }
    }
}
