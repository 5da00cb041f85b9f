package dev.rhizome

import kotlinx.serialization.Serializable
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File
import kotlin.random.Random
import kotlin.time.Duration.Companion.seconds

@Serializable
data class Photo(val title: String, @Serializable(with = AttachmentSerializer::class) val photo: AttachmentRef)

class AttachmentTest {
    private val folder = Folder()
    private val bytes = Random(1).nextBytes(2_500_000)

    @AfterEach
    fun close() = folder.close()

    @Test
    fun `a photo is attached, goes to the cloud peer, leaves the device and comes back`() = running {
        val pod = Pod.create(folder.options(), TestKeeper(), "phone").pod
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            linkCloud(pod, cloud)
            val (journal, attachments) = pod.collection("journal") to pod.attachments
            val file = folder.file.resolve("photo.jpg").also { it.writeBytes(bytes) }
            val heard = mutableListOf<Progress>()
            val what = NewAttachment("image/jpeg", "photo.jpg", byteArrayOf(1, 2, 3), "image/png")
            val photo = attachments.attach(file, what) { heard += it }
            assertEquals(listOf(2_500_000uL, "image/jpeg", "photo.jpg"), listOf(photo.size, photo.mediaType, photo.name))
            assertTrue(heard.zipWithNext().all { (a, b) -> a.done <= b.done }, "$heard")

            val id = journal.add(Photo("one", photo)).id
            assertEquals(Photo("one", photo), journal.read<Photo>(id))
            assertEquals(photo, journal.get(id)?.get("photo").attachment)
            assertNull(journal.get(id)?.get("title").attachment)
            assertEquals(listOf(photo), journal.attachmentsOf(id))
            assertArrayEquals(byteArrayOf(1, 2, 3), attachments.read(photo.small!!))
            assertArrayEquals(bytes.copyOfRange(999_999, 1_200_001), attachments.read(photo, 999_999, 1_200_001))
            assertEquals("attachment-only-here", thrown<RhizomeException.Refused> { attachments.evict(photo.id) }.code)
            assertEquals(2uL, attachments.status().onlyHere)

            val report = pod.syncOnce(60.seconds)
            assertEquals(listOf(null), report.peers.map { it.error })
            assertTrue(attachments.status(photo.id).holders.any { it.cloud })
            attachments.evict(photo.id)
            assertEquals(0uL, attachments.status(photo.id).here)
            heard.clear()
            attachments.fetch(photo.id) { heard += it }
            assertTrue(heard.isNotEmpty() && heard.last().done > 0uL, "$heard")
            val copy = folder.file.resolve("copy.jpg")
            assertEquals(2_500_000, attachments.export(photo, copy))
            assertArrayEquals(bytes, copy.readBytes())
            attachments.pin(photo.id)
            attachments.setQuota(0)
            assertEquals(Tidied(0u, 0u), attachments.tidy())
            attachments.pin(photo.id, pinned = false)
            assertEquals(Tidied(1u, 0u), attachments.tidy())
            attachments.setQuota(null)
            assertNull(attachments.status().quota)
        }
        pod.close()
    }

    @Test
    fun `what cannot be attached or read is told`() = running {
        Pod.create(folder.options(), TestKeeper(), "phone").pod.use { pod ->
            val attachments = pod.attachments
            assertEquals(
                "attachment-description",
                thrown<RhizomeException.InvalidInput> {
                    attachments.attach(bytes, NewAttachment(""))
                }.code,
            )
            val nowhere = File(folder.file, "no/such/file")
            val unread = thrown<RhizomeException.Storage> { attachments.attach(nowhere, NewAttachment("a/b")) { } }
            assertEquals("attachment-source", unread.code)
            val empty = attachments.attach(byteArrayOf(), NewAttachment("a/b"))
            assertEquals("attachment-target", thrown<RhizomeException.Storage> { attachments.export(empty, nowhere) }.code)
            val file = folder.file.resolve("empty")
            assertEquals(0, attachments.export(empty, file))
            assertTrue(file.exists() && file.length() == 0L)
            assertEquals("attachment-not-here", thrown<RhizomeException.NotFound> { attachments.fetch("0".repeat(64), 1.seconds) }.code)
            val other = empty.copy(value = Value.Null)
            assertEquals("attachment-reference", thrown<RhizomeException.InvalidInput> { attachments.read(other) }.code)
        }
    }

    @Test
    fun `what is deleted is in the trash, and comes back or goes for good`() = running {
        val (pod, words) = Pod.create(folder.options(), TestKeeper(), "phone")
        val journal = pod.collection("journal")
        val ids = listOf("one", "two").map { journal.create { setText("text", it) }.id }
        thrown<RhizomeException.NotFound> { pod.eraseDocuments(ids + "0".repeat(32)) }
        assertEquals(2, journal.count())
        pod.eraseDocuments(ids)
        assertEquals(0, journal.count())
        assertEquals(ids.toSet(), pod.trash().map { it.id }.toSet())
        assertTrue(pod.trash().all { it.collection == "journal" && it.by == pod.device && it.value["text"].text in setOf("one", "two") })
        pod.cancelErase(ids[0])
        assertEquals("one", journal.get(ids[0])?.get("text").text)
        assertEquals(listOf(ids[1]), pod.trash().map { it.id })
        thrown<RhizomeException.NotFound> { pod.cancelErase(ids[0]) }
        assertEquals("wrong-words", thrown<RhizomeException.InvalidInput> { pod.eraseDocumentAtOnce(ids[1], "none") }.code)
        pod.eraseDocumentAtOnce(ids[1], words.joinToString(" "))
        assertEquals(emptyList<Trashed>(), pod.trash())
        assertNull(journal.get(ids[1]))
        pod.close()
    }
}
