package dev.rhizome

import org.junit.jupiter.api.Test

class PublicNamesTest {
    @Test
    fun `the public names are those that are committed`() = publicNamesAreAs("rhizome-jvm.api")
}
