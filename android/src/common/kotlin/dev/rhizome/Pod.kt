package dev.rhizome

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.runBlocking
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes

/**
 * One person's data on one device: a folder, a device secret, an identity.
 *
 * Properties, and functions that do not suspend, answer from memory and may be called on the main thread. Functions that suspend throw
 * [RhizomeException] and end early when their coroutine is cancelled. A folder that is opened twice in one process is one pod.
 */
public class Pod internal constructor(internal val handle: PodHandle) : AutoCloseable {
    private val closed = AtomicBoolean()

    /** The identity's DID. */
    public val did: String get() = instant { handle.did() }

    /** The signing key of this device, by which others know it. */
    public val device: String get() = instant { handle.device() }

    /** The identity's DID document (W3C DID Core 1.0) as JSON, as far as its log is ordered. */
    public val didDocument: String get() = instant { handle.didDocument() }

    /**
     * The public part of the identity log, as a CAR file: whoever has it resolves the DID with [resolve], asking nobody. It tells the public keys and
     * addresses of devices and cloud peers, and when they came; no names.
     */
    public fun exportIdentity(): ByteArray = instant { handle.exportIdentity() }

    /** The folder. */
    public val path: String get() = instant { handle.path() }

    /** Documents of one kind. There is nothing of a collection before the first document in it. */
    public fun collection(name: String): Collection = Collection(instant { handle.collection(name) })

    /** An event log for one kind of data. There is nothing of a stream before the first event in it. */
    public fun stream(label: String): Stream = Stream(instant { handle.stream(label) })

    /** Photos, audio and files that documents refer to. */
    public val attachments: Attachments get() = Attachments(handle)

    /**
     * Deletes documents; gives the proposals' ids. They are gone from every list at once, here and on each device that learns of it; [trash] names
     * them, and [cancelErase] brings them back, until seven days after the deletion was put in order. From then on every device and cloud peer drops
     * their text and attachments. [RhizomeException.NotFound] if one is not here: then none is deleted.
     */
    public suspend fun eraseDocuments(ids: List<String>): List<String> = awaiting { handle.eraseDocuments(ids, it) }

    /** As [eraseDocuments], one. */
    public suspend fun eraseDocument(id: String): List<String> = eraseDocuments(listOf(id))

    /**
     * Deletes a document for good, by the 24 [words]: each device and cloud peer that hears of it drops its text. Nothing brings it back. Also for what
     * is in the trash. [RhizomeException.InvalidInput] with the code `wrong-words` if these are not the identity's.
     */
    public suspend fun eraseDocumentAtOnce(id: String, words: String): List<String> = awaiting { handle.eraseDocumentAtOnce(id, words, it) }

    /**
     * Brings a deleted document back, in time. Of others that were deleted in the same call, the seven days begin anew. [RhizomeException.NotFound] if
     * it is not in the trash, [RhizomeException.Refused] if it is too late.
     */
    public suspend fun cancelErase(id: String): Unit = awaiting { handle.cancelErase(id, it) }

    /** The documents that were deleted and can still be brought back, the latest first. */
    public suspend fun trash(): List<Trashed> = awaiting { handle.trash(it) }

    /** The pod's state, with its reasons. */
    public suspend fun status(): Status = awaiting { handle.status(it) }

    /** The status, at first and whenever it is another. Ends when the pod is shut down; while it is suspended it waits. */
    public fun statusFlow(): Flow<Status> = pulled(handle::watchStatus, { next(it) }, { cancel() })

    /** Says what the system says of this device; a status gives it as the reason why something waits. */
    public fun setConditions(conditions: Conditions): Unit = instant { handle.setConditions(conditions) }

    /** Makes a code that a new device scans to join this identity; good for [expiresIn]. */
    public suspend fun invite(expiresIn: Duration = 10.minutes): Linking = Linking(awaiting { handle.invite(seconds(expiresIn), it) })

    /** Lets the new device that shows [code] into this identity: it will read everything. */
    public fun linkDevice(code: String): Linking = Linking(instant { handle.linkDevice(code) })

    /** Links the cloud peer that shows [code]: it will store what it cannot read. */
    public fun linkCloudPeer(code: String): Linking = Linking(instant { handle.linkCloudPeer(code) })

    /** The cloud peers of this identity. */
    public suspend fun cloudPeers(): List<CloudPeer> = awaiting { handle.cloudPeers(it) }.map(::CloudPeer)

    /** The identity's devices and cloud peers, and the devices that were removed. */
    public suspend fun members(): Members = awaiting { handle.members(it) }

    /**
     * Removes a device, by its signing key; gives the proposal's id. From here on nothing that is written by a device that knows of it can be read by
     * the removed one, and nothing that it writes counts. It keeps, and can read, what it had until then: nothing is erased there. A device that
     * does not know yet goes on taking its entries, and those stay. What it wrote and never sent comes in only by [readmitEntries].
     * [RhizomeException.Refused] for this device itself: another one removes it.
     */
    public suspend fun removeDevice(key: String): String = awaiting { handle.removeDevice(key, it) }

    /**
     * Removes a cloud peer, by its signing key; gives the proposal's id. Devices do not sync with it any more. It keeps what it stored, and could
     * never read it.
     */
    public suspend fun removePeer(key: String): String = awaiting { handle.removePeer(key, it) }

    /** Calls a device or cloud peer something else; gives the proposal's id. */
    public suspend fun rename(key: String, name: String): String = awaiting { handle.rename(key, name, it) }

    /**
     * Lets count what is kept here of a removed device ([RemovedMember.kept]): for when it is found again, or was removed with too little of it seen.
     * Gives the proposal's id; `null` if there is nothing to let count.
     */
    public suspend fun readmitEntries(key: String): String? = awaiting { handle.readmitEntries(key, it) }

    /** Asks the present orderer to let another device or cloud peer put proposals in order from here on; gives the proposal's id. */
    public suspend fun handOver(key: String): String = awaiting { handle.handOver(key, it) }

    /**
     * As [handOver] where the present orderer is lost: this device votes; gives the proposal's id. Once most devices have, it is done; what the old
     * one put in order that they had not seen waits for its order again.
     */
    public suspend fun voteForOrderer(key: String): String = awaiting { handle.voteForOrderer(key, it) }

    /** How far the proposal with this id is. */
    public fun proposalState(id: String): ProposalState = instant { handle.proposal(id) }

    /**
     * Proposes that [new] words, of [newWords], are the recovery words; gives the proposal's id. They count 72 hours after this is put in order; until
     * then the present ones do, and can call it off. Show them and ask for three of them ([WordsQuiz]) before: words should count which somebody has.
     */
    public suspend fun changeWords(new: List<String>): String = awaiting { handle.changeWords(new, it) }

    /**
     * As [changeWords], by the present words: the [new] ones count at once, and the present ones never again. [RhizomeException.InvalidInput] with the
     * code `wrong-words` if [words] are not the present ones. What the library holds of words is wiped after use; the virtual machine keeps a string's
     * memory as long as it likes.
     */
    public suspend fun changeWords(new: List<String>, words: String): Unit = awaiting { handle.changeWordsAtOnce(words, new, it) }

    /**
     * Takes everything in that was written in [other], a pod of another identity on this device: for a person who wrote first and linked their other
     * devices later. Documents come under their own ids, as they are now; their history stays in [other], which is not changed. What is here already is
     * left as it is, so it can be called again.
     */
    public suspend fun takeIn(other: Pod): TakenIn = awaiting { handle.takeIn(other.handle, it) }

    /**
     * Takes the identity back from [thieves], devices of it that are in somebody else's hands, by the present [words]: they and every device that they let
     * in are removed, whom they removed comes back, and other words that a device proposed are called off. It counts wherever it comes, whatever they do
     * meanwhile, as long as these are still the words. What they had read by then, they have read. If they removed this device already, cloud peers no
     * longer listen to it: [recover] on another one, or in another folder, and take it back there. [RhizomeException.InvalidInput] with the code
     * `wrong-words` if [words] are not the present ones.
     */
    public suspend fun takeBack(words: String, thieves: List<String>): Unit = awaiting { handle.takeBack(words, thieves, it) }

    /**
     * The whole job of a background wake: connects, moves what is missing both ways, gets durable receipts and closes, within [deadline] and
     * [byteBudget] (bytes both ways). What was moved stays moved, however it ends; what went wrong with a peer stands in the report.
     */
    public suspend fun syncOnce(deadline: Duration, byteBudget: Long? = null): SyncReport =
        awaiting { handle.syncOnce(deadline.inWholeMilliseconds.coerceAtLeast(0).toULong(), byteBudget?.toULong(), it) }

    /**
     * Stays connected to every cloud peer until the result is stopped or closed: new entries move at once, both ways. For the foreground: an
     * idle connection keeps a radio awake.
     */
    public suspend fun goLive(): Live = Live(awaiting { handle.goLive(it) })

    /** To be called when the system says that the network changed. */
    public suspend fun networkChanged(): Unit = awaiting { handle.networkChanged(it) }

    /** The devices and peers that hold an entry, by their signed word. None: it is only here, as far as is known. */
    public suspend fun holders(entry: EntryRef): List<Holder> = awaiting { handle.holders(entry, it) }

    /** Checks the log: SQLite's own check, and every chain and signature. Gives how many entries were checked. Slow. */
    public suspend fun verify(): Long = awaiting { handle.verify(it) }.toLong()

    /**
     * Lets go of every file, lock and socket, at a durable point. Until [resume], calls throw [RhizomeException.Suspended] at once. Once
     * begun it ends, whoever waits.
     */
    public suspend fun suspend(): Unit = toItsEnd { handle.suspend() }

    /** Takes everything up again. Does nothing if the pod is not suspended. */
    public suspend fun resume(): Unit = toItsEnd { handle.resume() }

    /** Ends the pod, for everyone who opened it in this process. Can be called again, and in any phase. */
    public suspend fun shutdown(): Unit = toItsEnd { handle.shutdown() }

    /** [shutdown], and lets go of the library's part. Waits for the disk: from a coroutine, call [shutdown] first. Can be called again. */
    override fun close() {
        if (closed.compareAndSet(false, true)) {
            try {
                runBlocking { shutdown() }
            } finally {
                handle.close()
            }
        }
    }

    /** Makes, opens and joins pods. */
    public companion object {
        /**
         * The newest DID document in the [file] of an identity, as JSON; everything in it is verified. [RhizomeException.InvalidInput] with the code `did`
         * if the file is not the log of this [did].
         */
        public fun resolve(did: String, file: ByteArray): String = instant { resolveDid(did, file) }

        /**
         * New recovery words, for [changeWords]. They are nothing to anybody yet: show them, ask for three of them ([WordsQuiz]), and only then let them
         * count.
         */
        public fun newWords(): List<String> = instant { dev.rhizome.newWords() }

        /** What the library is made of, for bug reports. */
        public val library: About get() = instant { about() }

        /** Makes a new identity with this as its first device, called [name] on the person's other devices. */
        public suspend fun create(options: PodOptions, keeper: SecretKeeper, name: String): NewPod =
            awaiting { createPod(options, keeper, name, it) }.let { NewPod(Pod(it.pod), it.words) }

        /** Opens the pod in a folder. */
        public suspend fun open(options: PodOptions, keeper: SecretKeeper): Pod = Pod(awaiting { openPod(options, keeper, it) })

        /** Joins the identity of the device that shows [code], as a new device called [name]. */
        public fun join(options: PodOptions, keeper: SecretKeeper, name: String, code: String): Joining =
            Joining(instant { joinPod(options, keeper, name, code) })

        /** Makes a code that a device of an identity scans to let this new one in; good for [expiresIn]. */
        public suspend fun awaitLink(options: PodOptions, keeper: SecretKeeper, name: String, expiresIn: Duration = 10.minutes): Joining =
            Joining(awaiting { dev.rhizome.awaitLink(options, keeper, name, seconds(expiresIn), it) })

        /**
         * Brings an identity back on an empty device with nothing but its 24 [words] and its cloud peer: this becomes a new device, called [name] on the
         * person's other devices. [words] are as the person types them; letter case and white space between them do not matter. Everything that the
         * cloud peer holds comes with the next sync. The devices that are lost stay of the identity until they are removed: [removeDevice].
         * [RhizomeException.InvalidInput] with the code `wrong-words` if they are no words, or not those of an identity that the peer holds.
         */
        public suspend fun recover(options: PodOptions, keeper: SecretKeeper, name: String, words: String, peer: PeerAddress): Pod =
            Pod(awaiting { recoverPod(options, keeper, name, words, peer.toString(), it) })

        /**
         * Opens a folder whose device secret is gone ([RhizomeException.NeedsRecovery]), with the 24 [words], and gives the keeper the secret again. What
         * was never sent is there. Asks no network. [RhizomeException.InvalidInput] with the code `wrong-words` if they are not the words of
         * this folder; nothing was changed then.
         */
        public suspend fun recoverFolder(options: PodOptions, keeper: SecretKeeper, words: String): Pod =
            Pod(awaiting { dev.rhizome.recoverFolder(options, keeper, words, it) })
    }
}

private fun seconds(duration: Duration) = duration.inWholeSeconds.coerceIn(0, UInt.MAX_VALUE.toLong()).toUInt()

/** A new pod, and the words that bring its identity back. */
public class NewPod internal constructor(
    /** The pod. */
    public val pod: Pod,
    /** The 24 recovery words: show them once; they are kept nowhere. */
    public val words: List<String>,
) {
    /** The pod. */
    public operator fun component1(): Pod = pod

    /** The words. */
    public operator fun component2(): List<String> = words
}

/** Keeps a pod live until it is stopped or closed. */
public class Live internal constructor(private val handle: LiveHandle) : AutoCloseable {
    /** Ends the live sessions and waits for their last words. Can be called again. */
    public suspend fun stop(): Unit = toItsEnd { handle.stop() }

    /** Ends the live sessions without waiting. */
    override fun close(): Unit = handle.close()
}

/** A cloud peer of this identity: an always-on device of the person's own that stores what it cannot read. */
public class CloudPeer internal constructor(private val handle: CloudPeerHandle) : AutoCloseable {
    /** Its signing key. */
    public val key: String get() = instant { handle.key() }

    /** What is known of it now; `null` if it is no longer linked. */
    public suspend fun status(): PeerStatus? = awaiting { handle.status(it) }

    /** Since when it holds all that is here of a document, by its signed word, in milliseconds since 1970; `null` if it does not. */
    public suspend fun holds(document: String): Long? = awaiting { handle.holds(document, it) }?.toLong()

    /** Lets go of the library's part. */
    override fun close(): Unit = handle.close()
}
