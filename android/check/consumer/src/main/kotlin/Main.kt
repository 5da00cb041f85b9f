import dev.rhizome.KeptSecret
import dev.rhizome.Pod
import dev.rhizome.PodOptions
import dev.rhizome.RhizomeException
import dev.rhizome.SecretKeeper
import dev.rhizome.Value
import dev.rhizome.get
import dev.rhizome.text
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking

/** A keeper of the application's own: the library calls it from its threads. */
class Memory : SecretKeeper {
    private val secrets = HashMap<String, ByteArray>()

    override fun load(id: ByteArray) = secrets[id.contentToString()]?.let { KeptSecret.Found(it) } ?: KeptSecret.Absent

    override fun create(
        id: ByteArray,
        secret: ByteArray,
    ) {
        secrets[id.contentToString()] = secret
    }
}

/** Opens, writes, queries, and is told no. */
fun main(arguments: Array<String>) {
    runBlocking {
        val options = PodOptions(arguments[0], listen = listOf("127.0.0.1:0"))
        val keeper = Memory()
        val (pod, words) = Pod.create(options, keeper, "laptop")
        check(words.size == 24)
        val journal = pod.collection("journal")
        val written =
            journal.create {
                set("date", Value.Date(1))
                setText("text", "a line")
            }
        check(journal.watch("date", 10).first().single().id == written.id)
        check(journal.get(written.id)?.get("text").text == "a line")
        pod.close()
        Pod.open(options, keeper).use { check(it.collection("journal").count() == 1L) }
        try {
            Pod.create(options, keeper, "again")
            error("the folder is taken")
        } catch (e: RhizomeException.AlreadyExists) {
            check(e.code == "pod-exists")
        }
        println("it holds")
    }
}
