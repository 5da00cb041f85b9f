package dev.rhizome

import kotlinx.coroutines.runBlocking
import java.nio.file.Path

/** Another process that holds a pod open until its input ends. */
fun main(arguments: Array<String>) {
    val (path, keys) = arguments
    val pod = runBlocking { Pod.open(PodOptions(path, listen = listOf("127.0.0.1:0")), FileKeeper(Path.of(keys))) }
    println("open")
    readlnOrNull()
    pod.close()
}
