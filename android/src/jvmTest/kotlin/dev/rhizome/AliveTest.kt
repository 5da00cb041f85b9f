package dev.rhizome

import kotlinx.coroutines.flow.first
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class AliveTest {
    @Test
    fun `as much is alive after ten thousand calls as after a thousand`() = running {
        Folder().use { folder ->
            Pod.create(folder.options(), TestKeeper(), "laptop").pod.use { pod ->
                val id = pod.collection("journal").create { set("date", Value.Date(1)) }.id
                val after = mutableListOf<Alive>()
                var calls = 0
                for (goal in listOf(1_000, 10_000)) {
                    while (calls < goal) {
                        pod.collection("journal").use { journal ->
                            journal.get(id)
                            journal.list("date", 10)
                            journal.watch("date", 10).first()
                            journal.open(id).use { it.edit { set("seen", Value.Bool(true)) } }
                        }
                        pod.status()
                        calls += 8
                    }
                    until("the tasks have ended") { pod.handle.alive().tasks == 1uL }
                    // Cancelled handles and futures are freed by the caller, not by the collector.
                    after += pod.handle.alive()
                }
                assertEquals(after[0].podHandles, after[1].podHandles)
                assertEquals(after[0].tasks, after[1].tasks)
                // Caches fill and breathe; nine thousand calls that left two bytes each would show.
                assertTrue(after[1].bytes - after[0].bytes < 2 * 9_000, "$after")
            }
        }
    }
}
