package dev.rhizome

import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.first
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

class PodTest {
    private val folder = Folder()
    private val keeper = TestKeeper()

    @AfterEach
    fun close() = folder.close()

    @Test
    fun `what is written is there when the folder is opened again`() = running {
        val options = folder.options()
        // guide: kotlin-first
        val (pod, words) = Pod.create(options, keeper, "laptop")
        val journal = pod.collection("journal")
        val written =
            journal.create {
                set("date", Value.Date(System.currentTimeMillis()))
                setText("text", "a line")
            }
        val page = journal.list("date", limit = 20)
        // guide: end
        assertEquals(24, words.size)
        assertEquals(listOf(written.id), page.rows.map { it.id })
        val did = pod.did
        pod.close()
        pod.close()
        Pod.open(options, keeper).use { again ->
            assertEquals(did, again.did)
            assertEquals("a line", again.collection("journal").get(written.id)?.get("text").text)
            assertNull(again.collection("journal").get("0".repeat(32)))
            assertEquals(1, again.verify())
        }
    }

    @Test
    fun `a document is edited in memory and saved`() = running {
        val (pod, _) = Pod.create(folder.options(), keeper, "laptop")
        pod.use {
            val document = pod.collection("journal").newDocument()
            document.edit {
                setText("text", "one 🦔 two")
                set(path("deep", "list"), Value.List(listOf(Value.Int(1))))
                insert(path("deep", "list"), 1, Value.Counter(5))
                increment(path("deep", "list", 1), -2)
                spliceText(path("text"), 7, 3, "three")
            }
            assertEquals("one 🦔 three", document["text"].text)
            assertEquals(3L, document[path("deep", "list", 1)].number)
            assertFalse(document.isSaved)
            assertEquals(0, pod.collection("journal").count())
            assertTrue(document.save() != null)
            assertTrue(document.isSaved)
            assertNull(document.save())
            // All edits or none.
            thrown<RhizomeException.InvalidInput> {
                document.edit {
                    delete(path("deep"))
                    increment(path("text"), 1)
                }
            }
            assertEquals(3L, document[path("deep", "list", 1)].number)
            document.edit { delete(path("deep")) }
            document.discard()
            assertEquals(3L, document.value["deep"]?.let { (it["list"] as Value.List).values[1] }.number)
        }
    }

    @Test
    fun `events come back in order`() = running {
        val (pod, _) = Pod.create(folder.options(), keeper, "laptop")
        pod.use {
            val stream = pod.stream("sensor")
            stream.append(listOf(AppEvent("a", byteArrayOf(0)), AppEvent("b", byteArrayOf())))
            val entry = stream.append(listOf(AppEvent("c", byteArrayOf(-1))))
            assertEquals(listOf("a", "b", "c"), stream.events().map { it.kind })
            assertEquals(AppEvent("c", byteArrayOf(-1)), stream.events().last())
            assertEquals(emptyList<Holder>(), pod.holders(entry))
        }
    }

    @Test
    fun `a second device and a cloud peer see what the first wrote`() = running {
        CloudProcess(folder.file.resolve("cloud")).use { cloud ->
            val phone = Pod.create(folder.options("phone"), keeper, "phone").pod
            linkCloud(phone, cloud)
            val tablet = link(phone, folder.options("tablet"), TestKeeper())
            assertEquals(phone.did, tablet.did)
            val seen =
                coroutineScope {
                    val waiting = async { tablet.collection("journal").watch("date", 10).first { it.isNotEmpty() } }
                    val live = tablet.goLive()
                    val written = phone.collection("journal").create { set("date", Value.Date(1)) }
                    val report = phone.syncOnce(60.seconds)
                    assertTrue(report.state is SyncState.UpToDate, "${report.state}")
                    assertEquals(listOf(null), report.peers.map { it.error })
                    assertEquals(written.id, waiting.await().single().id)
                    live.stop()
                    live.close()
                    written
                }
            assertTrue(phone.holders(seen.entry!!).any { it.cloud })
            phone.cloudPeers().single().use { peer ->
                assertTrue(peer.status()!!.cloud)
                assertTrue(peer.holds(seen.id)!! > 0)
            }
            val document = tablet.collection("journal").open(seen.id)
            document.edit { setText("text", "from the tablet") }
            document.save()
            tablet.syncOnce(60.seconds)
            phone.syncOnce(60.seconds)
            assertEquals("from the tablet", phone.collection("journal").get(seen.id)?.get("text").text)
            tablet.close()
            phone.close()
        }
    }

    @Test
    fun `a sync that nobody answers ends at its deadline`() = running {
        val phone = Pod.create(folder.options("phone"), keeper, "phone").pod
        CloudProcess(folder.file.resolve("cloud")).use { linkCloud(phone, it) }
        phone.collection("journal").create { set("date", Value.Date(1)) }
        val begun = TimeSource.Monotonic.markNow()
        val report = phone.syncOnce(500.milliseconds)
        assertTrue(begun.elapsedNow() < 10.seconds, "${begun.elapsedNow()}")
        assertTrue(report.state is SyncState.Waiting, "${report.state}")
        phone.close()
    }

    @Test
    fun `a suspended pod holds no file, answers at once and goes on after`() = running {
        val (pod, _) = Pod.create(folder.options(), keeper, "laptop")
        pod.use {
            val journal = pod.collection("journal")
            journal.create { set("date", Value.Date(1)) }
            pod.suspend()
            assertEquals(emptyList<String>(), openFiles().filter { it.startsWith(folder.file.path) })
            val error = thrown<RhizomeException.Suspended> { journal.count() }
            assertEquals("suspended", error.code)
            pod.resume()
            pod.resume()
            assertEquals(1, journal.count())
            assertTrue(openFiles().any { it.startsWith(folder.file.path) })
        }
    }

    @Test
    fun `conditions are reasons`() = running {
        val (pod, _) = Pod.create(folder.options(), keeper, "laptop")
        pod.use {
            CloudProcess(folder.file.resolve("cloud")).use { cloud ->
                linkCloud(pod, cloud)
                pod.collection("journal").create { set("date", Value.Date(1)) }
                pod.setConditions(Conditions(Network.NONE))
                assertEquals("offline", (pod.status().sync as SyncState.Waiting).reason.kind)
                pod.setConditions(Conditions(Network.UNMETERED, batteryLow = true))
                assertEquals("battery-low", (pod.status().sync as SyncState.Waiting).reason.kind)
                pod.networkChanged()
            }
        }
    }
}

/** The paths of the files that this process has open (Linux). */
fun openFiles(): List<String> = java.io.File("/proc/self/fd").listFiles().orEmpty().mapNotNull {
    runCatching {
        java.nio.file.Files
            .readSymbolicLink(it.toPath())
            .toString()
    }.getOrNull()
}
