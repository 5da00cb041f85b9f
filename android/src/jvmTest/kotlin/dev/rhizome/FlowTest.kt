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
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class FlowTest {
    private val folder = Folder()

    @AfterEach
    fun close() = folder.close()

    private suspend fun newPod() = Pod.create(folder.options(), TestKeeper(), "laptop").pod

    private suspend fun Collection.put(date: Long) = create { set("date", Value.Date(date)) }.id

    @Test
    fun `a list is told as it changes`() = running {
        newPod().use { pod ->
            val journal = pod.collection("journal")
            val lists = Channel<List<ListRow>>(Channel.UNLIMITED)
            coroutineScope {
                val reader = launch { journal.watch("date", 2).collect { lists.send(it) } }
                assertEquals(emptyList<ListRow>(), lists.receive())
                val a = journal.put(1)
                assertEquals(listOf(a), lists.receive().map { it.id })
                val b = journal.put(2)
                assertEquals(listOf(b, a), lists.receive().map { it.id })
                val c = journal.put(3)
                assertEquals(listOf(c, b), lists.receive().map { it.id })
                journal.write(a) { set("date", Value.Date(4)) }
                assertEquals(listOf(a, c), lists.receive().map { it.id })
                reader.cancelAndJoin()
            }
        }
    }

    @Test
    fun `a slow reader gets many changes as one and misses none`() = running {
        newPod().use { pod ->
            val journal = pod.collection("journal")
            var told = 0
            coroutineScope {
                val first = Channel<Unit>(1)
                val reader =
                    launch {
                        journal.watch("date", 100).first { rows ->
                            told += 1
                            first.trySend(Unit)
                            delay(500)
                            rows.size == 50
                        }
                    }
                first.receive()
                repeat(50) { journal.put(it.toLong()) }
                reader.join()
            }
            assertTrue(told in 2..10, "$told")
        }
    }

    @Test
    fun `a reader that throws or is dropped ends its subscription`() = running {
        newPod().use { pod ->
            val journal = pod.collection("journal")
            val before = pod.handle.alive().tasks
            repeat(20) {
                thrown<NoSuchElementException> { journal.watch("date", 5).collect { throw NoSuchElementException() } }
                journal.watch("date", 5).first()
                pod.statusFlow().first()
                coroutineScope {
                    val reader = launch(start = CoroutineStart.UNDISPATCHED) { journal.watchDocument("0".repeat(32)).collect {} }
                    delay(5)
                    reader.cancelAndJoin()
                }
            }
            until("no task is left") { pod.handle.alive().tasks == 1uL }
        }
    }

    @Test
    fun `flows wait while the pod is suspended and end when it is shut down`() = running {
        val pod = newPod()
        val journal = pod.collection("journal")
        coroutineScope {
            val seen = Channel<DocumentSnapshot>(Channel.UNLIMITED)
            val id = journal.put(1)
            val reader = launch { journal.watchDocument(id).collect { seen.send(it) } }
            val statuses = launch { pod.statusFlow().toList() }
            assertEquals(1L, seen.receive().value?.get("date").number)
            pod.suspend()
            delay(50)
            assertTrue(reader.isActive && statuses.isActive)
            pod.resume()
            journal.write(id) { set("date", Value.Date(2)) }
            assertEquals(2L, seen.receive().value?.get("date").number)
            pod.shutdown()
            reader.join()
            statuses.join()
            assertTrue(!reader.isCancelled && !statuses.isCancelled)
        }
        pod.close()
    }
}
