package dev.rhizome.android

import android.content.Context
import android.os.Build
import android.os.UserManager
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import android.security.keystore.UserNotAuthenticatedException
import dev.rhizome.KeeperException
import dev.rhizome.KeptSecret
import dev.rhizome.SecretKeeper
import java.io.File
import java.io.FileNotFoundException
import java.io.FileOutputStream
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyStore
import java.security.ProviderException
import java.security.UnrecoverableKeyException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec

/**
 * Keeps device secrets: each in a file of its own that no backup holds, wrapped by a key of the Android Keystore that cannot leave this phone.
 *
 * A secret is *locked* until the phone was unlocked once since it started, and whenever the Keystore says that it cannot answer now. It is *absent* when its
 * file or its key is gone for good: the app was restored on another phone, its data was cleared, or the Keystore was. Anything else is a failure that says so.
 */
public class KeystoreKeeper(context: Context) : SecretKeeper {
    private val context = context.applicationContext

    /** Reads and unwraps a secret. */
    override fun load(id: ByteArray): KeptSecret {
        if (locked()) return KeptSecret.Locked
        return failing({ KeptSecret.Locked }) {
            val wrapped =
                try {
                    file(id).readBytes()
                } catch (_: FileNotFoundException) {
                    return@failing KeptSecret.Absent
                }
            if (wrapped.size <= 1 + NONCE || wrapped[0] != VERSION) {
                throw KeeperException.Failed("the file of the device secret is damaged")
            }
            try {
                val key = keystore().getKey(alias(id), null) as SecretKey? ?: return@failing KeptSecret.Absent
                val cipher = Cipher.getInstance(TRANSFORMATION)
                cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(TAG_BITS, wrapped, 1, NONCE))
                cipher.updateAAD(id)
                KeptSecret.Found(cipher.doFinal(wrapped, 1 + NONCE, wrapped.size - 1 - NONCE))
            } catch (_: KeyPermanentlyInvalidatedException) {
                KeptSecret.Absent
            } catch (e: UnrecoverableKeyException) {
                // The Keystore was cleared. If it is mistaken, nothing is lost: the folder is left as it is until the recovery words open it.
                if (isTransient(e)) KeptSecret.Locked else KeptSecret.Absent
            } catch (_: AEADBadTagException) {
                throw KeeperException.Failed("the file of the device secret is damaged")
            }
        }
    }

    /** Wraps and writes a secret. */
    override fun create(id: ByteArray, secret: ByteArray): Unit = synchronized(LOCK) {
        val now = { throw KeeperException.Failed("the Keystore cannot be used before the phone is unlocked") }
        if (locked()) now()
        failing(now) {
            val file = file(id)
            val keystore = keystore()
            if (file.exists()) {
                if (load(id) != KeptSecret.Absent) throw KeeperException.Failed("there is a secret by this id already")
                // The key is gone for good and the file opens nothing any more: the recovery words bring the secret back.
                keystore.deleteEntry(alias(id))
            }
            // A key without a file is what a crash in between left: no secret is under it.
            val key = keystore.getKey(alias(id), null) as SecretKey? ?: makeKey(id)
            val cipher = Cipher.getInstance(TRANSFORMATION)
            cipher.init(Cipher.ENCRYPT_MODE, key)
            cipher.updateAAD(id)
            val wrapped = cipher.doFinal(secret)
            check(cipher.iv.size == NONCE) { "the Keystore's nonce is ${cipher.iv.size} bytes long" }
            file.parentFile!!.mkdirs()
            val temporary = File(file.path + ".new")
            FileOutputStream(temporary).use {
                it.write(byteArrayOf(VERSION) + cipher.iv + wrapped)
                it.fd.sync()
            }
            if (!temporary.renameTo(file)) throw IOException("rename")
        }
    }

    private fun locked() = // False on phones that are not encrypted by file, where nothing is readable before the unlock anyway.
        context.getSystemService(UserManager::class.java)?.isUserUnlocked == false

    private fun file(id: ByteArray) = File(rhizomeFolder(context), "secrets/${hex(id)}.wrapped")

    private fun alias(id: ByteArray) = "dev.rhizome.${hex(id)}"

    private fun hex(id: ByteArray) = id.joinToString("") { "%02x".format(it) }

    private fun keystore(): KeyStore = KeyStore.getInstance(STORE).apply { load(null) }

    private fun makeKey(id: ByteArray): SecretKey {
        val spec =
            KeyGenParameterSpec
                .Builder(alias(id), KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT)
                .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
                .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
                .setKeySize(256)
                .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, STORE).apply { init(spec) }.generateKey()
    }

    private fun <T> failing(locked: () -> T, work: () -> T): T = try {
        work()
    } catch (e: KeeperException) {
        throw e
    } catch (_: UserNotAuthenticatedException) {
        locked()
    } catch (e: Exception) {
        when {
            isTransient(e) -> locked()

            e is IOException -> throw KeeperException.Failed("the file of the device secret cannot be used: ${e.javaClass.simpleName}")

            e is GeneralSecurityException || e is ProviderException || e is IllegalStateException ->
                throw KeeperException.Failed("the Keystore failed: ${e.javaClass.simpleName}")

            else -> throw e
        }
    }

    /** Whether the Keystore itself says that it may answer later; phones before Android 13 do not say. */
    private fun isTransient(error: Throwable): Boolean = generateSequence(error) { it.cause }.take(8).any {
        Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU && it is android.security.KeyStoreException && it.isTransientFailure
    }

    private companion object {
        const val STORE = "AndroidKeyStore"
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val NONCE = 12
        const val TAG_BITS = 128
        const val VERSION: Byte = 1
        val LOCK = Any()
    }
}
