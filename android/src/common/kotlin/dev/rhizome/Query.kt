package dev.rhizome

import java.time.Instant

/** What a collection's schema says: [SchemaBuilder]. */
public fun schema(build: SchemaBuilder.() -> Unit): Schema = SchemaBuilder().apply(build).run { Schema(indexes, search) }

/** Indexes and searched fields of a collection. Fields are named from the document's top; one inside of a map by its path. */
public class SchemaBuilder internal constructor() {
    internal val indexes = mutableListOf<Index>()
    internal val search = mutableListOf<SearchField>()

    /** Documents in the order of these fields, the first first. */
    public fun index(vararg fields: String) {
        indexes += Index(fields.map { IndexField(listOf(it)) })
    }

    /** Each element of a list on its own, then these fields. */
    public fun indexEach(list: String, vararg then: String) {
        indexes += Index(listOf(IndexField(listOf(list), each = true)) + then.map { IndexField(listOf(it)) })
    }

    /** As the other [index], of any fields. */
    public fun index(fields: List<IndexField>) {
        indexes += Index(fields)
    }

    /** A field whose words are searched; a word in it counts [weight] times, from 1 to 100. */
    public fun search(field: String, weight: Int = 1): Unit = search(listOf(field), weight)

    /** As the other [search], of a field inside of maps. */
    public fun search(path: List<String>, weight: Int = 1) {
        require(weight in 1..100) { "a weight is from 1 to 100: $weight" }
        search += SearchField(path, weight.toUByte())
    }
}

/** A question to a collection: [QueryBuilder]. */
public fun query(build: QueryBuilder.() -> Unit): Query = QueryBuilder().apply(build).made()

/**
 * What a query asks. It is answered from one declared index by one walk: its equal fields (and the list that contains a value) are the first of the
 * index, in any order, then comes what it is sorted by, whose first field may have a range. Values are a [Value], `null`, a `Boolean`, a number, a
 * `String`, a `ByteArray` or a `java.time.Instant`. Numbers, dates and counters are equal if they are worth the same, a text is a string.
 */
public class QueryBuilder internal constructor() {
    private val equal = mutableListOf<FieldValue>()
    private var contains: FieldValue? = null
    private var range: FieldRange? = null
    private val sort = mutableListOf<List<String>>()
    private var descending = false
    private var limit: UInt? = null

    /** The `next` of the page before. */
    public var after: String? = null

    /** Where a field is this. */
    public fun equal(field: String, value: Any?): Unit = equal(listOf(field), value)

    /** As the other [equal], of a field inside of maps. */
    public fun equal(path: List<String>, value: Any?) {
        equal += FieldValue(path, valueOf(value))
    }

    /** Where a list has this among its elements. One list a query. */
    public fun contains(list: String, value: Any?): Unit = contains(listOf(list), value)

    /** As the other [contains], of a list inside of maps. */
    public fun contains(path: List<String>, value: Any?) {
        contains = FieldValue(path, valueOf(value))
    }

    /** Where a field is [from] something on and below [until], and sorted by it; with no end it goes on to the last value of the same kind. */
    public fun range(field: String, from: Any? = null, until: Any? = null): Unit = range(fieldRange(listOf(field), from, until))

    /** As the other [range], with the ends in it or not. */
    public fun range(range: FieldRange) {
        this.range = range
    }

    /** Where a string or text begins with this, and sorted by it. */
    public fun prefix(field: String, prefix: String): Unit = range(FieldRange(listOf(field), prefix = prefix))

    /** Sorted by these fields, the first first; then by id. */
    public fun sort(vararg fields: String): Unit = fields.forEach { sort(listOf(it)) }

    /** As the other [sort], of a field inside of maps. */
    public fun sort(path: List<String>) {
        sort += path
    }

    /** All of it from the other end. */
    public fun descending() {
        descending = true
    }

    /** So many rows at most, from 1 to 10,000; 100 if nothing is said. */
    public fun limit(limit: Int) {
        this.limit = rows(limit)
    }

    internal fun made() = Query(equal, contains, range, sort, descending, limit, after)
}

internal fun fieldRange(path: List<String>, from: Any?, until: Any?) = FieldRange(path, from?.let(::valueOf), until?.let(::valueOf))

private fun valueOf(value: Any?): Value = when (value) {
    null -> Value.Null
    is Value -> value
    is Boolean -> Value.Bool(value)
    is Byte, is Short, is Int, is Long -> Value.Int((value as Number).toLong())
    is Float, is Double -> Value.Float((value as Number).toDouble())
    is String -> Value.Str(value)
    is ByteArray -> Value.Bytes(value)
    is Instant -> Value.Date(value.toEpochMilli())
    else -> throw IllegalArgumentException("a ${value::class.simpleName} is no value of a field")
}

internal fun rows(limit: Int): UInt {
    require(limit >= 0) { "a limit is not negative: $limit" }
    return limit.toUInt()
}

/** Makes the answer before this difference into the answer after it. */
public fun QueryDiff.applyTo(rows: List<QueryRow>): List<QueryRow> {
    val gone = removed.toHashSet()
    placed.mapTo(gone) { it.row.id }
    val after = rows.filterTo(ArrayList(rows.size + placed.size)) { it.id !in gone }
    for (each in placed) {
        after.add(each.index.toInt().coerceAtMost(after.size), each.row)
    }
    return after
}
