@file:JvmName("Bench")

package dev.rhizome

import kotlinx.coroutines.runBlocking
import java.nio.file.Path
import kotlin.system.exitProcess
import kotlin.time.Duration
import kotlin.time.DurationUnit
import kotlin.time.TimeSource

// What a call costs from Kotlin: the same calls as `bench-ours calls` makes in Rust, in the same way. Says what it measured in one line of JSON.
//
//   calls --dir DIR --documents N --calls N    makes a pod, and calls it again and again
//   open --dir DIR                             opens that pod, with its first 20 documents

private const val AT_ONCE = 256
private const val ROWS = 100
private const val FIRST = 1_700_000_000_000

private class Arguments(private val words: List<String>) {
    val what = words.firstOrNull()

    fun text(name: String): String {
        val place = words.indexOf("--$name")
        require(place >= 0 && place + 1 < words.size) { "--$name is missing" }
        return words[place + 1]
    }

    fun number(name: String): Int = requireNotNull(text(name).toIntOrNull()?.takeIf { it > 0 }) { "--$name is a number above 0" }
}

private fun Duration.per(count: Int) = toDouble(DurationUnit.SECONDS) / count

private suspend fun calls(arguments: Arguments): Map<String, Double> {
    val dir = arguments.text("dir")
    val documents = arguments.number("documents")
    val count = arguments.number("calls")
    val (pod, _) = Pod.create(PodOptions(path = dir, listen = listOf("127.0.0.1:0")), FileKeeper(Path.of("$dir.keys")), "phone")
    val journal = pod.collection("journal")
    for (numbers in (0 until documents).chunked(AT_ONCE)) {
        journal.write(
            numbers.map { number ->
                val edits = Edits()
                edits["date"] = Value.Date(FIRST + number)
                edits["title"] = Value.Str("Day $number")
                edits.setText("text", "A line of what happened on that day. ".repeat(3))
                DocumentWrite(null, edits.list)
            },
        )
    }
    val id = journal.list("date", ROWS).rows.first().id
    val open = journal.open(id)
    val title = path("title")
    val said = mutableMapOf<String, Double>()
    // The first rounds warm up: the JVM compiles what runs often.
    repeat(5) {
        var began = TimeSource.Monotonic.markNow()
        repeat(count) { open[title] }
        said["instant"] = began.elapsedNow().per(count)
        val waits = (count / 10).coerceAtLeast(1)
        began = TimeSource.Monotonic.markNow()
        repeat(waits) { journal.get(id) }
        said["async"] = began.elapsedNow().per(waits)
        val pages = (count / 100).coerceAtLeast(1)
        began = TimeSource.Monotonic.markNow()
        repeat(pages) { journal.list("date", ROWS) }
        said["page"] = began.elapsedNow().per(pages)
    }
    pod.close()
    return said
}

private suspend fun open(arguments: Arguments): Map<String, Double> {
    val dir = arguments.text("dir")
    val began = TimeSource.Monotonic.markNow()
    val pod = Pod.open(PodOptions(path = dir, listen = listOf("127.0.0.1:0")), FileKeeper(Path.of("$dir.keys")))
    pod.collection("journal").list("date", 20)
    val took = began.elapsedNow()
    pod.close()
    return mapOf("seconds" to took.per(1))
}

fun main(words: Array<String>) {
    val arguments = Arguments(words.toList())
    val said =
        runBlocking {
            when (arguments.what) {
                "calls" -> calls(arguments)
                "open" -> open(arguments)
                else -> throw IllegalArgumentException("say calls or open")
            }
        }
    println(said.entries.joinToString(",", "{", "}") { (name, value) -> "\"$name\":$value" })
    // Threads of the library's runtime do not end by themselves, and need not.
    exitProcess(0)
}
