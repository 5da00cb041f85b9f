package dev.rhizome

import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.launchIn
import kotlinx.coroutines.flow.onEach
import kotlinx.serialization.Serializable
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.time.Instant
import kotlin.time.Duration.Companion.seconds

@Serializable
data class Line(
    @Serializable(with = DateSerializer::class) val date: Instant,
    @CollaborativeText val text: String,
    val mood: String? = null,
)

/** What the guide shows. */
class GuideTest {
    @Test
    fun `objects, live queries, search, undo and deletion`() = running {
        Folder().use { folder ->
            val (pod, _) = Pod.create(folder.options(), TestKeeper(), "laptop")
            val now = Instant.ofEpochMilli(1_700_000_000_000)
            val said = mutableListOf<Any>()
            val show = { what: List<Any> -> said += what.size }
            coroutineScope {
                val reading = this
                // guide: kotlin-objects
                val journal = pod.collection("journal")
                journal.declare(
                    schema {
                        index("mood", "date")
                        search("text")
                    },
                )
                val id = journal.add(Line(now, "a hedgehog", "calm")).id // Line is @Serializable, its text @CollaborativeText
                journal.update<Line>(id) { it.copy(text = "${it.text} ran past") } // writes what is different, nothing else

                val calm = query {
                    equal("mood", "calm")
                    sort("date")
                    descending()
                }
                val live = journal.queryFlow(calm).onEach { rows -> show(rows) }.launchIn(reading) // now, and whenever it is another
                show(journal.search("hedge", typing = true).hits) // the best first, with excerpts
                journal.undo(id) // this device's last edit, never another's
                pod.eraseDocument(id) // in pod.trash() for seven days: pod.cancelErase(id)
                // guide: end
                until("the query tells that nothing is left") { said.lastOrNull() == 0 }
                live.cancel()
                assertEquals("a hedgehog", pod.trash().single().value["text"].text)
                assertTrue(1 in said)
            }
            pod.close()
        }
    }

    @Test
    fun `editing, a cloud peer, and the truth about what is where`() = running {
        Folder().use { folder ->
            CloudProcess(folder.file.resolve("cloud")).use { cloud ->
                val said = mutableListOf<String>()
                val show = { text: String -> said += text }
                val personSays = { _: String? -> true }
                val (pod, _) = Pod.create(folder.options(), TestKeeper(), "laptop")
                val id = pod.collection("journal").create { setText("text", "words") }.id
                // guide: kotlin-editing
                val document = pod.collection("journal").open(id)
                document.edit {
                    spliceText(path("text"), at = 5, delete = 0, insert = " more") // instant: memory only
                    set("mood", Value.Str("calm"))
                }
                document.save() // one change, on the disk when it returns
                document.refresh() // brings in what other devices wrote
                // guide: end
                assertEquals("words more", document["text"].text)
                val code = cloud.code()
                // guide: kotlin-cloud
                val linking = pod.linkCloudPeer(code) // what `rhizome-cloud serve` shows
                val number = linking.number() // six digits, the same on both sides
                linking.answer(same = personSays(number))
                linking.finished()

                pod.syncOnce(deadline = 25.seconds)
                when (val sync = pod.status().sync) {
                    is SyncState.UpToDate -> show("Everything is on your cloud peer")
                    is SyncState.Syncing -> show("${sync.done} of ${sync.total}")
                    is SyncState.Waiting -> show(sync.reason.text)
                }
                val holders = pod.collection("journal").holders(id)
                // guide: end
                assertEquals(listOf("Everything is on your cloud peer"), said)
                assertEquals(1, holders.size)
                pod.close()
            }
        }
    }

    @Test
    fun `a lost phone, and the words`() = running {
        Folder().use { folder ->
            CloudProcess(folder.file.resolve("cloud")).use { cloud ->
                val (lost, words) = Pod.create(folder.options("lost"), TestKeeper(), "My phone")
                linkCloud(lost, cloud)
                val id = lost.collection("journal").create { setText("text", "words") }.id
                lost.syncOnce(25.seconds)
                lost.close()
                val (typed, written) = words.joinToString(" ") to cloud.code()
                val (options, keeper) = folder.options("new") to TestKeeper()
                val said = mutableListOf<Boolean>()
                val show = { right: Boolean -> said += right }
                val personTypes = { places: List<Int> -> places.map { words[it - 1] } }
                // guide: kotlin-words
                WordsQuiz(words).use { quiz ->
                    show(quiz.isRight(personTypes(quiz.places))) // three of them, before they leave the screen
                }

                // Later, on a new phone: the words, and the address of the cloud peer that was kept beside them.
                val address = PeerAddress(written) // KEY@host:port
                val pod = Pod.recover(options, keeper, "New phone", typed, address)
                pod.syncOnce(deadline = 25.seconds) // brings what the cloud peer holds

                for (device in pod.members().members.filter { it.name == "My phone" }) {
                    pod.removeDevice(device.key) // it keeps what it had, and reads nothing that is new
                }
                // guide: end
                assertEquals(listOf(true), said)
                assertEquals("words", pod.collection("journal").get(id)?.get("text").text)
                assertEquals(listOf("My phone"), pod.members().removed.map { it.name })
                pod.close()
            }
        }
    }
}
