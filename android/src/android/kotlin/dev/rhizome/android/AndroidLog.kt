package dev.rhizome.android

import android.util.Log
import dev.rhizome.LogLevel
import dev.rhizome.LogRecord
import dev.rhizome.LogSink

/** Hands what the library says of itself to the system's log, under the tag `rhizome`. In use unless the app chose a sink of its own. */
public object AndroidLog : LogSink {
    private const val TAG = "rhizome"

    /** Hands over some records. */
    override fun log(records: List<LogRecord>) {
        for (record in records) {
            val priority =
                when (record.level) {
                    LogLevel.OFF -> continue
                    LogLevel.ERROR -> Log.ERROR
                    LogLevel.WARN -> Log.WARN
                    LogLevel.INFO -> Log.INFO
                    LogLevel.DEBUG -> Log.DEBUG
                    LogLevel.TRACE -> Log.VERBOSE
                }
            Log.println(priority, TAG, "${record.target}: ${record.message}")
        }
    }
}
