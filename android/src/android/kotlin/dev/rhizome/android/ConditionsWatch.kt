package dev.rhizome.android

import android.app.ActivityManager
import android.app.usage.UsageStatsManager
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import dev.rhizome.Conditions

/** Asks the system what it says of this phone, and listens for changes, for as long as it is open. */
internal class ConditionsWatch(private val context: Context, private val changed: (network: Boolean) -> Unit) : AutoCloseable {
    private val connectivity = context.getSystemService(ConnectivityManager::class.java)

    @Volatile
    private var capabilities: NetworkCapabilities? = null

    @Volatile
    private var network: Network? = null

    private val callback =
        object : ConnectivityManager.NetworkCallback() {
            override fun onAvailable(network: Network) {
                this@ConditionsWatch.network = network
                capabilities = connectivity.getNetworkCapabilities(network)
                changed(true)
            }

            override fun onLost(network: Network) {
                if (network != this@ConditionsWatch.network) return
                this@ConditionsWatch.network = null
                capabilities = null
                changed(true)
            }

            override fun onCapabilitiesChanged(network: Network, capabilities: NetworkCapabilities) {
                // Told for every change of a signal's strength, too.
                val before = metered(this@ConditionsWatch.capabilities)
                this@ConditionsWatch.network = network
                this@ConditionsWatch.capabilities = capabilities
                if (metered(capabilities) != before) changed(false)
            }

            override fun onLinkPropertiesChanged(network: Network, properties: LinkProperties) = changed(true)
        }

    private val receiver =
        object : BroadcastReceiver() {
            override fun onReceive(context: Context, intent: Intent) = changed(false)
        }

    init {
        connectivity.activeNetwork?.let {
            network = it
            capabilities = connectivity.getNetworkCapabilities(it)
        }
        connectivity.registerDefaultNetworkCallback(callback)
        val filter = IntentFilter()
        // Only the system may send these.
        filter.addAction(Intent.ACTION_BATTERY_LOW)
        filter.addAction(Intent.ACTION_BATTERY_OKAY)
        filter.addAction(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED)
        filter.addAction(ConnectivityManager.ACTION_RESTRICT_BACKGROUND_CHANGED)
        context.registerReceiver(receiver, filter)
    }

    override fun close() {
        connectivity.unregisterNetworkCallback(callback)
        context.unregisterReceiver(receiver)
    }

    /** What the system says now. */
    fun now(): Conditions = Conditions(
        network =
        when {
            network == null -> dev.rhizome.Network.NONE
            metered(capabilities) -> dev.rhizome.Network.METERED
            else -> dev.rhizome.Network.UNMETERED
        },
        dataSaver = connectivity.restrictBackgroundStatus == ConnectivityManager.RESTRICT_BACKGROUND_STATUS_ENABLED,
        batteryLow = context.getSystemService(PowerManager::class.java).isPowerSaveMode || batteryLow(),
        restricted = restricted(),
    )

    private fun metered(capabilities: NetworkCapabilities?) =
        capabilities?.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED) != true

    private fun batteryLow(): Boolean {
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED)) ?: return false
        val level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1)
        val scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1)
        // The system's own threshold, which it tells from Android 9 on.
        val low = level in 0..LOW_PERCENT * scale / 100
        return scale > 0 && battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) == 0 && low
    }

    private fun restricted(): Boolean {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.P) return false
        if (context.getSystemService(ActivityManager::class.java).isBackgroundRestricted) return true
        return Build.VERSION.SDK_INT >= Build.VERSION_CODES.R &&
            (context.getSystemService(UsageStatsManager::class.java)?.appStandbyBucket ?: 0) >= UsageStatsManager.STANDBY_BUCKET_RESTRICTED
    }

    private companion object {
        const val LOW_PERCENT = 15
    }
}
