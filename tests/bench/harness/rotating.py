"""What it costs to remove a device: keys anew for all who remain."""

from .entries import entry
from .measuring import median
from .programs import run

IDS = ("rotate-time", "rotate-bytes", "rotate-growth")


def measure(bench):
    sizes = bench.sizes

    def rotate(devices):
        folder = bench.folders.fresh()
        said = run(bench.programs.ours, "rotate", "--dir", folder, "--devices", devices, "--entries", sizes.rotate_entries)
        bench.folders.drop(folder)
        return said

    said = bench.in_turn(sizes.runs, ours=lambda: rotate(sizes.rotate_devices), twice=lambda: rotate(2 * sizes.rotate_devices))
    what = f"A device is removed, {sizes.rotate_devices} remain, {sizes.rotate_entries:,} entries"
    bare = f"{sizes.rotate_devices} bare HPKE seals"
    one = said["ours"]
    yield entry("rotate-time", f"{what}: until it is on the disk, in order", "ms", median(one, "seconds") * 1000, bare, median(one, "bare_seconds") * 1000, "ratio <= 20")
    yield entry("rotate-bytes", f"{what}: bytes of the operation and its commit", "bytes", median(one, "bytes"), bare, median(one, "bare_bytes"))
    each = (median(said["twice"], "bytes") - median(one, "bytes")) / sizes.rotate_devices
    yield entry("rotate-growth", "Bytes more for each device that remains", "bytes", each, "a bare HPKE seal", median(one, "bare_bytes") / sizes.rotate_devices)
