package dev.rhizome

import kotlinx.serialization.DeserializationStrategy
import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.KSerializer
import kotlinx.serialization.SerialInfo
import kotlinx.serialization.SerializationException
import kotlinx.serialization.SerializationStrategy
import kotlinx.serialization.descriptors.PrimitiveKind
import kotlinx.serialization.descriptors.PrimitiveSerialDescriptor
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.descriptors.buildClassSerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.modules.EmptySerializersModule
import kotlinx.serialization.modules.SerializersModule
import kotlinx.serialization.serializer
import java.time.Instant

/** On a `String` property: the text is edited together, and concurrent edits of it merge. Without it one of them wins. */
@OptIn(ExperimentalSerializationApi::class)
@SerialInfo
@Target(AnnotationTarget.PROPERTY)
public annotation class CollaborativeText

/** On a property that is a whole number: what devices add to it at the same time adds up. Without it one of the numbers wins. */
@OptIn(ExperimentalSerializationApi::class)
@SerialInfo
@Target(AnnotationTarget.PROPERTY)
public annotation class Counter

/**
 * What stands in a document for [of]: objects and maps as maps, enumerations by the names of their constants, `ByteArray` as bytes, `kotlin.time.Instant`
 * as a date. Every property is written, also one that is what it is by default.
 */
public fun <T> encodeValue(serializer: SerializationStrategy<T>, of: T, module: SerializersModule = EmptySerializersModule()): Value =
    RootEncoding(module).also { it.encodeSerializableValue(serializer, of) }.result

/** As the other [encodeValue]. */
public inline fun <reified T> encodeValue(of: T): Value = encodeValue(serializer<T>(), of)

/**
 * What a value of a document stands for. Fields that the class does not know are passed over; one that is not there is what it is by default, or
 * `null` where it may be. Throws `SerializationException`, which tells names of properties and no value, where it is of another type.
 */
public fun <T> Value.decode(serializer: DeserializationStrategy<T>, module: SerializersModule = EmptySerializersModule()): T =
    RootDecoding(module, this).decodeSerializableValue(serializer)

/** As the other [decode]. */
public inline fun <reified T> Value.decode(): T = decode(serializer<T>())

/** Makes a document of an object. Durable when it returns. */
public suspend fun <T> Collection.add(serializer: SerializationStrategy<T>, value: T): Written {
    val fields = fieldsOf(encodeValue(serializer, value))
    return create { fields.forEach { (name, field) -> set(name, field) } }
}

/** As the other [add]. */
public suspend inline fun <reified T> Collection.add(value: T): Written = add(serializer<T>(), value)

/** A document as an object; `null` if it is not here. Throws as [decode]. */
public suspend fun <T> Collection.read(serializer: DeserializationStrategy<T>, id: String): T? = get(id)?.decode(serializer)

/** As the other [read]. */
public suspend inline fun <reified T> Collection.read(id: String): T? = read(serializer<T>(), id)

/**
 * Makes another object of a document, and writes what is different: two devices that change different properties at the same time both keep their
 * change. Gives what [change] made, `null` if the document is not here. Durable when it returns. Throws as [decode].
 */
public suspend fun <T> Collection.update(serializer: KSerializer<T>, id: String, change: (T) -> T): T? {
    if (get(id) == null) return null
    return open(id).use { document -> document.update(serializer, change).also { document.save() } }
}

/** As the other [update]. */
public suspend inline fun <reified T> Collection.update(id: String, noinline change: (T) -> T): T? = update(serializer<T>(), id, change)

/** What it shows as an object, unsaved edits among it. Throws as [decode]. */
public inline fun <reified T> Document.read(): T = value.decode(serializer<T>())

/**
 * Makes another object of what it shows and edits in memory what is different; gives what [change] made. [Document.save] makes it durable. Texts keep
 * what others write meanwhile. Throws as [decode].
 */
public fun <T> Document.update(serializer: KSerializer<T>, change: (T) -> T): T {
    val shown = value
    val before = shown.decode(serializer)
    // The object itself may be changed.
    val was = encodeValue(serializer, before)
    val after = change(before)
    val changes = changes(shown, was, encodeValue(serializer, after).also(::fieldsOf))
    if (changes.isNotEmpty()) edit { list += changes }
    return after
}

/** As the other [update]. */
public inline fun <reified T> Document.update(noinline change: (T) -> T): T = update(serializer<T>(), change)

/** The short fields of a row as an object: of a class that needs no others. Throws as [decode]. */
public inline fun <reified T> QueryRow.read(): T = Value.Map(fields).decode(serializer<T>())

/** As [QueryRow.read]. */
public inline fun <reified T> Hit.read(): T = Value.Map(fields).decode(serializer<T>())

private fun fieldsOf(value: Value) =
    (value as? Value.Map)?.fields ?: throw IllegalArgumentException("a document is an object with properties or a map")

/** A `java.time.Instant` as a date: `@Serializable(with = DateSerializer::class)`. Finer than a millisecond is cut off. In other formats a number. */
public object DateSerializer : KSerializer<Instant> {
    /** As serialization names it. */
    override val descriptor: SerialDescriptor = PrimitiveSerialDescriptor("dev.rhizome.Date", PrimitiveKind.LONG)

    /** Writes it. */
    override fun serialize(encoder: Encoder, value: Instant) {
        val millis = value.toEpochMilli()
        if (encoder is Encoding) encoder.whole(Value.Date(millis)) else encoder.encodeLong(millis)
    }

    /** Reads it. */
    override fun deserialize(decoder: Decoder): Instant = Instant.ofEpochMilli(decoder.decodeLong())
}

/** A value of a document as it is: `@Serializable(with = ValueSerializer::class)`. In no other format. */
public object ValueSerializer : KSerializer<Value> {
    /** As serialization names it. */
    override val descriptor: SerialDescriptor = buildClassSerialDescriptor("dev.rhizome.Value")

    /** Writes it. */
    override fun serialize(encoder: Encoder, value: Value): Unit = inDocument(encoder as? Encoding).whole(value)

    /** Reads it. */
    override fun deserialize(decoder: Decoder): Value = inDocument(decoder as? Decoding).whole()
}

/** A reference to an attachment: `@Serializable(with = AttachmentSerializer::class)`. In no other format. */
public object AttachmentSerializer : KSerializer<AttachmentRef> {
    /** As serialization names it. */
    override val descriptor: SerialDescriptor = buildClassSerialDescriptor("dev.rhizome.AttachmentRef")

    /** Writes it. */
    override fun serialize(encoder: Encoder, value: AttachmentRef): Unit = inDocument(encoder as? Encoding).whole(value.value)

    /** Reads it. */
    override fun deserialize(decoder: Decoder): AttachmentRef =
        inDocument(decoder as? Decoding).whole().attachment ?: throw SerializationException("a reference to an attachment was expected")
}

private fun <T : Any> inDocument(coder: T?): T = coder ?: throw SerializationException("this stands in documents only")
