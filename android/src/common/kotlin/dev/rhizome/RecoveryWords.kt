package dev.rhizome

/**
 * Where a cloud peer is: what a person keeps beside the 24 words. [text] is an address as [toString] writes it, or a code that the peer shows, expired or
 * not. [RhizomeException.InvalidInput] with the code `address` if it is neither.
 */
public class PeerAddress(text: String) {
    private val written = instant { peerAddress(text) }

    /** Its endpoint and where to look for it, as it is written on paper: `KEY@host:port`, or more places with a comma between. */
    override fun toString(): String = written

    /** Whether it is the same endpoint in the same places. */
    override fun equals(other: Any?): Boolean = other is PeerAddress && other.written == written

    /** Of the endpoint and the places. */
    override fun hashCode(): Int = written.hashCode()
}

/** Asks for three of the 24 [words], chosen at random, by their places: whoever wrote them down can say them. */
public class WordsQuiz(words: List<String>) : AutoCloseable {
    private val handle = instant { QuizHandle(words) }

    /** The places asked for, from 1 to 24, lowest first. */
    public val places: List<Int> get() = instant { handle.places() }.map { it.toInt() }

    /** Whether these are the words in those places. Letter case and white space around them do not matter. */
    public fun isRight(answers: List<String>): Boolean = instant { handle.isRight(answers) }

    /** Lets go of the library's part, which wipes the words it asks for. */
    override fun close(): Unit = handle.close()
}
