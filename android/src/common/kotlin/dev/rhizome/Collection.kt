package dev.rhizome

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/** Documents of one kind: listed by date, queried, searched, and each with its history. */
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

    /**
     * As [write], in one entry: all of it is written, or nothing; and on every device either all of it is shown or nothing yet.
     * [RhizomeException.InvalidInput] with the code `too-large` beyond 2,048 documents or 1 MiB, sealed.
     */
    public suspend fun transaction(writes: List<DocumentWrite>): List<Written> = awaiting { handle.transaction(writes, it) }

    /** A document as it is now; `null` if it is not here. */
    public suspend fun get(id: String): Value? = awaiting { handle.get(id, it) }

    /** A page by the date in the top-level [field], newest first. [after] is the `next` of the page before. */
    public suspend fun list(field: String, limit: Int, after: ListCursor? = null): Page =
        awaiting { handle.list(field, after, rows(limit), it) }

    /** How many documents there are. */
    public suspend fun count(): Long = awaiting { handle.count(it) }.toLong()

    /** The ids of all documents, in their order. */
    public suspend fun documents(): List<String> = awaiting { handle.documents(it) }

    /**
     * Says which indexes and searched fields it has: to be called whenever the pod was opened. What is new is built in the background, and until it
     * is done queries that need it throw [RhizomeException.InvalidInput] with the code `indexing`; a collection of some hundred documents is ready
     * when this returns. What the schema does not name is dropped, but for what lists asked for.
     */
    public suspend fun declare(schema: Schema): Unit = awaiting { handle.declare(schema, it) }

    /** How far the indexes are; `null` if they are ready. */
    public suspend fun indexProgress(): IndexProgress? = awaiting { handle.indexProgress(it) }

    /** A page of what a query finds. [RhizomeException.InvalidInput] with the code `not-indexed` if no declared index answers it. */
    public suspend fun query(query: Query): QueryPage = awaiting { handle.query(query, it) }

    /** As the other [query]. */
    public suspend fun query(build: QueryBuilder.() -> Unit): QueryPage = query(dev.rhizome.query(build))

    /** How many documents a query finds, whatever its limit. Takes time that grows with that number. */
    public suspend fun count(query: Query): Long = awaiting { handle.countQuery(query, it) }.toLong()

    /**
     * What a query finds, at first and whenever it is another; waits for an index that is built. Each reader has a subscription of its own; one who is
     * slow gets several changes as one, and misses none. Ends when the pod is shut down; while it is suspended it waits.
     */
    public fun queryFlow(query: Query): Flow<List<QueryRow>> = flow {
        var rows = emptyList<QueryRow>()
        queryDifferences(query).collect {
            rows = it.applyTo(rows)
            emit(rows)
        }
    }

    /** As [queryFlow], but what became of the rows: inserted, updated, moved, removed; first the whole answer. */
    public fun queryDifferences(query: Query): Flow<QueryDiff> = pulled({ handle.watchQuery(query) }, { next(it) }, { cancel() })

    /** A page of what a search finds in the fields that the schema names, the best first. Throws as [query]. */
    public suspend fun search(search: Search): SearchPage = awaiting { handle.search(search, it) }

    /** As the other [search]: words and "phrases" that all must be there; while they are [typing] the last word may be begun only. */
    public suspend fun search(text: String, typing: Boolean = false, limit: Int = 20): SearchPage =
        search(Search(text, typing, limit = rows(limit)))

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

    /**
     * The versions of a document, newest first by the clocks of who wrote them; of [limit] entries at most. [after] is the `next` of the page before. A
     * document that is not here has none.
     */
    public suspend fun history(id: String, limit: Int = 50, after: String? = null): HistoryPage =
        awaiting { handle.history(id, after, rows(limit), it) }

    /** A document as it was at a version. [RhizomeException.NotFound] if it is not here, [RhizomeException.InvalidInput] if it has no such version. */
    public suspend fun documentAt(id: String, version: String): Value = awaiting { handle.documentAt(id, version, it) }

    /** A text in pieces with their marks, as it is now or as it was at a [version]; `null` if no text is there. Throws as [documentAt]. */
    public suspend fun spans(id: String, path: List<PathKey>, version: String? = null): List<Span>? =
        awaiting { handle.spans(id, path, version, it) }

    /** What is different in a document between two versions; from the empty document if [before] is `null`. Throws as [documentAt]. */
    public suspend fun differences(id: String, before: String?, after: String): List<Difference> =
        awaiting { handle.differences(id, before, after, it) }

    /** Who wrote a text, letter by letter, in order; empty if no text is there. */
    public suspend fun blame(id: String, path: List<PathKey>): List<BlameSpan> = awaiting { handle.blame(id, path, it) }

    /**
     * Every value that devices put into one place without knowing of each other; the last is shown. One, if nobody disagrees. Whoever sets the place
     * decides.
     */
    public suspend fun conflicts(id: String, path: List<PathKey>): List<Conflict> = awaiting { handle.conflicts(id, path, it) }

    /** Makes a document as it was at a version, by a new change: every version stays. Throws as [documentAt]. */
    public suspend fun restore(id: String, version: String): Written = awaiting { handle.restore(id, version, it) }

    /**
     * Takes back what this device did last in a document and did not take back yet, by a new change: all that one edit, batch or save did. What others
     * wrote stays. `null` if there is nothing; it goes up to 1,000 changes back, also after the pod was closed.
     */
    public suspend fun undo(id: String): Written? = awaiting { handle.undo(id, it) }

    /** Does again what was taken back last, if this device did not edit the document since. `null` if there is nothing. */
    public suspend fun redo(id: String): Written? = awaiting { handle.redo(id, it) }

    /** A document as an Automerge file, with its whole history. It holds everything that was ever written in it, in the clear. */
    public suspend fun exportDocument(id: String): ByteArray = awaiting { handle.exportDocument(id, it) }

    /** The attachments that a document refers to, wherever in it. */
    public suspend fun attachmentsOf(id: String): List<AttachmentRef> = awaiting { handle.attachmentsOf(id, it) }

    /** Lets go of the library's part. */
    override fun close(): Unit = handle.close()
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
