package dev.rhizome

/** An append-only event log for one kind of data: an application's own events, in the order that every device agrees on. */
public class Stream internal constructor(private val handle: StreamHandle) : AutoCloseable {
    /** Its label. */
    public val label: String get() = instant { handle.label() }

    /** Appends events as one entry. Durable when it returns. */
    public suspend fun append(events: List<AppEvent>): EntryRef = awaiting { handle.append(events, it) }

    /** Every event, in order. */
    public suspend fun events(): List<AppEvent> = awaiting { handle.events(it) }

    /** Lets go of the library's part. */
    override fun close(): Unit = handle.close()
}
