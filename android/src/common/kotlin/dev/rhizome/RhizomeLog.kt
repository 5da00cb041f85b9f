package dev.rhizome

/** What the library says of itself. It holds no user data and no keys. */
public object RhizomeLog {
    private var chosen = false

    /** How much is said from now on; at first what is worth a warning. */
    public fun setLevel(level: LogLevel): Unit = instant { setLogLevel(level) }

    /**
     * Who is told from now on, in batches and on a thread that does nothing else; with `null`, nobody. A listener that is slow misses records and
     * is told how many; one that throws is not told again.
     */
    @Synchronized
    public fun setSink(sink: LogSink?) {
        chosen = true
        instant { setLogSink(sink) }
    }

    /** Who is told where the app chose nobody. */
    @Synchronized
    internal fun setDefaultSink(sink: LogSink) {
        if (!chosen) instant { setLogSink(sink) }
    }
}
