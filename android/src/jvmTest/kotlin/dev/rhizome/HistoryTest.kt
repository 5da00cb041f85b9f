package dev.rhizome

import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.seconds

class HistoryTest {
    private val folder = Folder()

    @AfterEach
    fun close() = folder.close()

    @Test
    fun `versions are listed, compared, read and restored`() = running {
        Pod.create(folder.options(), TestKeeper(), "phone").pod.use { pod ->
            val journal = pod.collection("journal")
            val id = journal.create { setText("text", "a hedgehog") }.id
            journal.write(id) {
                spliceText(path("text"), 0, 1, "one")
                mark(path("text"), 4, 12, "bold")
            }
            val newest = journal.history(id, limit = 1)
            val (later, earlier) = newest.versions.single() to journal.history(id, after = newest.next).versions.single()
            assertEquals(ChangeKind.Create to ChangeKind.Edit, earlier.kind to later.kind)
            assertEquals(pod.device to "phone", later.device to later.deviceName)
            assertEquals("a hedgehog", journal.documentAt(id, earlier.change)["text"].text)
            assertEquals(
                listOf("one " to emptySet(), "hedgehog" to setOf("bold")),
                journal.spans(id, path("text"))!!.map {
                    it.text to
                        it.marks.keys
                },
            )
            assertEquals(listOf("a hedgehog"), journal.spans(id, path("text"), earlier.change)!!.map { it.text })
            assertNull(journal.spans(id, path("nothing")))
            val difference = journal.differences(id, earlier.change, later.change).single()
            assertEquals(path("text"), difference.path)
            val pieces = (difference.change as Changed.Text).pieces
            assertTrue(TextPiece.Added("one") in pieces && TextPiece.Removed("a") in pieces, "$pieces")
            assertTrue(pieces.any { it is TextPiece.Marked && it.text == "hedgehog" && "bold" in it.after })
            assertEquals(listOf("one" to later.change), journal.blame(id, path("text")).map { it.text to it.version.change }.take(1))
            journal.restore(id, earlier.change)
            assertEquals("a hedgehog", journal.get(id)?.get("text").text)
            assertEquals(ChangeKind.Restore(earlier.change), journal.history(id, limit = 1).versions.single().kind)
            assertTrue(journal.exportDocument(id).size > 50)
            val error = thrown<RhizomeException.NotFound> { journal.documentAt("0".repeat(32), later.change) }
            assertEquals("no-document", error.code)
        }
    }

    @Test
    fun `undo takes back one's own edits only, and says when there is none`() = running {
        val phone = Pod.create(folder.options("phone"), TestKeeper(), "phone").pod
        val tablet = link(phone, folder.options("tablet"), TestKeeper())
        val (here, there) = phone.collection("journal") to tablet.collection("journal")
        val id = here.create { setText("text", "phone ") }.id
        tablet.syncOnce(20.seconds)
        there.open(id).use { document ->
            document.edit { spliceText(path("text"), 6, 0, "tablet") }
            document.save()
            tablet.syncOnce(20.seconds)
            here.write(id) { spliceText(path("text"), 0, 0, "more ") }
            tablet.syncOnce(20.seconds)
            assertTrue(document.undo())
            assertEquals("more phone ", document["text"].text)
            assertFalse(document.undo())
            assertTrue(document.redo())
            assertEquals("more phone tablet", document["text"].text)
        }
        assertTrue(here.undo(id) != null && here.redo(id) != null)
        assertNull(here.redo(id))
        // What both put into one place is there for the person to decide.
        here.write(id) { set("mood", Value.Str("glad")) }
        there.write(id) { set("mood", Value.Str("calm")) }
        tablet.syncOnce(20.seconds)
        val conflicts = there.conflicts(id, path("mood"))
        assertEquals(setOf("glad" to "phone", "calm" to "tablet"), conflicts.map { it.value.text to it.version.deviceName }.toSet())
        assertEquals(there.get(id)?.get("mood"), conflicts.last().value)
        tablet.close()
        phone.close()
    }

    @Test
    fun `a cursor stays where it is while others write`() = running {
        Pod.create(folder.options(), TestKeeper(), "phone").pod.use { pod ->
            val journal = pod.collection("journal")
            val id = journal.create { setText("text", "ein 🦔 läuft") }.id
            journal.open(id).use { document ->
                val text = path("text")
                val (before, after) = document.cursor(text, 6) to document.cursor(text, 6, Lean.AFTER)
                journal.write(id) {
                    spliceText(path("text"), 6, 0, "!!")
                    spliceText(path("text"), 0, 0, "k")
                }
                document.refresh()
                assertEquals(listOf(7, 9), listOf(document.position(text, before), document.position(text, after)))
                assertNull(document.position(path("other"), before))
                document.edit {
                    mark(text, 0, 4, "bold", expand = Expand.NONE)
                    unmark(text, 1, 2, "bold", Expand.NONE)
                }
                assertEquals(listOf("k", "e", "in"), document.spans(text)!!.map { it.text }.take(3))
            }
        }
    }
}
