package dev.rhizome

import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.seconds

/** Devices that go, and words that bring an identity back, against a real cloud peer. */
class MembersTest {
    private val folder = Folder()

    @AfterEach
    fun close() = folder.close()

    private suspend fun sync(vararg pods: Pod) = pods.forEach { pod ->
        val report = pod.syncOnce(20.seconds)
        assertTrue(report.peers.size == 1 && report.peers.all { it.error == null }, "$report")
    }

    private suspend fun names(pod: Pod) = pod.members().members.mapNotNull { it.name }.sorted()

    @Test
    fun `the words and the cloud peer bring everything back`() = running {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val (phone, listed) = Pod.create(folder.options("phone"), TestKeeper(), "phone")
            val words = listed.joinToString(" ")
            linkCloud(phone, cloud)
            val id = phone.collection("journal").create { setText("text", "a line") }.id
            sync(phone)
            val (did, lost) = phone.did to phone.device
            phone.close()

            val peer = PeerAddress(cloud.code())
            assertEquals(peer, PeerAddress("$peer"))
            assertEquals("address", thrown<RhizomeException.InvalidInput> { PeerAddress("somewhere") }.code)
            val recover: suspend (String) -> Pod = { Pod.recover(folder.options("new"), TestKeeper(), "new phone", it, peer) }
            assertEquals("wrong-words", thrown<RhizomeException.InvalidInput> { recover("abandon ability") }.code)
            recover("  ${words.uppercase()}").use { pod ->
                assertEquals(did, pod.did)
                sync(pod)
                assertEquals("a line", pod.collection("journal").get(id)?.get("text").text)
                val removal = pod.removeDevice(lost)
                assertEquals(ProposalState.TENTATIVE, pod.proposalState(removal))
                sync(pod)
                assertEquals(ProposalState.ORDERED, pod.proposalState(removal))
                val members = pod.members()
                assertEquals(listOf("cloud", "new phone"), names(pod))
                assertEquals(pod.device, members.members.single { it.thisDevice }.key)
                assertEquals(listOf("phone" to 0UL), members.removed.map { it.name to it.kept })
                pod.readmitEntries(lost)?.let { assertEquals(ProposalState.TENTATIVE, pod.proposalState(it)) }
            }
        }
    }

    @Test
    fun `devices are renamed, removed, and taken back from`() = running {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val (phone, words) = Pod.create(folder.options("phone"), TestKeeper(), "phone")
            linkCloud(phone, cloud)
            val tablet = link(phone, folder.options("tablet"), TestKeeper())
            sync(phone, tablet)
            phone.rename(tablet.device, "my tablet")
            assertEquals(listOf("cloud", "my tablet", "phone"), names(phone))
            thrown<RhizomeException.Refused> { phone.removeDevice(phone.device) }
            assertEquals("id", thrown<RhizomeException.InvalidInput> { phone.removeDevice("tablet") }.code)
            assertEquals("id", thrown<RhizomeException.InvalidInput> { phone.proposalState("x") }.code)
            // The tablet is stolen, and its thief wants other words.
            tablet.changeWords(Pod.newWords())
            sync(tablet, phone)
            assertNotNull(phone.members().wordsChangeAt)
            phone.takeBack(words.joinToString(" "), listOf(tablet.device))
            sync(phone)
            assertNull(phone.members().wordsChangeAt)
            assertEquals(listOf("cloud", "phone"), names(phone))
            val secret = phone.collection("journal").create { setText("text", "nothing for thieves") }.id
            sync(phone)
            assertTrue(tablet.syncOnce(5.seconds).peers.all { it.error != null })
            assertNull(tablet.collection("journal").get(secret))

            val peer = phone.members().members.single { it.cloud }
            assertTrue(peer.orders)
            phone.handOver(phone.device)
            sync(phone)
            phone.removePeer(peer.key)
            assertEquals(listOf("phone"), names(phone))
            phone.voteForOrderer(phone.device)
            phone.close()
            tablet.close()
        }
    }

    @Test
    fun `the words open a folder whose secret is gone`() = running {
        val (pod, words) = Pod.create(folder.options(), TestKeeper(), "phone")
        val id = pod.collection("journal").create { setText("text", "never sent") }.id
        pod.close()
        val keeper = TestKeeper()
        thrown<RhizomeException.NeedsRecovery> { Pod.open(folder.options(), keeper) }
        val wrong = thrown<RhizomeException.InvalidInput> { Pod.recoverFolder(folder.options(), keeper, "not the words") }
        assertEquals("wrong-words", wrong.code)
        Pod.recoverFolder(folder.options(), keeper, words.joinToString(" ")).use { assertNotNull(it.collection("journal").get(id)) }
        Pod.open(folder.options(), keeper).close()
    }

    @Test
    fun `what was written before joining moves in`() = running {
        val (before, _) = Pod.create(folder.options("before"), TestKeeper(), "phone")
        val id = before.collection("journal").create { setText("text", "written first") }.id
        val (pod, _) = Pod.create(folder.options("pod"), TestKeeper(), "phone")
        assertEquals(1L, pod.takeIn(before).documents.toLong())
        assertEquals(before.collection("journal").get(id), pod.collection("journal").get(id))
        assertEquals(0L, pod.takeIn(before).documents.toLong())
        before.close()
        pod.close()
    }

    @Test
    fun `words change, and three of them are asked for`() = running {
        val (pod, listed) = Pod.create(folder.options(), TestKeeper(), "phone")
        val words = listed.joinToString(" ")
        WordsQuiz(listed).use { quiz ->
            val answers = quiz.places.map { listed[it - 1].uppercase() }
            assertEquals(quiz.places.sorted(), quiz.places)
            assertTrue(quiz.isRight(answers))
            assertFalse(quiz.isRight(answers.dropLast(1)) || quiz.isRight(listOf("x", "y", "z")))
        }
        val file = pod.exportIdentity()
        assertEquals(pod.didDocument, Pod.resolve(pod.did, file))
        assertEquals("did", thrown<RhizomeException.InvalidInput> { Pod.resolve(pod.did, file.copyOf(file.size - 1)) }.code)
        assertNull(pod.members().wordsChangeAt)
        val fresh = Pod.newWords()
        assertEquals(24, fresh.size)
        pod.changeWords(fresh, words)
        assertEquals("wrong-words", thrown<RhizomeException.InvalidInput> { pod.changeWords(Pod.newWords(), words) }.code)
        assertEquals("wrong-words", thrown<RhizomeException.InvalidInput> { pod.changeWords(listOf("word")) }.code)
        pod.changeWords(Pod.newWords())
        val hours = (pod.members().wordsChangeAt!!.toLong() - System.currentTimeMillis()) / 3_600_000.0
        assertTrue(hours in 71.0..73.0, "$hours")
        pod.close()
    }
}
