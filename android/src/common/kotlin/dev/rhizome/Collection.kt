package dev.rhizome

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/** Documents of one kind, listed by date. */
public class Collection internal constructor(private val handle: CollectionHandle) : AutoCloseable {
    /** Its name. */
    public val name: String get() = instant { handle.name() }

    /** Makes a document. Durable when it returns. */
    public suspend fun create(edits: Edits.() -> Unit): Written = write(null, edits)

    /** Edits a document, one that is not here is made under that [id]; with no id, a new one. All edits are one change. Durable when it returns. */
    public suspend fun write(id: String?, edits: Edits.() -> Unit): Written =
        write(listOf(DocumentWrite(id, Edits().apply(edits).list))).single()

    /** Makes and edits many documents at once, in as few entries as they fit in. Durable when it returns. */
    public suspend fun write(writes: List<DocumentWrite>): List<Written> = awaiting { handle.write(writes, it) }

    /** A document as it is now; `null` if it is not here. */
    public suspend fun get(id: String): Value? = awaiting { handle.get(id, it) }

    /** A page by the date in the top-level [field], newest first. [after] is the `next` of the page before. */
    public suspend fun list(field: String, limit: Int, after: ListCursor? = null): Page =
        awaiting { handle.list(field, after, rows(limit), it) }

    /** How many documents there are. */
    public suspend fun count(): Long = awaiting { handle.count(it) }.toLong()

    /** Opens a document for editing; one that is not here is made by its first save. */
    public suspend fun open(id: String): Document = Document(awaiting { handle.open(id, it) })

    /** A new document, under an id of its own. There is nothing of it until it is saved. */
    public fun newDocument(): Document = Document(instant { handle.newDocument() })

    /** The devices and peers that hold everything that is here of a document, by their signed word. */
    public suspend fun holders(id: String): List<Holder> = awaiting { handle.holders(id, it) }

    /**
     * The first [limit] rows by the date in [field], at first and whenever they are others. Each reader has a subscription of its own; one who is
     * slow gets several changes as one, and misses none. Ends when the pod is shut down; while it is suspended it waits.
     */
    public fun watch(field: String, limit: Int): Flow<List<ListRow>> = flow {
        var rows = emptyList<ListRow>()
        differences(field, limit).collect {
            rows = it.applyTo(rows)
            emit(rows)
        }
    }

    /** As [watch], but what became of the rows, for a list on the screen that moves single ones; first the whole list. */
    public fun differences(field: String, limit: Int): Flow<ListDiff> =
        pulled({ handle.watch(field, rows(limit)) }, { next(it) }, { cancel() })

    /** One document, at first and whenever it is another; with no value while it is not here. Otherwise as [watch]. */
    public fun watchDocument(id: String): Flow<DocumentSnapshot> = pulled({ handle.watchDocument(id) }, { next(it) }, { cancel() })

    /** Lets go of the library's part. */
    override fun close(): Unit = handle.close()
}

private fun rows(limit: Int): UInt {
    require(limit >= 0) { "a limit is not negative: $limit" }
    return limit.toUInt()
}

/** Makes the list before this difference into the list after it. */
public fun ListDiff.applyTo(rows: List<ListRow>): List<ListRow> {
    val gone = removed.toHashSet()
    placed.mapTo(gone) { it.row.id }
    val after = rows.filterTo(ArrayList(rows.size + placed.size)) { it.id !in gone }
    for (each in placed) {
        after.add(each.index.toInt().coerceAtMost(after.size), each.row)
    }
    return after
}
