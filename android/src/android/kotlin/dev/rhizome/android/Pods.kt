package dev.rhizome.android

import android.content.Context
import dev.rhizome.Joining
import dev.rhizome.NewPod
import dev.rhizome.PeerAddress
import dev.rhizome.Pod
import dev.rhizome.PodOptions
import dev.rhizome.RhizomeException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.File

/**
 * Opens the app's pod: a folder that no backup holds (the cloud peer and the recovery words are the backup), its device secret in the Android
 * Keystore. [name] tells several pods of one app apart.
 */
public suspend fun Pod.Companion.open(context: Context, name: String = "pod"): Pod =
    withContext(Dispatchers.IO) { open(prepared(context, name), KeystoreKeeper(context)) }

/** As [open], but `null` while the person has no pod: for [PodLifecycle]. */
public suspend fun Pod.Companion.openIfThere(context: Context, name: String = "pod"): Pod? = try {
    open(context, name)
} catch (_: RhizomeException.NotFound) {
    null
}

/** Makes the app's pod, with a new identity whose first device this is, called [deviceName] on the person's other devices. */
public suspend fun Pod.Companion.create(context: Context, deviceName: String, name: String = "pod"): NewPod =
    withContext(Dispatchers.IO) { create(prepared(context, name), KeystoreKeeper(context), deviceName) }

/** Makes the app's pod as a new device, called [deviceName], of the identity whose device shows [code]. */
public suspend fun Pod.Companion.join(context: Context, deviceName: String, code: String, name: String = "pod"): Joining =
    withContext(Dispatchers.IO) { join(prepared(context, name), KeystoreKeeper(context), deviceName, code) }

/** As [Pod.Companion.recover]: makes the app's pod as a new device, called [deviceName], of the identity whose [words] these are. */
public suspend fun Pod.Companion.recover(
    context: Context,
    deviceName: String,
    words: String,
    peer: PeerAddress,
    name: String = "pod",
): Pod = withContext(Dispatchers.IO) { recover(prepared(context, name), KeystoreKeeper(context), deviceName, words, peer) }

/** As [Pod.Companion.recoverFolder]: opens the app's pod, whose secret the Keystore lost, with its [words]. */
public suspend fun Pod.Companion.recoverFolder(context: Context, words: String, name: String = "pod"): Pod =
    withContext(Dispatchers.IO) { recoverFolder(prepared(context, name), KeystoreKeeper(context), words) }

/** Where the app's pod is, for options of one's own. Waits for the disk. */
public fun podFolder(context: Context, name: String = "pod"): File = File(rhizomeFolder(context), "pods/$name")

internal fun rhizomeFolder(context: Context) = File(context.noBackupFilesDir, "rhizome")

private fun prepared(context: Context, name: String): PodOptions {
    Native.prepare(context)
    require(name.isNotEmpty() && '/' !in name && name != "." && name != "..") { "a pod's name is that of a folder" }
    val folder = podFolder(context, name)
    folder.parentFile?.mkdirs()
    return PodOptions(path = folder.path)
}
