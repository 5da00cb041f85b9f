package dev.rhizome

/**
 * A document that is open for editing. Edits take effect in memory at once, on any thread; [save] makes them durable. What others write comes in
 * by [refresh].
 */
public class Document internal constructor(private val handle: DocumentHandle) : AutoCloseable {
    /** Its id. */
    public val id: String get() = instant { handle.id() }

    /** Everything it shows, unsaved edits among it. */
    public val value: Value get() = instant { handle.value() }

    /** Whether every edit is on the disk. */
    public val isSaved: Boolean get() = instant { handle.isSaved() }

    /** The value at the end of a path, if there is one. */
    public operator fun get(path: List<PathKey>): Value? = instant { handle.get(path) }

    /** The value of a top-level field, if there is one. */
    public operator fun get(field: String): Value? = get(path(field))

    /** A text in pieces with their marks, unsaved edits among it; `null` if no text is there. */
    public fun spans(path: List<PathKey>): List<Span>? = instant { handle.spans(path) }

    /**
     * A cursor at place [at] of a text: it stays where it is while others write before and after it, and is a string to be kept. In letters that are
     * not saved yet it means something to this object only.
     */
    public fun cursor(path: List<PathKey>, at: Int, lean: Lean = Lean.BEFORE): String = instant { handle.cursor(path, place(at), lean) }

    /** Where a cursor is now; `null` if it is of another text, or of letters that are not here. */
    public fun position(path: List<PathKey>, cursor: String): Int? = instant { handle.position(path, cursor) }?.toInt()

    /** Edits it in memory: all of [edits] or, if it throws, none. */
    public fun edit(edits: Edits.() -> Unit) {
        val list = Edits().apply(edits).list
        instant { handle.edit(list) }
    }

    /**
     * Makes the edits durable that were made before this call, as one change; gives the entry that holds it, if there was anything to write. If it
     * throws the edits stay: save again.
     */
    public suspend fun save(): EntryRef? = awaiting { handle.save(it) }

    /** Saves, and brings in what others wrote since; gives whether the document shows something else now. */
    public suspend fun refresh(): Boolean = awaiting { handle.refresh(it) }

    /**
     * Saves, and takes back what this device did last in it and did not take back yet, by a new change; what others wrote stays, and comes in. Gives
     * whether there was anything to take back.
     */
    public suspend fun undo(): Boolean = awaiting { handle.undo(it) }

    /** Saves, and does again what was taken back last, if this device did not edit it since. Gives whether there was anything. */
    public suspend fun redo(): Boolean = awaiting { handle.redo(it) }

    /** Forgets the edits since the last save. */
    public suspend fun discard(): Unit = awaiting { handle.discard(it) }

    /** Lets go of the library's part. Edits that are not saved are lost. */
    override fun close(): Unit = handle.close()
}

/** Edits of one document, in order; they take effect together. Places in texts are counted as `String` counts them, in UTF-16 code units. */
public class Edits internal constructor() {
    internal val list = mutableListOf<EditOp>()

    /** Puts a value at the end of a path; maps on the way are made. */
    public fun set(path: List<PathKey>, value: Value) {
        list += EditOp.Set(path, value)
    }

    /** Puts a value into a top-level field. */
    public operator fun set(field: String, value: Value): Unit = set(path(field), value)

    /** Removes the value at the end of a path. */
    public fun delete(path: List<PathKey>) {
        list += EditOp.Delete(path)
    }

    /** Puts a value into a list, before its [index]th value from 0; its length for the end. */
    public fun insert(path: List<PathKey>, index: Int, value: Value) {
        list += EditOp.Insert(path, place(index), value)
    }

    /** In a text, removes [delete] code units from [at] on, and puts [insert] there. */
    public fun spliceText(path: List<PathKey>, at: Int, delete: Int, insert: String) {
        list += EditOp.SpliceText(path, place(at), place(delete), insert)
    }

    /** Makes a text read as given, by the least edits; one that is not there is made. */
    public fun setText(path: List<PathKey>, text: String) {
        list += EditOp.SetText(path, text)
    }

    /** As the other [setText], of a top-level field. */
    public fun setText(field: String, text: String): Unit = setText(path(field), text)

    /** Adds to a counter. */
    public fun increment(path: List<PathKey>, by: Long) {
        list += EditOp.Increment(path, by)
    }

    /** In a text, sets the mark [name] from [start] up to [end]; [expand] says whether text put in at its ends gets it. */
    public fun mark(
        path: List<PathKey>,
        start: Int,
        end: Int,
        name: String,
        value: Value = Value.Bool(true),
        expand: Expand = Expand.AFTER,
    ) {
        list += EditOp.Mark(path, place(start), place(end), name, value, expand)
    }

    /** In a text, takes the mark [name] away from [start] up to [end]; [expand] says whether text put in at its ends stays without it. */
    public fun unmark(path: List<PathKey>, start: Int, end: Int, name: String, expand: Expand = Expand.AFTER) {
        list += EditOp.Unmark(path, place(start), place(end), name, expand)
    }
}

private fun place(index: Int): ULong {
    require(index >= 0) { "a place is not negative: $index" }
    return index.toULong()
}

/** A path into a document: names of fields (`String`) and places in lists (`Int`, from 0). */
public fun path(vararg steps: Any): List<PathKey> = steps.map {
    when (it) {
        is String -> PathKey.Field(it)
        is Int -> PathKey.Index(place(it))
        else -> throw IllegalArgumentException("a step of a path is a String or an Int")
    }
}

/** The value of a field, if this is a map and has it. */
public operator fun Value.get(field: String): Value? = (this as? Value.Map)?.fields?.get(field)

/** What a [Value.Text] or [Value.Str] reads; `null` for anything else. */
public val Value?.text: String?
    get() =
        when (this) {
            is Value.Text -> value
            is Value.Str -> value
            else -> null
        }

/** What a [Value.Int], [Value.Counter] or [Value.Date] (milliseconds since 1970) counts; `null` for anything else. */
public val Value?.number: Long?
    get() =
        when (this) {
            is Value.Int -> value
            is Value.Counter -> value
            is Value.Date -> millis
            else -> null
        }
