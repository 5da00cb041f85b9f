package dev.rhizome.android

import dev.rhizome.publicNamesAreAs
import org.junit.Test

class PublicNamesTest {
    @Test
    fun `the public names are those that are committed`() = publicNamesAreAs("rhizome-android.api")
}
