package dev.rhizome

import kotlinx.coroutines.withTimeout
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.boolean
import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.MethodSource
import java.io.File
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

/** The scenarios that every binding runs alike (tests/scenarios), run by Kotlin. */
class ScenarioTest {
    @ParameterizedTest
    @MethodSource("scenarios")
    fun `a scenario`(file: File) = running {
        val scenario = Json.parseToJsonElement(file.readText()).jsonObject
        World().use { world ->
            scenario["steps"]!!.jsonArray.forEachIndexed { number, json ->
                val step = Step(json.jsonObject, "${scenario["name"]}, step $number: $json")
                val wanted = step.maybe("error")?.jsonObject?.let { it["kind"].text to it["code"].text }
                val error =
                    try {
                        withTimeout(1.minutes) { world.take(step) }
                        null
                    } catch (e: RhizomeException) {
                        e
                    }
                assertEquals(wanted, error?.let { it::class.simpleName to it.code }, "${step.context}: $error")
                if (error == null) step.finish()
            }
        }
    }

    private companion object {
        @JvmStatic
        fun scenarios(): List<File> {
            val files = File(System.getProperty("rhizome.scenarios")).listFiles { file -> file.extension == "json" }!!.sorted()
            check(files.size >= 4) { "there are scenarios" }
            return files
        }
    }
}

private val JsonElement?.text get() = this!!.jsonPrimitive.also { check(it.isString) }.content

/** A step, which remembers what was asked of it: a field that no runner reads is a mistake. */
private class Step(private val fields: JsonObject, val context: String) {
    private val read = mutableSetOf<String>()

    fun maybe(name: String): JsonElement? {
        read += name
        return fields[name]
    }

    fun json(name: String): JsonElement = checkNotNull(maybe(name)) { "$context has no $name" }

    fun text(name: String) = json(name).text

    fun int(name: String) = json(name).jsonPrimitive.int

    fun flag(name: String) = json(name).jsonPrimitive.boolean

    fun list(name: String) = json(name).jsonArray

    fun finish() = assertEquals(emptySet<String>(), fields.keys - read, context)
}

/** A list that is watched, as the differences made it. The pulled form below the flows: a step pulls as often as it says. */
private class Watched(val subscription: ListSubscription) {
    var rows = emptyList<ListRow>()
    var pulled = false
}

private class World : AutoCloseable {
    private val folder = Folder()
    private val pods = mutableMapOf<String, Pod>()
    private val keepers = mutableMapOf<String, TestKeeper>()
    private val ids = mutableMapOf<String, String>()
    private val handles = mutableMapOf<Pair<String, String>, Document>()
    private val lists = mutableMapOf<String, Watched>()
    private var cloud: CloudProcess? = null

    override fun close() {
        pods.values.forEach { it.close() }
        cloud?.close()
        folder.close()
    }

    private fun keeper(pod: String) = keepers.getOrPut(pod) { TestKeeper() }

    private fun pod(step: Step) = pods.getValue(step.text("pod"))

    private fun collection(step: Step) = pod(step).collection(step.text("collection"))

    private fun handle(step: Step) = handles.getValue(step.text("pod") to step.text("document"))

    private fun id(step: Step) = ids.getValue(step.text("document"))

    private fun named(found: List<String>): List<String> {
        val names = ids.entries.associate { it.value to it.key }
        return found.map(names::getValue)
    }

    private fun shown(rows: List<ListRow>) = named(rows.map { it.id })

    suspend fun take(step: Step) {
        when (val what = step.text("do")) {
            "create" -> {
                val name = step.text("pod")
                val made = Pod.create(folder.options(name), keeper(name), name)
                assertEquals(24, made.words.size)
                pods[name] = made.pod
            }

            "open" -> {
                val name = step.text("pod")
                pods[name] = Pod.open(folder.options(name), keeper(name))
            }

            "keeper" -> keeper(step.text("pod")).answers = Answers.valueOf(step.text("state").uppercase())

            "suspend" -> pod(step).suspend()

            "resume" -> pod(step).resume()

            "shutdown" -> pod(step).shutdown()

            "write" -> {
                val named = step.list("writes").map { it.jsonObject["document"].text }
                val writes = step.list("writes").map { DocumentWrite(ids[it.jsonObject["document"].text], edits(it.jsonObject["edits"]!!)) }
                named.zip(collection(step).write(writes)) { name, written ->
                    assertTrue(written.entry != null, step.context)
                    ids[name] = written.id
                }
            }

            "new" -> {
                val document = collection(step).newDocument()
                ids[step.text("document")] = document.id
                handles[step.text("pod") to step.text("document")] = document
            }

            "openDocument" -> handles[step.text("pod") to step.text("document")] = collection(step).open(id(step))

            "edit" -> handle(step).edit { list += edits(step.json("edits")) }

            "save" -> handle(step).save().let { assertEquals(step.flag("written"), it != null, step.context) }

            "refresh" -> handle(step).refresh().let { assertEquals(step.flag("changed"), it, step.context) }

            "discard" -> handle(step).discard()

            "handle" -> {
                assertEquals(step.flag("saved"), handle(step).isSaved, step.context)
                assertEquals(value(step.json("value")), handle(step).value, step.context)
            }

            "get" -> assertEquals(step.maybe("value")?.let(::value), collection(step).get(id(step)), step.context)

            "id" -> assertEquals(null, pod(step).collection("journal").get(step.text("text")), step.context)

            "list" -> {
                val pages = mutableListOf<List<String>>()
                var after: ListCursor? = null
                do {
                    val page = collection(step).list(step.text("field"), step.int("limit"), after)
                    pages += shown(page.rows)
                    after = page.next
                } while (after != null)
                assertEquals(step.list("pages").map(::names), pages, step.context)
            }

            "rows" -> {
                val wanted =
                    step.list("rows").map { it.jsonObject }.map {
                        ListRow(ids.getValue(it["document"].text), it["millis"]!!.jsonPrimitive.long, fields(it["fields"]!!))
                    }
                assertEquals(wanted, collection(step).list(step.text("field"), 100).rows, step.context)
            }

            "count" -> assertEquals(step.int("count").toLong(), collection(step).count(), step.context)

            "declare" -> {
                val schema =
                    schema {
                        step.list("indexes").map(::names).forEach { index(*it.toTypedArray()) }
                        names(step.json("search")).forEach { search(it) }
                    }
                collection(step).declare(schema)
            }

            "query" -> {
                var query =
                    query {
                        fields(step.json("equal")).forEach { (field, value) -> equal(field, value) }
                        sort(step.text("sort"))
                        limit(step.int("limit"))
                    }
                val pages = mutableListOf<List<String>>()
                do {
                    val page = collection(step).query(query)
                    pages += named(page.rows.map { it.id })
                    query = query.copy(after = page.next)
                } while (page.next != null)
                assertEquals(step.list("pages").map(::names), pages, step.context)
            }

            "search" -> {
                val page = collection(step).search(step.text("text"))
                assertEquals(names(step.json("hits")), named(page.hits.map { it.id }), step.context)
            }

            "undo" -> assertEquals(step.flag("written"), collection(step).undo(id(step)) != null, step.context)

            "redo" -> assertEquals(step.flag("written"), collection(step).redo(id(step)) != null, step.context)

            "versions" -> assertEquals(step.int("count"), collection(step).history(id(step), 100).versions.size, step.context)

            "restore" -> {
                val version = collection(step).history(id(step), 100).versions[step.int("version")]
                collection(step).restore(id(step), version.change)
            }

            "erase" -> pod(step).eraseDocument(id(step))

            "cancelErase" -> pod(step).cancelErase(id(step))

            "trash" -> assertEquals(names(step.json("documents")), named(pod(step).trash().map { it.id }), step.context)

            "append" -> pod(step).stream(step.text("stream")).append(events(step.list("events")))

            "events" -> assertEquals(events(step.list("events")), pod(step).stream(step.text("stream")).events(), step.context)

            "watch" -> {
                val handle = pod(step).handle.collection(step.text("collection"))
                lists[step.text("list")] = Watched(handle.watch(step.text("field"), step.int("limit").toUInt()))
            }

            "next" -> next(step)

            "cancel" -> lists.getValue(step.text("list")).subscription.cancel()

            "cloud" -> cloud = CloudProcess(folder.file.resolve("cloud"))

            "linkCloud" -> linkCloud(pod(step), cloud!!)

            "link" -> {
                val name = step.text("newPod")
                pods[name] = link(pod(step), folder.options(name), keeper(name))
            }

            "declined" -> {
                val name = step.text("newPod")
                val here = pod(step).invite()
                val there = Pod.join(folder.options(name), keeper(name), name, here.code!!)
                assertEquals(here.number()!!, there.number(), step.context)
                here.answer(false)
                there.answer(true)
                assertEquals("link", thrown<RhizomeException.Refused> { here.finished() }.code)
                assertEquals("link", thrown<RhizomeException.Refused> { there.pod() }.code)
            }

            "join" -> {
                val name = step.text("pod")
                Pod.join(folder.options(name), keeper(name), name, step.text("code")).pod()
            }

            "sync" -> {
                val report = pod(step).syncOnce(60.seconds)
                assertEquals(step.text("state"), state(report.state), step.context)
                assertTrue(report.peers.all { it.error == null }, step.context)
            }

            "conditions" ->
                pod(step).setConditions(
                    Conditions(
                        network = Network.valueOf(step.text("network").uppercase()),
                        dataSaver = step.flag("dataSaver"),
                        batteryLow = step.flag("batteryLow"),
                        restricted = step.flag("restricted"),
                        localNetworkDenied = step.flag("localNetworkDenied"),
                    ),
                )

            "status" -> {
                val status = pod(step).status()
                step.maybe("state")?.let { assertEquals(it.text, state(status.sync), step.context) }
                val found =
                    mapOf(
                        "entries" to status.entries.toInt(),
                        "onlyHere" to status.onlyHere.toInt(),
                        "devices" to status.peers.count { !it.cloud },
                        "clouds" to status.peers.count { it.cloud },
                    )
                for ((name, count) in found) {
                    step.maybe(name)?.let { assertEquals(it.jsonPrimitive.int, count, "${step.context}: $name") }
                }
            }

            "holders" -> {
                val holders = collection(step).holders(id(step))
                assertEquals(step.int("clouds"), holders.count { it.cloud }, step.context)
                assertEquals(step.int("devices"), holders.count { !it.cloud }, step.context)
            }

            else -> error("${step.context}: $what is not known")
        }
    }

    private suspend fun next(step: Step) {
        val watched = lists.getValue(step.text("list"))
        val ended = step.maybe("ended") != null
        val wanted = if (ended) null else names(step.json("rows"))
        while (wanted == null || !watched.pulled || shown(watched.rows) != wanted) {
            val difference = watched.subscription.next(null)
            if (difference == null) {
                assertTrue(ended, "${step.context}: the list ended")
                return
            }
            watched.pulled = true
            watched.rows = difference.applyTo(watched.rows)
        }
    }
}

private fun names(json: JsonElement) = json.jsonArray.map { it.text }

private fun state(state: SyncState) = when (state) {
    is SyncState.UpToDate -> "up-to-date"
    is SyncState.Syncing -> "syncing"
    is SyncState.Waiting -> state.reason.kind
}

private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

private fun events(json: JsonArray) = json.map { it.jsonObject }.map { AppEvent(it["kind"].text, bytes(it["hex"].text)) }

private fun fields(json: JsonElement): Map<String, Value> = json.jsonObject.mapValues { value(it.value) }

private fun value(json: JsonElement): Value {
    val (kind, inner) = json.jsonObject.entries.single()
    return when (kind) {
        "null" -> Value.Null
        "bool" -> Value.Bool(inner.jsonPrimitive.boolean)
        "int" -> Value.Int(inner.jsonPrimitive.long)
        "float" -> Value.Float(inner.jsonPrimitive.double)
        "text" -> Value.Text(inner.text)
        "str" -> Value.Str(inner.text)
        "bytes" -> Value.Bytes(bytes(inner.text))
        "date" -> Value.Date(inner.jsonPrimitive.long)
        "counter" -> Value.Counter(inner.jsonPrimitive.long)
        "list" -> Value.List(inner.jsonArray.map(::value))
        "map" -> Value.Map(fields(inner))
        else -> error("$kind is no value")
    }
}

private fun steps(json: JsonElement) = json.jsonArray.map { key ->
    val step = key as JsonPrimitive
    if (step.isString) PathKey.Field(step.content) else PathKey.Index(step.long.toULong())
}

private fun edits(json: JsonElement) = json.jsonArray.map { it.jsonObject }.map { edit ->
    val number = { name: String -> edit[name]!!.jsonPrimitive.long }
    val made =
        when (val kind = edit.keys.first()) {
            "set" -> EditOp.Set(steps(edit[kind]!!), value(edit["value"]!!))
            "delete" -> EditOp.Delete(steps(edit[kind]!!))
            "insert" -> EditOp.Insert(steps(edit[kind]!!), number("index").toULong(), value(edit["value"]!!))
            "splice" -> EditOp.SpliceText(steps(edit[kind]!!), number("at").toULong(), number("cut").toULong(), edit["with"].text)
            "setText" -> EditOp.SetText(steps(edit[kind]!!), edit["text"].text)
            "increment" -> EditOp.Increment(steps(edit[kind]!!), number("by"))
            else -> error("$kind is no edit")
        }
    made
}
