package dev.rhizome

import kotlinx.serialization.DeserializationStrategy
import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerializationException
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.descriptors.StructureKind
import kotlinx.serialization.encoding.AbstractDecoder
import kotlinx.serialization.encoding.CompositeDecoder
import kotlinx.serialization.modules.SerializersModule
import kotlin.time.ExperimentalTime
import kotlin.time.Instant

/** Values of a document as objects: one of these for each object, list and map on the way. Its errors name properties and types, never a value. */
@OptIn(ExperimentalSerializationApi::class, ExperimentalTime::class)
internal abstract class Decoding(final override val serializersModule: SerializersModule) : AbstractDecoder() {
    /** What is read now. */
    protected abstract val current: Value

    /** Where it stands. */
    protected abstract val place: String

    /** For what stays a value. */
    fun whole(): Value = current

    protected fun wrong(expected: String): Nothing =
        throw SerializationException("$place: $expected was expected, not ${current::class.simpleName}")

    protected open fun long(): Long = when (val value = current) {
        is Value.Int, is Value.Counter, is Value.Date -> value.number!!
        is Value.Float -> value.value.toLong().also { if (it.toDouble() != value.value) wrong("a whole number") }
        else -> wrong("a whole number")
    }

    private fun long(range: LongRange): Long {
        val value = long()
        return if (value in range) value else wrong("a whole number from ${range.first} to ${range.last}")
    }

    override fun decodeNotNullMark() = current !is Value.Null

    override fun decodeBoolean() = (current as? Value.Bool)?.value ?: wrong("a flag")

    override fun decodeByte() = long(Byte.MIN_VALUE.toLong()..Byte.MAX_VALUE).toByte()

    override fun decodeShort() = long(Short.MIN_VALUE.toLong()..Short.MAX_VALUE).toShort()

    override fun decodeInt() = long(Int.MIN_VALUE.toLong()..Int.MAX_VALUE).toInt()

    override fun decodeLong() = long()

    override fun decodeFloat() = decodeDouble().toFloat()

    override fun decodeDouble() = when (val value = current) {
        is Value.Float -> value.value
        else -> value.number?.toDouble() ?: wrong("a number")
    }

    override fun decodeChar() = decodeString().singleOrNull() ?: wrong("one character")

    override fun decodeString() = current.text ?: wrong("a string or text")

    override fun decodeEnum(enumDescriptor: SerialDescriptor): Int {
        val index = enumDescriptor.getElementIndex(decodeString())
        return if (index >= 0) index else wrong("the name of a constant of ${enumDescriptor.serialName}")
    }

    @Suppress("UNCHECKED_CAST")
    override fun <T> decodeSerializableValue(deserializer: DeserializationStrategy<T>): T = when {
        deserializer.descriptor == BYTES -> ((current as? Value.Bytes)?.value ?: wrong("bytes")) as T
        deserializer.descriptor.serialName == INSTANT -> Instant.fromEpochMilliseconds(current.number ?: wrong("a date")) as T
        else -> super.decodeSerializableValue(deserializer)
    }

    override fun beginStructure(descriptor: SerialDescriptor): CompositeDecoder = when (descriptor.kind) {
        StructureKind.LIST -> ListDecoding(serializersModule, place, (current as? Value.List)?.values ?: wrong("a list"))
        StructureKind.MAP -> MapDecoding(serializersModule, place, (current as? Value.Map)?.fields ?: wrong("a map"))
        else -> FieldsDecoding(serializersModule, descriptor, (current as? Value.Map)?.fields ?: wrong("a map"))
    }
}

/** The outermost. */
@OptIn(ExperimentalSerializationApi::class)
internal class RootDecoding(module: SerializersModule, override val current: Value) : Decoding(module) {
    override val place get() = "the value"

    override fun decodeElementIndex(descriptor: SerialDescriptor) = CompositeDecoder.DECODE_DONE
}

@OptIn(ExperimentalSerializationApi::class)
private class FieldsDecoding(module: SerializersModule, private val descriptor: SerialDescriptor, private val fields: Map<String, Value>) :
    Decoding(module) {
    private var next = 0

    override val place get() = descriptor.getElementName(next - 1)
    override val current get() = fields[place] ?: Value.Null

    override fun decodeElementIndex(descriptor: SerialDescriptor): Int {
        while (next < descriptor.elementsCount) {
            val index = next++
            // What may be null and has no other default is null where it is missing.
            val missing = !descriptor.isElementOptional(index) && descriptor.getElementDescriptor(index).isNullable
            if (descriptor.getElementName(index) in fields || missing) return index
        }
        return CompositeDecoder.DECODE_DONE
    }
}

@OptIn(ExperimentalSerializationApi::class)
private class ListDecoding(module: SerializersModule, private val of: String, private val values: List<Value>) : Decoding(module) {
    private var next = 0

    override val place get() = "an element of $of"
    override val current get() = values[next - 1]

    override fun decodeElementIndex(descriptor: SerialDescriptor) = if (next < values.size) next++ else CompositeDecoder.DECODE_DONE

    override fun decodeCollectionSize(descriptor: SerialDescriptor) = values.size
}

/** Keys and values, one after the other. */
@OptIn(ExperimentalSerializationApi::class)
private class MapDecoding(module: SerializersModule, private val of: String, fields: Map<String, Value>) : Decoding(module) {
    private val each = fields.entries.flatMap { listOf(Value.Str(it.key), it.value) }
    private var next = 0

    override val place get() = "an entry of $of"
    override val current get() = each[next - 1]

    override fun long() = if (next % 2 == 1) current.text?.toLongOrNull() ?: wrong("a whole number as a key") else super.long()

    override fun decodeElementIndex(descriptor: SerialDescriptor) = if (next < each.size) next++ else CompositeDecoder.DECODE_DONE

    override fun decodeCollectionSize(descriptor: SerialDescriptor) = each.size / 2
}
