@file:OptIn(ExperimentalTime::class)

package dev.rhizome

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant
import kotlin.time.Duration.Companion.seconds
import kotlin.time.ExperimentalTime

@Serializable
enum class Mood {
    @SerialName("calm")
    CALM,
    GLAD,
}

@Serializable
data class Place(val name: String, val height: Double? = null)

@Serializable
sealed interface Weather {
    @Serializable
    @SerialName("sun")
    data object Sun : Weather

    @Serializable
    @SerialName("rain")
    data class Rain(val millimetres: Int) : Weather
}

@JvmInline
@Serializable
value class Label(val text: String)

@Serializable
data class Entry(
    @Serializable(with = DateSerializer::class) val date: Instant,
    val seen: kotlin.time.Instant? = null,
    @CollaborativeText val text: String = "",
    @CollaborativeText val note: String? = null,
    @Counter val reads: Int = 0,
    val title: String = "",
    val mood: Mood = Mood.CALM,
    val done: Boolean = false,
    val small: Byte = 0,
    val letter: Char = 'x',
    val ratio: Double = 0.0,
    val half: Float = 0.5f,
    val place: Place? = null,
    val weather: Weather = Weather.Sun,
    val tags: List<String> = emptyList(),
    val label: Label = Label(""),
    val labels: Map<String, Label> = emptyMap(),
    val years: Map<Int, List<Place?>> = emptyMap(),
    val moods: Map<Mood, Long> = emptyMap(),
    val raw: List<Byte> = emptyList(),
    @Serializable(with = ValueSerializer::class) val other: Value = Value.Null,
)

@Serializable
class Blob(val bytes: ByteArray)

@Serializable
data class Row(@Serializable(with = DateSerializer::class) val date: Instant, val title: String, val mood: Mood, val reads: Long)

class MappingTest {
    private val folder = Folder()

    @AfterEach
    fun close() = folder.close()

    private val entry =
        Entry(
            date = Instant.ofEpochMilli(1_700_000_000_123),
            seen = kotlin.time.Instant.fromEpochMilliseconds(-5),
            text = "ein Igel 🦔",
            note = "more",
            reads = 3,
            title = "first",
            mood = Mood.GLAD,
            done = true,
            small = -128,
            letter = 'ß',
            ratio = 0.25,
            half = 1.5f,
            place = Place("Berlin", 34.0),
            weather = Weather.Rain(12),
            tags = listOf("a", "b"),
            label = Label("l"),
            labels = mapOf("x.y" to Label("z")),
            years = mapOf(2020 to listOf(Place("Rom"), null)),
            moods = mapOf(Mood.CALM to Long.MAX_VALUE),
            raw = listOf(-1, 1),
            other = Value.Map(mapOf("n" to Value.Counter(7))),
        )

    @Test
    fun `every kind of property comes back as it was, from a document on the disk`() = running {
        Pod.create(folder.options(), TestKeeper(), "laptop").pod.use { pod ->
            val journal = pod.collection("journal")
            val id = journal.add(entry).id
            assertEquals(entry, journal.read<Entry>(id))
            val empty = Entry(date = Instant.EPOCH)
            assertEquals(empty, journal.read<Entry>(journal.add(empty).id))
            val stored = journal.get(id)!!
            assertEquals(Value.Text("ein Igel 🦔"), stored["text"])
            assertEquals(Value.Str("first"), stored["title"])
            assertEquals(Value.Counter(3), stored["reads"])
            assertEquals(Value.Date(1_700_000_000_123), stored["date"])
            assertEquals(Value.Date(-5), stored["seen"])
            assertEquals(Value.Str("GLAD"), stored["mood"])
            assertEquals(Value.Str("rain"), stored["weather"]?.get("type"))
            assertEquals(Value.Counter(7), stored["other"]?.get("n"))
            val bytes = journal.read<Blob>(journal.add(Blob(byteArrayOf(0, -1))).id)!!.bytes
            assertTrue(byteArrayOf(0, -1).contentEquals(bytes))
            assertEquals(Value.Bytes(byteArrayOf(0, -1)), encodeValue(Blob(byteArrayOf(0, -1)))["bytes"])
            assertNull(journal.read<Entry>("0".repeat(32)))
            assertNull(journal.update<Entry>("0".repeat(32)) { it })
        }
    }

    @Test
    fun `what others wrote otherwise is read as far as it can be, and told without its words where not`() {
        val date = "date" to Value.Date(0)
        val read = Value.Map(
            mapOf(date, "unknown" to Value.Str("secret"), "title" to Value.Text("a text"), "ratio" to Value.Int(2)),
        ).decode<Entry>()
        assertEquals("a text" to 2.0, read.title to read.ratio)
        assertEquals(Place("x"), Value.Map(mapOf("name" to Value.Str("x"), "height" to Value.Null)).decode<Place>())
        for ((field, wrong) in mapOf(
            "title" to Value.Int(1),
            "small" to Value.Int(128),
            "mood" to Value.Str("secret"),
            "done" to Value.Str("secret"),
            "tags" to Value.Str("secret"),
            "place" to Value.Map(mapOf("name" to Value.Null)),
            "years" to Value.Map(mapOf("secret" to Value.List(emptyList()))),
        )) {
            val error = runCatching { Value.Map(mapOf(date, field to wrong)).decode<Entry>() }.exceptionOrNull()
            assertTrue(error is SerializationException, "$field: $error")
            assertFalse("secret" in "${error?.message}", "${error?.message}")
        }
        val missing = runCatching { Value.Map(emptyMap()).decode<Entry>() }.exceptionOrNull()
        assertTrue("date" in "${missing?.message}", "$missing")
        assertTrue(runCatching { Value.Str("x").decode<Entry>() }.exceptionOrNull() is SerializationException)
    }

    @Test
    fun `only what is different is written`() {
        fun edits(change: (Entry) -> Entry): List<EditOp> {
            val value = encodeValue(entry)
            return changes(value, value, encodeValue(change(entry)))
        }
        assertEquals(emptyList<EditOp>(), edits { it.copy() })
        assertEquals(listOf(EditOp.Set(path("title"), Value.Str("second"))), edits { it.copy(title = "second") })
        assertEquals(listOf(EditOp.SetText(path("text"), "ein")), edits { it.copy(text = "ein") })
        assertEquals(listOf(EditOp.Increment(path("reads"), -2)), edits { it.copy(reads = 1) })
        assertEquals(
            listOf(EditOp.Set(path("place", "height"), Value.Float(35.0))),
            edits {
                it.copy(place = it.place!!.copy(height = 35.0))
            },
        )
        assertEquals(listOf(EditOp.Set(path("note"), Value.Null)), edits { it.copy(note = null) })
        assertEquals(listOf(EditOp.Insert(path("tags"), 1u, Value.Str("c"))), edits { it.copy(tags = listOf("a", "c", "b")) })
        assertEquals(listOf(EditOp.Delete(path("tags", 0))), edits { it.copy(tags = listOf("b")) })
        assertEquals(
            listOf(EditOp.Set(path("tags", 0), Value.Str("c")), EditOp.Insert(path("tags"), 1u, Value.Str("d"))),
            edits { it.copy(tags = listOf("c", "d", "b")) },
        )
        assertEquals(listOf(EditOp.Delete(path("tags", 1)), EditOp.Delete(path("tags", 0))), edits { it.copy(tags = emptyList()) })
        assertEquals(listOf(EditOp.Delete(path("labels", "x.y"))), edits { it.copy(labels = emptyMap()) })
        assertEquals(
            listOf(EditOp.Set(path("years", "2020", 1), encodeValue(Place("Wien")))),
            edits {
                it.copy(years = mapOf(2020 to listOf(Place("Rom"), Place("Wien"))))
            },
        )
    }

    @Test
    fun `two devices that change different properties both keep their change`() = running {
        val phone = Pod.create(folder.options("phone"), TestKeeper(), "phone").pod
        val tablet = link(phone, folder.options("tablet"), TestKeeper())
        val (here, there) = phone.collection("journal") to tablet.collection("journal")
        val id = here.add(entry).id
        // A field of somebody else's.
        here.write(id) { set("theirs", Value.Str("kept")) }
        tablet.syncOnce(20.seconds)
        here.update<Entry>(id) {
            it.copy(title = "from the phone", reads = it.reads + 1, text = "kein " + it.text, tags = it.tags + "phone")
        }
        there.update<Entry>(id) {
            it.copy(
                mood = Mood.CALM,
                reads = it.reads + 1,
                text = it.text + " schläft",
                place = Place("Wien", 34.0),
                tags =
                listOf("tablet") + it.tags,
            )
        }
        tablet.syncOnce(20.seconds)
        val both =
            entry.copy(
                title = "from the phone",
                mood = Mood.CALM,
                reads = 5,
                text = "kein ein Igel 🦔 schläft",
                place = Place("Wien", 34.0),
                tags = listOf("tablet", "a", "b", "phone"),
            )
        assertEquals(both, there.read<Entry>(id))
        assertEquals(both, here.read<Entry>(id))
        assertEquals("kept", there.get(id)?.get("theirs").text)
        tablet.close()
        phone.close()
    }

    @Test
    fun `an open document keeps what others write while it is edited as an object`() = running {
        Pod.create(folder.options(), TestKeeper(), "laptop").pod.use { pod ->
            val journal = pod.collection("journal")
            val id = journal.add(entry).id
            journal.open(id).use { document ->
                journal.update<Entry>(id) { it.copy(text = "two " + it.text) }
                document.update<Entry> { it.copy(text = it.text + " three") }
                assertEquals("ein Igel 🦔 three", document.read<Entry>().text)
                document.refresh()
                assertEquals("two ein Igel 🦔 three", document.read<Entry>().text)
                // A document of other types is made what the class says.
                document.edit { set("text", Value.Str("a string")) }
                document.update<Entry> { it.copy(text = "a text") }
                assertEquals(Value.Text("a text"), document["text"])
                document.save()
            }
            thrown<IllegalArgumentException> { journal.add("no object") }
        }
    }

    @Test
    fun `rows are objects too`() = running {
        Pod.create(folder.options(), TestKeeper(), "laptop").pod.use { pod ->
            val journal = pod.collection("journal")
            journal.declare(
                schema {
                    index("date")
                    search("text")
                },
            )
            journal.add(entry)
            val row = Row(entry.date, "first", Mood.GLAD, 3)
            assertEquals(row, journal.query { sort("date") }.rows.single().read<Row>())
            assertEquals(row, journal.search("igel").hits.single().read<Row>())
        }
    }
}
