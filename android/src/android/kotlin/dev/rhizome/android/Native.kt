package dev.rhizome.android

import android.content.Context
import dev.rhizome.RhizomeLog

/** The part of the library that the Java Native Interface finds by name. */
internal object Native {
    private var prepared = false

    /** Hands the application's context to the library, which asks the system for its name servers through it. Once a process is enough. */
    @Synchronized
    fun prepare(context: Context) {
        if (prepared) return
        // Not so on a computer, where tests run this code: its library has no such part.
        if (System.getProperty("java.vm.name") == "Dalvik") {
            System.loadLibrary("rhizome_ffi")
            install(context.applicationContext)
        }
        RhizomeLog.setDefaultSink(AndroidLog)
        prepared = true
    }

    @JvmStatic
    private external fun install(context: Context)
}
