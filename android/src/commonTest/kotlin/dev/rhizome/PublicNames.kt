package dev.rhizome

import kotlinx.validation.api.dump
import kotlinx.validation.api.filterOutNonPublic
import kotlinx.validation.api.loadApiFromJvmClasses
import java.io.File

/**
 * Holds the public names of what was compiled to those that are committed: a change shows in review. With `-Drhizome.api.write=true` it writes them.
 */
fun publicNamesAreAs(committed: String) {
    val classes = File(checkNotNull(System.getProperty("rhizome.classes")))
    val files = classes.walk().filter { it.extension == "class" && "META-INF" !in it.path }.sorted().toList()
    check(files.size > 50) { "the classes are there" }
    val streams = files.map { it.inputStream() }
    val names =
        try {
            streams.asSequence().loadApiFromJvmClasses().filterOutNonPublic().dump(StringBuilder()).toString()
        } finally {
            streams.forEach { it.close() }
        }
    val file = File(checkNotNull(System.getProperty("rhizome.api")), committed)
    if (System.getProperty("rhizome.api.write") == "true") file.writeText(names)
    val wanted = file.takeIf { it.exists() }?.readText().orEmpty()
    check(wanted == names) {
        val (before, after) = wanted.lines().toSet() to names.lines().toSet()
        "the public names are not those of android/api/$committed; if they should change, run: python3 android/make.py test --write\n" +
            ((before - after).map { "- $it" } + (after - before).map { "+ $it" }).joinToString("\n")
    }
}
