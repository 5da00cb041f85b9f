package dev.rhizome

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions

class FileKeeperTest {
    @Test
    fun `a secret is kept, found, never overwritten, and only its owner reads it`() = running {
        Folder().use { folder ->
            val place = folder.file.toPath().resolve("keys")
            val keeper = FileKeeper(place)
            val id = ByteArray(16) { it.toByte() }
            assertEquals(KeptSecret.Absent, keeper.load(id))
            keeper.create(id, ByteArray(32) { 1 })
            thrown<KeeperException.Failed> { keeper.create(id, ByteArray(32) { 2 }) }
            assertArrayEquals(ByteArray(32) { 1 }, (FileKeeper(place).load(id) as KeptSecret.Found).secret)
            val files = Files.list(place).use { it.toList() }
            assertEquals(listOf("000102030405060708090a0b0c0d0e0f.secret"), files.map { it.fileName.toString() })
            assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(files.single())))
            Files.delete(files.single())
            Files.createDirectory(files.single())
            thrown<KeeperException.Failed> { keeper.load(id) }
        }
    }
}
