package dev.rhizome

import com.sun.jna.Memory

/**
 * Memory for the structures that cross: small parts of larger blocks, each used once. A block goes when nobody has a part of it any more.
 *
 * JNA asks the system for each structure, keeps a list of all, and has a thread let them go: more work than all else that a call does.
 */
internal object StructureMemory {
    private const val BLOCK = 16_384L
    private const val ALIGNED = 16L

    private class Block {
        val memory = Memory(BLOCK).also { it.clear() }
        var used = 0L
    }

    private val blocks = ThreadLocal<Block>()

    /** So many bytes, all 0. */
    fun take(size: Int): Memory {
        val block = blocks.get()?.takeIf { it.used + size <= BLOCK } ?: Block().also { blocks.set(it) }
        val part = block.memory.share(block.used, size.toLong()) as Memory
        block.used += (size + ALIGNED - 1) / ALIGNED * ALIGNED
        return part
    }
}
