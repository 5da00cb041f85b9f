package dev.rhizome.android

import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

/** When and how the pod syncs while the app is not in front. */
public class SyncSchedule(
    /**
     * The id of the repeated job; the one that follows when the app leaves the foreground has the next higher. From Android 14 on both stand in a
     * namespace of their own; before, they must differ from those of the app's other jobs.
     */
    public val jobId: Int,
    /** How often, about; Android makes it 15 minutes at least. */
    public val interval: Duration = 6.hours,
    /** Only on a network that does not cost by the byte. */
    public val unmeteredOnly: Boolean = false,
    /** Only while the phone charges. */
    public val chargingOnly: Boolean = false,
    /** Not while the battery is low. */
    public val batteryNotLow: Boolean = true,
    /** How long one sync may take. Android ends a job after ten minutes, an expedited one perhaps after one. */
    public val deadline: Duration = 50.seconds,
    /** How many bytes one sync may move, both ways. */
    public val byteBudget: Long? = null,
    /** How long to wait after a sync that did not get everything through; twice as long each time. */
    public val backoff: Duration = 1.minutes,
) {
    internal val soonJobId get() = jobId + 1

    init {
        require(deadline.isPositive() && backoff.isPositive() && interval.isPositive()) { "durations are positive" }
    }
}
