package dev.rhizome.android

import android.app.Application
import android.os.UserManager
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.UserNotAuthenticatedException
import dev.rhizome.KeeperException
import dev.rhizome.KeptSecret
import dev.rhizome.Pod
import dev.rhizome.RhizomeException
import dev.rhizome.running
import dev.rhizome.thrown
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.File
import java.security.ProviderException
import java.security.UnrecoverableKeyException

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = Application::class)
class KeystoreKeeperTest {
    private val application: Application = RuntimeEnvironment.getApplication()
    private val keeper = KeystoreKeeper(application)
    private val id = ByteArray(16) { it.toByte() }
    private val secret = ByteArray(32) { (it * 7).toByte() }
    private val secrets get() = File(rhizomeFolder(application), "secrets")

    @Before
    fun install() = FakeKeystore.install()

    private fun unlocked(unlocked: Boolean) = shadowOf(application.getSystemService(UserManager::class.java)).setUserUnlocked(unlocked)

    @Test
    fun `a secret is kept wrapped, found, and never overwritten`() = running {
        assertEquals(KeptSecret.Absent, keeper.load(id))
        keeper.create(id, secret)
        assertArrayEquals(secret, (KeystoreKeeper(application).load(id) as KeptSecret.Found).secret)
        val file = secrets.listFiles()!!.single()
        assertTrue(file.path.startsWith(application.noBackupFilesDir.path))
        assertFalse(file.readBytes().toList().windowed(8).any { it == secret.take(8) })
        val before = file.readBytes()
        thrown<KeeperException.Failed> { keeper.create(id, ByteArray(32)) }
        assertArrayEquals(before, file.readBytes())
        assertEquals(1, FakeKeystore.keys.size)
        assertEquals(KeptSecret.Absent, keeper.load(ByteArray(16)))
    }

    @Test
    fun `locked and gone are told apart`() = running {
        keeper.create(id, secret)
        unlocked(false)
        assertEquals(KeptSecret.Locked, keeper.load(id))
        // Not even where there is none: nobody can know.
        assertEquals(KeptSecret.Locked, keeper.load(ByteArray(16)))
        thrown<KeeperException.Failed> { keeper.create(ByteArray(16), secret) }
        unlocked(true)
        FakeKeystore.failure = { UserNotAuthenticatedException() }
        assertEquals(KeptSecret.Locked, keeper.load(id))
        FakeKeystore.failure = { ProviderException("the Keystore is busy", transientError()) }
        assertEquals(KeptSecret.Locked, keeper.load(id))
        FakeKeystore.failure = { UnrecoverableKeyException().apply { initCause(transientError()) } }
        assertEquals(KeptSecret.Locked, keeper.load(id))
        FakeKeystore.failure = { UnrecoverableKeyException() }
        assertEquals(KeptSecret.Absent, keeper.load(id))
        FakeKeystore.failure = { ProviderException("broken") }
        thrown<KeeperException.Failed> { keeper.load(id) }
        FakeKeystore.failure = null
        assertArrayEquals(secret, (keeper.load(id) as KeptSecret.Found).secret)
        FakeKeystore.failure = { KeyPermanentlyInvalidatedException() }
        assertEquals(KeptSecret.Absent, keeper.load(id))
        FakeKeystore.failure = null
        FakeKeystore.keys.clear()
        assertEquals(KeptSecret.Absent, keeper.load(id))
    }

    @Test
    fun `a damaged file is a failure, not an absence`() = running {
        keeper.create(id, secret)
        val file = secrets.listFiles()!!.single()
        val good = file.readBytes()
        for (place in good.indices) {
            file.writeBytes(good.copyOf().also { it[place] = (it[place] + 1).toByte() })
            thrown<KeeperException.Failed> { keeper.load(id) }
        }
        file.writeBytes(good.copyOf(10))
        thrown<KeeperException.Failed> { keeper.load(id) }
        // Nor does a secret open under another id.
        file.writeBytes(good)
        FakeKeystore.keys["dev.rhizome." + "00".repeat(16)] = FakeKeystore.keys.values.single()
        file.copyTo(File(secrets, "00".repeat(16) + ".wrapped"))
        thrown<KeeperException.Failed> { keeper.load(ByteArray(16)) }
    }

    @Test
    fun `a pod is made, found, locked and lost`() = running {
        thrown<RhizomeException.NotFound> { Pod.open(application) }
        val made = Pod.create(application, "phone")
        val did = made.pod.did
        assertTrue(made.pod.path.startsWith(application.noBackupFilesDir.path))
        made.pod.close()
        Pod.open(application).use { assertEquals(did, it.did) }
        unlocked(false)
        assertTrue(thrown<RhizomeException.Locked> { Pod.open(application) }.retryable)
        unlocked(true)
        val keys = FakeKeystore.keys.toMap()
        FakeKeystore.keys.clear()
        thrown<RhizomeException.NeedsRecovery> { Pod.open(application) }
        FakeKeystore.keys += keys
        Pod.open(application).use { assertEquals(did, it.did) }
        FakeKeystore.keys.clear()
        Pod.recoverFolder(application, made.words.joinToString(" ")).use { assertEquals(did, it.did) }
        Pod.open(application).use { assertEquals(did, it.did) }
        thrown<IllegalArgumentException> { Pod.open(application, "../elsewhere") }
    }

    /** The system's own error, which apps cannot make, with the first of its codes that it calls transient. */
    private fun transientError(): Throwable {
        val make = android.security.KeyStoreException::class.java.getConstructor(Int::class.java, String::class.java)
        return (-1000..1000).asSequence().map { make.newInstance(it, "busy") }.first { it.isTransientFailure }
    }
}
