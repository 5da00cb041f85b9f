package dev.rhizome

/**
 * The edits that bring into a document what is different between [before] and [after]. [shown] is what the document holds, which may be more than
 * [before] and of other types: what [before] and [after] have alike is left as it is.
 */
internal fun changes(shown: Value, before: Value, after: Value): List<EditOp> =
    ArrayList<EditOp>().also { change(emptyList(), shown, before, after, it) }

private fun change(path: List<PathKey>, shown: Value?, before: Value?, after: Value?, into: MutableList<EditOp>) {
    when {
        before == after -> Unit

        after == null -> if (shown != null) into += EditOp.Delete(path)

        shown is Value.Map && after is Value.Map -> {
            val was = (before as? Value.Map)?.fields.orEmpty()
            for (name in was.keys + after.fields.keys) {
                change(path + PathKey.Field(name), shown.fields[name], was[name], after.fields[name], into)
            }
        }

        shown is Value.List && before is Value.List && after is Value.List && shown.values.size == before.values.size ->
            elements(path, shown.values, before.values, after.values, into)

        shown is Value.Text && after is Value.Text -> into += EditOp.SetText(path, after.value)

        shown is Value.Counter && before is Value.Counter && after is Value.Counter ->
            into += EditOp.Increment(path, after.value - before.value)

        else -> into += EditOp.Set(path, after)
    }
}

/** What is alike at both ends stays; between them elements are changed in place, and what is too much or too little goes or comes. */
private fun elements(path: List<PathKey>, shown: List<Value>, before: List<Value>, after: List<Value>, into: MutableList<EditOp>) {
    val least = minOf(before.size, after.size)
    val start = (0 until least).firstOrNull { before[it] != after[it] } ?: least
    val end = (0 until least - start).firstOrNull { before[before.size - 1 - it] != after[after.size - 1 - it] } ?: (least - start)
    val (was, now) = before.size - end to after.size - end
    for (place in start until minOf(was, now)) {
        change(path + PathKey.Index(place.toULong()), shown[place], before[place], after[place], into)
    }
    for (place in was - 1 downTo maxOf(start, now)) {
        into += EditOp.Delete(path + PathKey.Index(place.toULong()))
    }
    for (place in maxOf(start, was) until now) {
        into += EditOp.Insert(path, place.toULong(), after[place])
    }
}
