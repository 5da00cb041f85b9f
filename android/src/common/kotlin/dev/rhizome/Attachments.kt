package dev.rhizome

import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import java.io.File
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes

/** The attachments of a pod: photos, audio, files; sealed, and got when they are read. Where one belongs its reference stands in a document. */
public class Attachments internal constructor(private val handle: PodHandle) {
    /**
     * Seals bytes and keeps them, on the disk when it returns. To be found again the reference goes into a document:
     * `set("photo", reference.value)`. [progress] hears how far it is.
     */
    public suspend fun attach(bytes: ByteArray, what: NewAttachment, progress: ((Progress) -> Unit)? = null): AttachmentRef =
        heard(progress) { hearing -> awaiting { handle.attachBytes(bytes, what, hearing, it) } }

    /** As the other [attach], what is in a file: 8 GiB at the most, and in a few mebibytes of memory. The file is left as it is. */
    public suspend fun attach(file: File, what: NewAttachment, progress: ((Progress) -> Unit)? = null): AttachmentRef =
        heard(progress) { hearing -> awaiting { handle.attachFile(file.path, what, hearing, it) } }

    /**
     * Bytes of an attachment, checked: those from [from] up to [until] that it has. What is not here is got within the [deadline], and stays.
     * [RhizomeException.NotFound] if nobody who could be reached holds it.
     */
    public suspend fun read(of: AttachmentRef, from: Long = 0, until: Long = Long.MAX_VALUE, deadline: Duration = 1.minutes): ByteArray {
        require(from >= 0 && until >= 0) { "places are not negative: $from, $until" }
        return awaiting { handle.readAttachment(of.value, from.toULong(), until.toULong(), millis(deadline), it) }
    }

    /** Writes an attachment into a file, checked; what is not here is got first, within the [deadline]. Gives how many bytes it has. */
    public suspend fun export(of: AttachmentRef, to: File, deadline: Duration = 1.minutes, progress: ((Progress) -> Unit)? = null): Long =
        heard(progress) { hearing -> awaiting { handle.exportAttachment(of.value, to.path, millis(deadline), hearing, it) } }.toLong()

    /** Gets all of an attachment that is not here, within the [deadline]. What came stays, however it ends. */
    public suspend fun fetch(id: String, deadline: Duration = 1.minutes, progress: ((Progress) -> Unit)? = null): Unit =
        heard(progress) { hearing -> awaiting { handle.fetchAttachment(id, millis(deadline), hearing, it) } }

    /** Where an attachment is. */
    public suspend fun status(id: String): AttachmentStatus = awaiting { handle.attachmentStatus(id, it) }

    /** All attachments together. */
    public suspend fun status(): AttachmentsStatus = awaiting { handle.attachmentsStatus(it) }

    /** Keeps an attachment on this device, and gets it with the next sync if it is not here; or lets it go again when there is no room. */
    public suspend fun pin(id: String, pinned: Boolean = true): Unit = awaiting { handle.pinAttachment(id, pinned, it) }

    /**
     * The most bytes of attachments that this device keeps; `null`: no limit, as in the beginning. What no cloud peer holds, what is pinned, and
     * thumbnails are kept whatever they take.
     */
    public suspend fun setQuota(bytes: Long?) {
        require(bytes == null || bytes >= 0) { "a quota is not negative: $bytes" }
        awaiting { handle.setAttachmentQuota(bytes?.toULong(), it) }
    }

    /** Removes an attachment's bytes from this device; it is got again when it is read. [RhizomeException.Refused] if no cloud peer holds it. */
    public suspend fun evict(id: String): Unit = awaiting { handle.evictAttachment(id, it) }

    /** Makes room down to the quota, and lets go of what no document refers to for 30 days. A sync does this too, once a day. */
    public suspend fun tidy(): Tidied = awaiting { handle.tidyAttachments(it) }
}

/** The attachment that a value of a document refers to; `null` if it is no reference. */
public val Value?.attachment: AttachmentRef? get() = this?.let { instant { attachmentRef(it) } }

/** The small one to be shown in its place, an attachment of its own; `null` if there is none. */
public val AttachmentRef.small: AttachmentRef? get() = thumbnail.attachment

private fun millis(deadline: Duration) = deadline.inWholeMilliseconds.coerceAtLeast(0).toULong()

/** Runs a call and tells [progress] how far it is. */
private suspend fun <T> heard(progress: ((Progress) -> Unit)?, call: suspend (ProgressHandle?) -> T): T {
    if (progress == null) return call(null)
    return ProgressHandle().use { handle ->
        coroutineScope {
            // It is told that the call has ended.
            launch { while (true) progress(awaiting { handle.next(it) } ?: break) }
            call(handle)
        }
    }
}
