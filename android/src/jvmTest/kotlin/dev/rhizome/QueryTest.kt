package dev.rhizome

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant
import kotlin.random.Random
import kotlin.time.Duration.Companion.seconds

class QueryTest {
    private val folder = Folder()

    @AfterEach
    fun close() = folder.close()

    private suspend fun newPod() = Pod.create(folder.options(), TestKeeper(), "phone").pod

    private val schema =
        schema {
            index("kind", "date")
            index("kind")
            index("date")
            index(listOf(IndexField(listOf("place", "name"))))
            indexEach("tags", "date")
            search("text")
            search(listOf("place", "name"), weight = 5)
        }

    private fun Edits.entry(kind: String, date: Long) {
        set("kind", Value.Str(kind))
        set("date", Value.Date(date))
    }

    private fun newest(limit: Int = 5) = query {
        equal("kind", "entry")
        sort("date")
        descending()
        limit(limit)
    }

    @Test
    fun `queries find what they ask, by a declared index only`() = running {
        newPod().use { pod ->
            val journal = pod.collection("journal")
            val error = thrown<RhizomeException.InvalidInput> { journal.query(newest()) }
            assertEquals("not-indexed", error.code)
            journal.declare(schema)
            assertNull(journal.indexProgress())
            val writes =
                (0 until 10).map { n ->
                    DocumentWrite(
                        null,
                        Edits()
                            .apply {
                                entry(if (n < 8) "entry" else "note", n.toLong())
                                set("tags", Value.List(listOf(Value.Str("t${n % 2}"))))
                                set(path("place", "name"), Value.Str("Berlin-$n"))
                                setText("text", "Ein 🦔 Igel läuft $n")
                            }.list,
                    )
                }
            val ids = journal.transaction(writes).map { it.id }

            suspend fun found(ask: Query) = journal.query(ask).rows.map { ids.indexOf(it.id) }
            assertEquals(ids.toSet(), journal.documents().toSet())
            assertEquals(listOf(7, 6, 5, 4, 3), found(newest()))
            assertEquals(8, journal.count(newest()))
            val next = journal.query(newest()).next
            assertEquals(listOf(2, 1, 0), found(newest().copy(after = next)))
            assertEquals(listOf(2, 3), found(query { range("date", Instant.ofEpochMilli(2), 4) }))
            val open = FieldRange(listOf("date"), Value.Int(2), Value.Int(4), aboveFrom = true, toUntil = true)
            assertEquals(listOf(3, 4), found(query { range(open) }))
            assertEquals(setOf(8, 9), found(query { prefix("kind", "no") }).toSet())
            assertEquals(listOf(4), found(query { equal(listOf("place", "name"), "Berlin-4") }))
            assertEquals(
                listOf(9, 7, 5, 3, 1),
                found(
                    query {
                        contains("tags", "t1")
                        sort("date")
                        descending()
                    },
                ),
            )
            val page = journal.search("ige", typing = true, limit = 4)
            assertEquals(4, page.hits.size)
            val excerpt = page.hits.first().excerpts.single()
            assertEquals("Igel", excerpt.text.substring(excerpt.ranges.single().start.toInt(), excerpt.ranges.single().end.toInt()))
            assertEquals(6, journal.search(Search("igel", limit = 100u, after = page.next)).hits.size)
            val within = Search("igel", within = FieldRange(listOf("date"), from = Value.Int(7)))
            assertEquals(setOf(7, 8, 9), journal.search(within).hits.map { ids.indexOf(it.id) }.toSet())
            thrown<IllegalArgumentException> { query { equal("kind", Any()) } }
        }
    }

    @Test
    fun `what a live query tells makes one answer into the next, under edits here and elsewhere`() = running {
        val phone = newPod()
        val tablet = link(phone, folder.options("tablet"), TestKeeper())
        val (here, there) = phone.collection("journal") to tablet.collection("journal")
        here.declare(schema)
        val random = Random(7)
        val ids = mutableListOf<String>()

        suspend fun some(on: Collection) = repeat(5) {
            val id = if (ids.size < 4 || random.nextInt(3) == 0) null else ids.random(random)
            val written = on.write(id) { entry(if (random.nextInt(4) == 0) "note" else "entry", random.nextLong(20)) }
            if (id == null) ids += written.id
        }
        coroutineScope {
            val live = tablet.goLive()
            val diffs = Channel<QueryDiff>(Channel.UNLIMITED)
            val reader = launch { here.queryDifferences(newest()).collect { diffs.send(it) } }
            var rows = diffs.receive().applyTo(emptyList())
            repeat(12) { round ->
                if (round % 2 == 0) {
                    some(here)
                } else {
                    some(there)
                    tablet.syncOnce(20.seconds)
                }
                val wanted = here.query(newest()).rows
                while (rows != wanted) {
                    val diff = diffs.receive()
                    val before = rows.map { it.id }
                    for (placed in diff.placed) {
                        assertEquals(placed.placed == PlacedAs.INSERTED, placed.row.id !in before)
                    }
                    assertTrue(before.containsAll(diff.removed))
                    rows = diff.applyTo(rows)
                }
            }
            // Deletion is told, too.
            phone.eraseDocument(rows.first().id)
            assertEquals(listOf(rows.first().id), diffs.receive().removed)
            reader.cancelAndJoin()
            live.stop()
            live.close()
        }
        tablet.close()
        phone.close()
    }

    @Test
    fun `a slow reader gets many changes as one, and whoever stops reading ends the subscription`() = running {
        val pod = newPod()
        val journal = pod.collection("journal")
        journal.declare(schema)
        var told = 0
        val all = newest(100)
        coroutineScope {
            val begun = Channel<Unit>(1)
            val reader =
                launch {
                    journal.queryFlow(all).first { rows ->
                        told += 1
                        begun.trySend(Unit)
                        delay(300)
                        rows.size == 40
                    }
                }
            begun.receive()
            repeat(40) { journal.create { entry("entry", it.toLong()) } }
            reader.join()
        }
        assertTrue(told in 2..20, "$told")
        repeat(20) {
            thrown<NoSuchElementException> { journal.queryFlow(all).collect { throw NoSuchElementException() } }
            coroutineScope {
                val reader = launch(start = CoroutineStart.UNDISPATCHED) { journal.queryFlow(all).collect {} }
                delay(5)
                reader.cancelAndJoin()
            }
        }
        until("no task is left") { pod.handle.alive().tasks == 1uL }
        coroutineScope {
            val reader = launch { journal.queryFlow(all).toList() }
            delay(50)
            pod.shutdown()
            reader.join()
            assertTrue(!reader.isCancelled)
        }
        pod.close()
    }
}
