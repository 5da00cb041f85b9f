package dev.rhizome

import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.FileAlreadyExistsException
import java.nio.file.Files
import java.nio.file.NoSuchFileException
import java.nio.file.Path
import java.nio.file.StandardOpenOption.CREATE_NEW
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.WRITE
import java.nio.file.attribute.PosixFilePermissions

/**
 * Keeps device secrets as files that only their owner may read: for servers, tools and tests. Whoever can read the folder is this device. Keep it
 * apart from the pod's folder, so that a copy of one is worth nothing without the other.
 */
public class FileKeeper(private val folder: Path) : SecretKeeper {
    /** The secret in the file of this id. */
    override fun load(id: ByteArray): KeptSecret = failing {
        try {
            KeptSecret.Found(Files.readAllBytes(folder.resolve(name(id))))
        } catch (_: NoSuchFileException) {
            KeptSecret.Absent
        }
    }

    /** Writes the file of this id. */
    override fun create(id: ByteArray, secret: ByteArray): Unit = failing {
        Files.createDirectories(folder)
        val posix = "posix" in folder.fileSystem.supportedFileAttributeViews()
        val temporary =
            if (posix) {
                val owner = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"))
                Files.createTempFile(folder, "new", null, owner)
            } else {
                Files.createTempFile(folder, "new", null)
            }
        try {
            durably(temporary, secret, WRITE)
            // A link, unlike a rename, never replaces what is there; and the name is there only with all its bytes.
            try {
                Files.createLink(folder.resolve(name(id)), temporary)
            } catch (_: UnsupportedOperationException) {
                durably(folder.resolve(name(id)), secret, WRITE, CREATE_NEW)
            }
            if (posix) FileChannel.open(folder, READ).use { it.force(true) }
        } finally {
            Files.deleteIfExists(temporary)
        }
    }

    private fun durably(file: Path, bytes: ByteArray, vararg options: java.nio.file.OpenOption) = FileChannel.open(file, *options).use {
        it.write(ByteBuffer.wrap(bytes))
        it.force(true)
    }

    private fun name(id: ByteArray) = id.joinToString("", postfix = ".secret") { "%02x".format(it) }

    private fun <T> failing(work: () -> T): T = try {
        work()
    } catch (_: FileAlreadyExistsException) {
        throw KeeperException.Failed("there is a secret by this id already")
    } catch (e: IOException) {
        throw KeeperException.Failed("the folder of secrets cannot be used: ${e.javaClass.simpleName}")
    }
}
