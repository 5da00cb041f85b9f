package dev.rhizome

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.seconds

/** What the guide shows. */
class GuideTest {
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
}
