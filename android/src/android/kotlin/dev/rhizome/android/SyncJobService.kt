package dev.rhizome.android

import android.app.job.JobParameters
import android.app.job.JobService
import android.util.Log
import kotlinx.coroutines.Job
import java.util.concurrent.ConcurrentHashMap

/** Runs the jobs that [PodLifecycle] schedules. The library's manifest declares it; an app never calls it. */
public class SyncJobService : JobService() {
    private val running = ConcurrentHashMap<Int, Job>()

    /** Begins a sync. */
    override fun onStartJob(parameters: JobParameters): Boolean {
        val lifecycle = PodLifecycle.installed
        if (lifecycle == null) {
            Log.w("rhizome", "a job came and PodLifecycle is not installed: call PodLifecycle.install in Application.onCreate")
            return false
        }
        val job =
            lifecycle.job { again ->
                // A job that was stopped is over already, and the system knows whether it comes again.
                if (running.remove(parameters.jobId) != null) jobFinished(parameters, again)
            }
        running[parameters.jobId] = job
        return job.start()
    }

    /** Ends a sync that the system has no more time for; what it moved stays moved, and it is to come again. */
    override fun onStopJob(parameters: JobParameters): Boolean {
        running.remove(parameters.jobId)?.cancel()
        return true
    }

    /** Tells the pod. */
    override fun onNetworkChanged(parameters: JobParameters) {
        PodLifecycle.installed?.networkChanged()
    }
}
