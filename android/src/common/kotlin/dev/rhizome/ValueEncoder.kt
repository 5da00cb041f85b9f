package dev.rhizome

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerializationException
import kotlinx.serialization.SerializationStrategy
import kotlinx.serialization.builtins.ByteArraySerializer
import kotlinx.serialization.builtins.serializer
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.descriptors.StructureKind
import kotlinx.serialization.encoding.AbstractEncoder
import kotlinx.serialization.encoding.CompositeEncoder
import kotlinx.serialization.modules.SerializersModule
import kotlin.time.ExperimentalTime
import kotlin.time.Instant

internal val BYTES = ByteArraySerializer().descriptor

@OptIn(ExperimentalTime::class)
internal val INSTANT = Instant.serializer().descriptor.serialName

/** Objects as values of a document: one of these for each object, list and map on the way. */
@OptIn(ExperimentalSerializationApi::class, ExperimentalTime::class)
internal abstract class Encoding(final override val serializersModule: SerializersModule) : AbstractEncoder() {
    /** Takes what was encoded to its place. */
    protected abstract fun put(value: Value)

    /** For what is a value already. */
    fun whole(value: Value) = put(value)

    override fun encodeNull() = put(Value.Null)

    override fun encodeBoolean(value: Boolean) = put(Value.Bool(value))

    override fun encodeByte(value: Byte) = encodeLong(value.toLong())

    override fun encodeShort(value: Short) = encodeLong(value.toLong())

    override fun encodeInt(value: Int) = encodeLong(value.toLong())

    override fun encodeLong(value: Long) = put(Value.Int(value))

    override fun encodeFloat(value: Float) = encodeDouble(value.toDouble())

    override fun encodeDouble(value: Double) = put(Value.Float(value))

    override fun encodeChar(value: Char) = encodeString(value.toString())

    override fun encodeString(value: String) = put(Value.Str(value))

    override fun encodeEnum(enumDescriptor: SerialDescriptor, index: Int) = encodeString(enumDescriptor.getElementName(index))

    override fun <T> encodeSerializableValue(serializer: SerializationStrategy<T>, value: T) = when {
        value is ByteArray && serializer.descriptor == BYTES -> put(Value.Bytes(value))
        value is Instant && serializer.descriptor.serialName == INSTANT -> put(Value.Date(value.toEpochMilliseconds()))
        else -> super.encodeSerializableValue(serializer, value)
    }

    override fun beginStructure(descriptor: SerialDescriptor): CompositeEncoder = when (descriptor.kind) {
        StructureKind.LIST -> ListEncoding(serializersModule, ::put)
        StructureKind.MAP -> MapEncoding(serializersModule, ::put)
        else -> FieldsEncoding(serializersModule, ::put)
    }

    override fun shouldEncodeElementDefault(descriptor: SerialDescriptor, index: Int) = true
}

/** The outermost. */
internal class RootEncoding(module: SerializersModule) : Encoding(module) {
    lateinit var result: Value

    override fun put(value: Value) {
        result = value
    }
}

@OptIn(ExperimentalSerializationApi::class)
private class FieldsEncoding(module: SerializersModule, private val done: (Value) -> Unit) : Encoding(module) {
    private val fields = LinkedHashMap<String, Value>()
    private var name = ""
    private var said = emptyList<Annotation>()

    override fun encodeElement(descriptor: SerialDescriptor, index: Int): Boolean {
        name = descriptor.getElementName(index)
        said = descriptor.getElementAnnotations(index)
        return true
    }

    override fun put(value: Value) {
        fields[name] = said.fold(value) { shaped, annotation ->
            when {
                shaped == Value.Null -> shaped

                annotation is CollaborativeText -> Value.Text(
                    (shaped as? Value.Str)?.value ?: wrong("CollaborativeText stands on a String"),
                )

                annotation is Counter -> Value.Counter((shaped as? Value.Int)?.value ?: wrong("Counter stands on a whole number"))

                else -> shaped
            }
        }
    }

    private fun wrong(what: String): Nothing = throw SerializationException("$name: $what")

    override fun endStructure(descriptor: SerialDescriptor) = done(Value.Map(fields))
}

@OptIn(ExperimentalSerializationApi::class)
private class ListEncoding(module: SerializersModule, private val done: (Value) -> Unit) : Encoding(module) {
    private val values = ArrayList<Value>()

    override fun put(value: Value) {
        values += value
    }

    override fun endStructure(descriptor: SerialDescriptor) = done(Value.List(values))
}

/** Keys and values, one after the other. */
@OptIn(ExperimentalSerializationApi::class)
private class MapEncoding(module: SerializersModule, private val done: (Value) -> Unit) : Encoding(module) {
    private val fields = LinkedHashMap<String, Value>()
    private var key: String? = null

    override fun put(value: Value) {
        val name = key
        if (name != null) {
            fields[name] = value
            key = null
        } else {
            key = value.text ?: (value as? Value.Int)?.value?.toString()
                ?: throw SerializationException("the keys of a map are strings, whole numbers or enumerations")
        }
    }

    override fun endStructure(descriptor: SerialDescriptor) = done(Value.Map(fields))
}
