package dev.rhizome.android

import android.app.Activity
import android.app.ActivityManager
import android.app.Application
import android.app.job.JobInfo
import android.app.job.JobParameters
import android.content.Intent
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.Build
import android.os.Looper
import android.os.PowerManager
import dev.rhizome.Answers
import dev.rhizome.CloudProcess
import dev.rhizome.Folder
import dev.rhizome.Pod
import dev.rhizome.RhizomeException
import dev.rhizome.SyncState
import dev.rhizome.TestKeeper
import dev.rhizome.Value
import dev.rhizome.linkCloud
import dev.rhizome.runningHere
import dev.rhizome.thrown
import dev.rhizome.until
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.launch
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowNetworkCapabilities
import org.robolectric.util.ReflectionHelpers
import java.util.Collections
import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = Application::class)
class PodLifecycleTest {
    private val application: Application = RuntimeEnvironment.getApplication()
    private val folder = Folder()
    private var pod: Pod? = null

    @After
    fun end() = runningHere {
        PodLifecycle.installed?.uninstall()
        pod?.close()
        folder.close()
    }

    private suspend fun newPod() = Pod.create(folder.options(), TestKeeper(), "phone").pod.also { pod = it }

    private fun install(deadline: Duration = 30.seconds, schedule: SyncSchedule = SyncSchedule(JOB, deadline = deadline)) =
        PodLifecycle.install(application, schedule) { pod }

    private suspend fun Pod.write() = collection("journal").create { set("date", Value.Date(1)) }

    private suspend fun suspended() = runCatching { pod!!.status() }.exceptionOrNull() is RhizomeException.Suspended

    private fun parameters(id: Int): JobParameters =
        Shadow.newInstanceOf(JobParameters::class.java).also { ReflectionHelpers.setField(it, "jobId", id) }

    /** As a phone of an older level answers, as far as the library asks. */
    private suspend fun onLevel(level: Int, test: suspend () -> Unit) {
        val now = Build.VERSION.SDK_INT
        try {
            ReflectionHelpers.setStaticField(Build.VERSION::class.java, "SDK_INT", level)
            test()
        } finally {
            ReflectionHelpers.setStaticField(Build.VERSION::class.java, "SDK_INT", now)
        }
    }

    private val terms = SyncSchedule(JOB, interval = 3.hours, unmeteredOnly = true, chargingOnly = true, backoff = 2.minutes)

    private val service = Robolectric.setupService(SyncJobService::class.java)

    private fun broadcast(action: String) {
        application.sendBroadcast(Intent(action))
        shadowOf(Looper.getMainLooper()).idle()
    }

    private suspend fun waitForEnd(): Boolean {
        until("the job ends") { shadowOf(service).isJobFinished }
        return shadowOf(service).isRescheduleNeeded
    }

    @Test
    fun `the repeated job stands with its terms, once`() = runningHere {
        val lifecycle = install(schedule = terms)
        val job = lifecycle.scheduler.allPendingJobs.single()
        assertEquals(JOB, job.id)
        assertEquals(3.hours.inWholeMilliseconds, job.intervalMillis)
        assertEquals(JobInfo.NETWORK_TYPE_UNMETERED, job.networkType)
        assertTrue(job.isRequireCharging && job.isRequireBatteryNotLow && job.isPersisted && job.isPeriodic)
        assertEquals(2.minutes.inWholeMilliseconds, job.initialBackoffMillis)
        assertEquals(JobInfo.BACKOFF_POLICY_EXPONENTIAL, job.backoffPolicy)
        assertEquals(SyncJobService::class.java.name, job.service.className)
        // In a namespace of its own, where the app's own jobs may have any id.
        assertEquals(PodLifecycle.NAMESPACE, lifecycle.scheduler.namespace)
    }

    @Test
    fun `the next start of the app leaves the job as it is, other terms replace it`() = runningHere {
        // Before Android 14: Robolectric keeps the jobs of a namespace with the object that scheduled them.
        onLevel(33) {
            val first = install(schedule = terms)
            assertNull(first.scheduler.namespace)
            val job = first.scheduler.getPendingJob(JOB)
            first.uninstall()
            val second = install(schedule = terms)
            assertTrue(job === second.scheduler.getPendingJob(JOB))
            second.uninstall()
            assertEquals(6.hours.inWholeMilliseconds, install().scheduler.getPendingJob(JOB)!!.intervalMillis)
        }
    }

    @Test
    fun `a job syncs, suspends and does not come again`() = runningHere {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val pod = newPod()
            linkCloud(pod, cloud)
            pod.write()
            pod.suspend()
            install()
            assertTrue(service.onStartJob(parameters(JOB)))
            assertFalse(waitForEnd())
            assertTrue(suspended())
            pod.resume()
            val status = pod.status()
            assertTrue("${status.sync}", status.sync is SyncState.UpToDate)
            assertEquals(0uL, status.onlyHere)
        }
    }

    @Test
    fun `a job that nobody answers is cut at its deadline and comes again`() = runningHere {
        val pod = newPod()
        CloudProcess(folder.file.resolve("cloud")).use { linkCloud(pod, it) }
        pod.write()
        install(deadline = 300.milliseconds)
        service.onStartJob(parameters(JOB))
        assertTrue(waitForEnd())
        assertTrue(suspended())
    }

    @Test
    fun `a job that used up its bytes comes again`() = runningHere {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            linkCloud(newPod(), cloud)
            pod!!.write()
            install(schedule = SyncSchedule(JOB, byteBudget = 1))
            service.onStartJob(parameters(JOB))
            assertTrue(waitForEnd())
            assertTrue(suspended())
        }
    }

    @Test
    fun `a job comes again when the same may work later, and only then`() = runningHere {
        val keeper = TestKeeper()
        Pod.create(folder.options(), keeper, "phone").pod.close()
        PodLifecycle.install(application, SyncSchedule(JOB)) { Pod.open(folder.options(), keeper) }
        keeper.answers = Answers.LOCKED
        service.onStartJob(parameters(JOB))
        assertTrue(waitForEnd())
        keeper.answers = Answers.ABSENT
        val again = Robolectric.setupService(SyncJobService::class.java)
        again.onStartJob(parameters(JOB))
        until("the job ends") { shadowOf(again).isJobFinished }
        assertFalse(shadowOf(again).isRescheduleNeeded)
    }

    @Test
    fun `whoever leaves while a job syncs does not end it, and a job in front does not end what is live`() = runningHere {
        val pod = newPod()
        CloudProcess(folder.file.resolve("cloud")).use { linkCloud(pod, it) }
        pod.write()
        val lifecycle = install(deadline = 10.minutes)
        val first = Robolectric.buildActivity(Activity::class.java).create().start()
        lifecycle.pod()
        service.onStartJob(parameters(JOB))
        first.stop()
        until("it is behind") { lifecycle.scheduler.getPendingJob(JOB + 1) != null }
        delay(200)
        assertFalse(suspended())
        val second = Robolectric.buildActivity(Activity::class.java).create().start()
        lifecycle.pod()
        service.onStopJob(parameters(JOB))
        delay(200)
        assertFalse(suspended())
        second.stop()
        until("it rests") { suspended() }
    }

    @Test
    fun `a job that the system stops ends, and comes again`() = runningHere {
        val pod = newPod()
        CloudProcess(folder.file.resolve("cloud")).use { linkCloud(pod, it) }
        pod.write()
        install(deadline = 10.minutes)
        val reasons = Collections.synchronizedSet(mutableSetOf<String>())
        val told =
            CoroutineScope(Dispatchers.Default).launch {
                pod.statusFlow().catch { }.collect { status -> (status.sync as? SyncState.Waiting)?.let { reasons += it.reason.kind } }
            }
        service.onStartJob(parameters(JOB))
        delay(200)
        assertFalse(shadowOf(service).isJobFinished)
        assertTrue(service.onStopJob(parameters(JOB)))
        until("the pod rests") { suspended() }
        told.cancel()
        // What the system stopped, the app does not finish.
        assertFalse(shadowOf(service).isJobFinished)
        // It was ended: one that went on behind its back would have found the peer away.
        assertTrue("$reasons", reasons.isNotEmpty() && "peer-unreachable" !in reasons)
    }

    @Test
    fun `a job of an app without a pod, or without a lifecycle, ends at once`() = runningHere {
        assertFalse(service.onStartJob(parameters(JOB)))
        install()
        assertTrue(service.onStartJob(parameters(JOB)))
        assertFalse(waitForEnd())
    }

    @Test
    fun `in front it is live, behind it rests and an expedited job is scheduled`() = runningHere {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val phone = newPod()
            linkCloud(phone, cloud)
            val lifecycle = install()
            val activity = Robolectric.buildActivity(Activity::class.java).create().start()
            assertNotNull(lifecycle.pod())
            // Live: what is written is held by the cloud peer with nobody syncing.
            phone.write()
            until("the cloud peer has it") { phone.status().onlyHere == 0uL }
            assertNull(lifecycle.scheduler.getPendingJob(JOB + 1))
            activity.stop()
            until("it rests") { suspended() }
            val job = lifecycle.scheduler.getPendingJob(JOB + 1)!!
            assertTrue(job.isExpedited)
            assertEquals(JobInfo.NETWORK_TYPE_ANY, job.networkType)
            assertTrue(service.onStartJob(parameters(JOB + 1)))
            assertFalse(waitForEnd())
            activity.start()
            until("it is in front again") { !suspended() }
        }
    }

    @Test
    fun `before Android 12 the job behind is a plain one, before 14 it has no namespace`() = runningHere {
        newPod()
        onLevel(26) {
            val lifecycle = install(schedule = terms)
            assertNull(lifecycle.scheduler.namespace)
            val activity = Robolectric.buildActivity(Activity::class.java).create().start()
            activity.stop()
            until("it is scheduled") { lifecycle.scheduler.getPendingJob(JOB + 1) != null }
            val job = lifecycle.scheduler.getPendingJob(JOB + 1)!!
            assertFalse(job.isExpedited)
            assertEquals(JobInfo.NETWORK_TYPE_UNMETERED, job.networkType)
            assertEquals(2.minutes.inWholeMilliseconds, job.initialBackoffMillis)
            until("it rests") { suspended() }
        }
    }

    @Test
    fun `a phone that is turned does not let go`() = runningHere {
        newPod()
        val lifecycle = install()
        val first = Robolectric.buildActivity(Activity::class.java).create().start()
        lifecycle.pod()
        first.stop()
        delay(PodLifecycle.GRACE / 4)
        Robolectric.buildActivity(Activity::class.java).create().start()
        delay(PodLifecycle.GRACE * 2)
        assertFalse(suspended())
        assertNull(lifecycle.scheduler.getPendingJob(JOB + 1))
    }

    @Test
    fun `the network is lost and comes back`() = runningHere {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val phone = newPod()
            linkCloud(phone, cloud)
            phone.write()
            val lifecycle = install()
            lifecycle.sync()
            phone.resume()
            phone.write()
            val connectivity = application.getSystemService(ConnectivityManager::class.java)
            val callback = shadowOf(connectivity).networkCallbacks.single()
            val network = connectivity.activeNetwork!!
            callback.onAvailable(network)
            val reason = suspend { (phone.status().sync as? SyncState.Waiting)?.reason?.kind }
            callback.onLost(network)
            until("it is offline") { reason() == "offline" }
            callback.onAvailable(network)
            until("it is metered, as a network is that does not say otherwise") { reason() == "metered" }
            val capabilities = ShadowNetworkCapabilities.newInstance()
            shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
            callback.onCapabilitiesChanged(network, capabilities)
            until("nothing keeps it") { reason() == "new-entries" }
        }
    }

    @Test
    fun `what the system says of power, data and the app is the reason why something waits`() = runningHere {
        val phone = newPod()
        CloudProcess(folder.file.resolve("cloud")).use { linkCloud(phone, it) }
        phone.write()
        install().pod()
        val connectivity = shadowOf(application.getSystemService(ConnectivityManager::class.java))
        val power = shadowOf(application.getSystemService(PowerManager::class.java))
        val manager = shadowOf(application.getSystemService(ActivityManager::class.java))
        val reason = suspend { (phone.status().sync as? SyncState.Waiting)?.reason?.kind }
        connectivity.setRestrictBackgroundStatus(ConnectivityManager.RESTRICT_BACKGROUND_STATUS_ENABLED)
        broadcast(ConnectivityManager.ACTION_RESTRICT_BACKGROUND_CHANGED)
        until("data is saved") { reason() == "data-saver" }
        power.setIsPowerSaveMode(true)
        broadcast(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED)
        until("power is saved") { reason() == "battery-low" }
        manager.setBackgroundRestricted(true)
        broadcast(Intent.ACTION_BATTERY_OKAY)
        until("the app is restricted") { reason() == "restricted" }
    }

    @Test
    fun `a second lifecycle is refused`() = runningHere {
        install()
        thrown<IllegalStateException> { install() }
    }

    private companion object {
        const val JOB = 4711
    }
}
