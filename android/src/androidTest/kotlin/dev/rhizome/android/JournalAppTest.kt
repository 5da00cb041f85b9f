package dev.rhizome.android

import android.app.Application
import dev.rhizome.Pod
import dev.rhizome.runningHere
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

// guide: kotlin-android
class JournalApp : Application() {
    lateinit var rhizome: PodLifecycle

    override fun onCreate() {
        super.onCreate()
        rhizome = PodLifecycle.install(this, SyncSchedule(jobId = 4711)) { Pod.openIfThere(this) }
    }
}
// guide: end

/** The app of the guide. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = JournalApp::class)
class JournalAppTest {
    private val app = RuntimeEnvironment.getApplication() as JournalApp

    @After
    fun end() = runningHere { app.rhizome.uninstall() }

    @Test
    fun `an app begins with no pod, and has it once one was made`() = runningHere {
        FakeKeystore.install()
        assertNotNull(app.rhizome.scheduler.getPendingJob(4711))
        assertNull(app.rhizome.pod())
        val made = Pod.create(app, "phone").pod
        assertEquals(made.did, app.rhizome.pod()!!.did)
        assertEquals(0, app.rhizome.sync()!!.peers.size)
    }
}
