package dev.rhizome

/**
 * A link that is under way, on a device that has a pod: show [code] if there is one, show what [number] gives, [answer] what the person says of
 * it, and wait until it is [finished].
 */
public class Linking internal constructor(private val handle: LinkingHandle) : AutoCloseable {
    /** The code to show, if this side shows one. */
    public val code: String? get() = instant { handle.code() }

    /** The code as a QR code to draw, if this side shows one; `null` too if it is too long for a picture, with dozens of addresses. */
    public val matrix: CodeMatrix? get() = instant { handle.matrix() }

    /** Six digits, once both sides know them, for the person to compare with the other screen; `null` if the link ended before. */
    public suspend fun number(): String? = awaiting { handle.number(it) }

    /** What the person says: whether the other screen shows the same number. The first answer counts. */
    public fun answer(same: Boolean): Unit = instant { handle.answer(same) }

    /** Ends it. */
    public fun abort(): Unit = instant { handle.abort() }

    /** How it ended; to be asked once. */
    public suspend fun finished(): LinkOutcome = awaiting { handle.finished(it) }

    /** Lets go of the library's part; a link that is still under way ends. */
    override fun close(): Unit = handle.close()
}

/** A link that is under way on a new device. As [Linking], and at its end there is a [pod]. */
public class Joining internal constructor(private val handle: LinkingHandle) : AutoCloseable {
    /** The code to show, if this side shows one. */
    public val code: String? get() = instant { handle.code() }

    /** The code as a QR code to draw, if this side shows one; `null` too if it is too long for a picture, with dozens of addresses. */
    public val matrix: CodeMatrix? get() = instant { handle.matrix() }

    /** Six digits, once both sides know them, for the person to compare with the other screen; `null` if the link ended before. */
    public suspend fun number(): String? = awaiting { handle.number(it) }

    /** What the person says: whether the other screen shows the same number. The first answer counts. */
    public fun answer(same: Boolean): Unit = instant { handle.answer(same) }

    /** Ends it. */
    public fun abort(): Unit = instant { handle.abort() }

    /** The pod of this device, once it is linked; to be asked once. */
    public suspend fun pod(): Pod = Pod(awaiting { handle.pod(it) })

    /** Lets go of the library's part; a link that is still under way ends. */
    override fun close(): Unit = handle.close()
}
