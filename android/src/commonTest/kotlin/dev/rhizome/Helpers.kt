package dev.rhizome

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import java.io.File
import java.nio.file.Files
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.minutes

/** What a keeper answers. */
enum class Answers { OK, LOCKED, ABSENT, FAILING, THROWING }

/** A keeper in memory that can be told how to answer. */
class TestKeeper : SecretKeeper {
    private val secrets = mutableMapOf<String, ByteArray>()

    @Volatile
    var answers = Answers.OK

    @Volatile
    var wrong = false

    override fun load(id: ByteArray): KeptSecret = when (answers) {
        Answers.OK -> {
            val secret = synchronized(secrets) { secrets[name(id)] }
            if (secret == null) KeptSecret.Absent else KeptSecret.Found(if (wrong) ByteArray(secret.size) { 7 } else secret)
        }

        Answers.LOCKED -> KeptSecret.Locked

        Answers.ABSENT -> KeptSecret.Absent

        Answers.FAILING -> throw KeeperException.Failed("the test said so")

        Answers.THROWING -> error("not what a keeper may throw: the person's name")
    }

    override fun create(id: ByteArray, secret: ByteArray) {
        check(synchronized(secrets) { secrets.put(name(id), secret) } == null) { "a secret is never overwritten" }
    }

    private fun name(id: ByteArray) = id.joinToString { "$it" }
}

/** A folder that is gone afterwards. */
class Folder : AutoCloseable {
    val file: File = Files.createTempDirectory("rhizome").toFile()

    /** How to open a pod in it, on loopback. */
    fun options(name: String = "pod", listen: String = "127.0.0.1:0") = PodOptions(path = file.resolve(name).path, listen = listOf(listen))

    override fun close() {
        file.deleteRecursively()
    }
}

/** A real cloud peer: the program, on loopback. */
class CloudProcess(private val data: File) : AutoCloseable {
    private val program = checkNotNull(System.getProperty("rhizome.cloud")) { "rhizome.cloud names the program" }
    private val serving = start("serve", "--data", data.path, "--listen", "127.0.0.1:0", "--json")

    init {
        event(serving, "listening")
    }

    /** A code that links it. */
    fun code(): String {
        val linking = start("link", "--data", data.path, "--json")
        try {
            return Regex(""""code":"([^"]*)"""").find(event(linking, "code"))!!.groupValues[1]
        } finally {
            end(linking)
        }
    }

    private fun start(vararg words: String) =
        ProcessBuilder(program, *words).redirectError(data.resolveSibling("cloud.log")).start().also { it.outputStream.close() }

    private fun event(process: Process, name: String): String =
        generateSequence { process.inputReader().readLine() }.firstOrNull { "\"$name\"" in it }
            ?: error("the cloud peer ended before it said $name: ${data.resolveSibling("cloud.log").readText()}")

    private fun end(process: Process) {
        process.destroy()
        if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly().waitFor()
    }

    override fun close() = end(serving)
}

/** Runs a test, with two minutes for it. */
fun <T> running(test: suspend () -> T) {
    runBlocking(Dispatchers.Default) { withTimeout(2.minutes) { test() } }
}

/** The same on the thread that calls it, as Android's main thread must be for activities. */
fun <T> runningHere(test: suspend () -> T) {
    runBlocking { withTimeout(2.minutes) { test() } }
}

/** Waits until something holds. */
suspend fun until(what: String, holds: suspend () -> Boolean) {
    repeat(6000) {
        if (holds()) return
        delay(10)
    }
    error("in time: $what")
}

/** What a call throws. */
suspend inline fun <reified E : Throwable> thrown(call: suspend () -> Any?): E {
    try {
        call()
    } catch (e: Throwable) {
        return e as? E ?: throw AssertionError("${E::class.simpleName}, not $e", e)
    }
    throw AssertionError("nothing was thrown, not ${E::class.simpleName}")
}

/** Links a new device by a code and the same number on both sides. */
suspend fun link(from: Pod, options: PodOptions, keeper: SecretKeeper): Pod {
    val here = from.invite()
    val there = Pod.join(options, keeper, "tablet", here.code!!)
    val number = here.number()
    check(number != null && number.length == 6 && number == there.number()) { "the same number on both screens" }
    here.answer(true)
    there.answer(true)
    here.finished()
    return there.pod()
}

/** Links a cloud peer. */
suspend fun linkCloud(pod: Pod, cloud: CloudProcess) = pod.linkCloudPeer(cloud.code()).use {
    check(it.number()?.length == 6)
    it.answer(true)
    it.finished()
}
