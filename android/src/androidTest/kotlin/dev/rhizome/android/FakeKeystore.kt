package dev.rhizome.android

import java.io.InputStream
import java.io.OutputStream
import java.security.Key
import java.security.KeyStoreSpi
import java.security.Provider
import java.security.SecureRandom
import java.security.Security
import java.security.cert.Certificate
import java.security.spec.AlgorithmParameterSpec
import java.util.Collections
import java.util.Date
import java.util.Enumeration
import javax.crypto.KeyGeneratorSpi
import javax.crypto.SecretKey
import javax.crypto.spec.SecretKeySpec

/** The Android Keystore by name, with keys in memory and whatever mood a test gives it. The ciphers are the JDK's own. */
class FakeKeystore : Provider("AndroidKeyStore", "1", "for tests") {
    init {
        put("KeyStore.AndroidKeyStore", Store::class.java.name)
        put("KeyGenerator.AES", Generator::class.java.name)
    }

    class Generator : KeyGeneratorSpi() {
        private lateinit var alias: String

        override fun engineInit(random: SecureRandom?) = error("by alias only")

        override fun engineInit(keySize: Int, random: SecureRandom?) = error("by alias only")

        override fun engineInit(spec: AlgorithmParameterSpec, random: SecureRandom?) {
            alias = (spec as android.security.keystore.KeyGenParameterSpec).keystoreAlias
        }

        override fun engineGenerateKey(): SecretKey {
            failure?.let { throw it() }
            check(alias !in keys) { "a key is never made twice" }
            return SecretKeySpec(ByteArray(32).also { SecureRandom().nextBytes(it) }, "AES").also { keys[alias] = it }
        }
    }

    class Store : KeyStoreSpi() {
        override fun engineGetKey(alias: String, password: CharArray?): Key? {
            failure?.let { throw it() }
            return keys[alias]
        }

        override fun engineLoad(stream: InputStream?, password: CharArray?) = Unit

        override fun engineContainsAlias(alias: String) = alias in keys

        override fun engineAliases(): Enumeration<String> = Collections.enumeration(keys.keys)

        override fun engineSize() = keys.size

        override fun engineIsKeyEntry(alias: String) = alias in keys

        override fun engineIsCertificateEntry(alias: String) = false

        override fun engineGetCertificateChain(alias: String): Array<Certificate>? = null

        override fun engineGetCertificate(alias: String): Certificate? = null

        override fun engineGetCreationDate(alias: String): Date? = null

        override fun engineGetCertificateAlias(certificate: Certificate): String? = null

        override fun engineSetKeyEntry(alias: String, key: Key, password: CharArray?, chain: Array<out Certificate>?) = error("not used")

        override fun engineSetKeyEntry(alias: String, key: ByteArray, chain: Array<out Certificate>?) = error("not used")

        override fun engineSetCertificateEntry(alias: String, certificate: Certificate) = error("not used")

        override fun engineDeleteEntry(alias: String) {
            keys -= alias
        }

        override fun engineStore(stream: OutputStream?, password: CharArray?) = error("not used")
    }

    companion object {
        val keys = mutableMapOf<String, SecretKey>()

        /** What every question for a key throws. */
        var failure: (() -> Exception)? = null

        fun install() {
            keys.clear()
            failure = null
            Security.removeProvider("AndroidKeyStore")
            Security.addProvider(FakeKeystore())
        }
    }
}
