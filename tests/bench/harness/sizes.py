"""How much work each measure does: the sizes of the issue, and tiny ones that only show that everything runs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sizes:
    runs: int
    event: int = 256
    append: int = 100_000
    append_batch: int = 1000
    callers: int = 16
    append_single: int = 4_800
    catchup: int = 100_000
    catchup_batch: int = 100
    samod_documents: int = 100
    idle_documents: int = 10_000
    open: tuple = (1000, 10_000, 100_000)
    rows: int = 20
    open_times: int = 5
    wake_documents: int = 100
    wakes: int = 15
    phones: int = 500
    quiet: float = 30.0
    settle: float = 5.0
    verify: int = 100_000
    verify_range: int = 512
    verify_single: int = 2_000
    rotate_devices: int = 10
    rotate_entries: int = 100_000
    call_documents: int = 1_000
    calls: int = 20_000
    trace: int = 259_778
    trace_together: int = 100
    query: int = 100_000
    reads: int = 20_000
    imported: int = 100_000
    live: tuple = (1000, 100_000)
    edits: int = 100


FULL = Sizes(runs=5)
TINY = Sizes(
    runs=1, append=4000, append_single=320, catchup=300, catchup_batch=10, samod_documents=3, idle_documents=30, open=(5, 10, 25), rows=5,
    open_times=1, wake_documents=3, wakes=2, phones=3, quiet=0.3, settle=0.3, verify=64, verify_range=16, verify_single=16,
    rotate_devices=2, rotate_entries=20, call_documents=5, calls=20,
    trace=400, trace_together=50, query=60, reads=20, imported=60, live=(25, 60), edits=3,
)
