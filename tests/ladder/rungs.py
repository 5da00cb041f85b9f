"""The rungs: networks as people have them, from good to none at all. `up` is from the phone, `down` to it."""

import dataclasses
import typing

# What one sync may say of itself.
DONE, DEADLINE, UNREACHABLE = "done", "not-finished", "peer-unreachable"


def both(**way):
    return {"up": way, "down": dict(way)}


def ways(up, down, **same):
    return {"up": dict(same, **up), "down": dict(same, **down)}


GOOD = both(delay=2.5, rate=50e6)
DEAD = {"up": {"block": "drop"}, "down": {"block": "drop"}}


@dataclasses.dataclass
class Rung:
    name: str
    network: dict
    # Seconds that one sync may take, and how many syncs may be needed; the last must be done if any may be.
    deadline: int = 25
    attempts: int = 3
    # What a sync may say here.
    may_say: tuple = (DONE,)
    # Entries that wait on each side.
    entries: int = 200
    # More on the phone, in long entries: kilobytes.
    bulk: int = 0
    budget: typing.Optional[int] = None
    # What happens in the middle of the first sync: a command for the forwarder, or the name of a method of Network.
    midway: typing.Any = None
    # Before the first sync: the name of a method of Network.
    before: typing.Optional[str] = None
    # Among those that `make test` runs.
    short: bool = False


RUNGS = [
    Rung("good Wi-Fi", GOOD, attempts=1, bulk=2000, short=True),
    Rung("home DSL", ways({"rate": 1e6, "queue": 64_000}, {"rate": 16e6}, delay=15, jitter=3), attempts=1),
    Rung("4G", ways({"rate": 8e6}, {"rate": 20e6}, delay=25, jitter=15, loss=0.005), attempts=1, bulk=500),
    Rung("3G, deep queues", ways({"rate": 700e3}, {"rate": 2e6}, delay=75, jitter=40, loss=0.01, queue=512_000), attempts=2, may_say=(DONE, DEADLINE)),
    Rung("crowded Wi-Fi, bursts of loss", both(delay=10, jitter=20, rate=8e6, burst_begins=0.01, burst_ends=0.2), attempts=2, may_say=(DONE, DEADLINE),
         bulk=500),
    Rung("satellite", ways({"rate": 2e6}, {"rate": 10e6}, delay=300, jitter=20, loss=0.015), attempts=3, may_say=(DONE, DEADLINE)),
    Rung("256 kbit/s, a quarter lost", both(delay=150, jitter=100, rate=256e3, queue=64_000, loss=0.25),
         deadline=10, attempts=40, may_say=(DONE, DEADLINE, UNREACHABLE), entries=300),
    Rung("the same, with little to move", both(delay=150, jitter=100, rate=256e3, queue=64_000, loss=0.25),
         deadline=10, attempts=20, may_say=(DONE, DEADLINE, UNREACHABLE), entries=30, short=True),
    Rung("a fifth lost, on the way up only", {"up": {"delay": 20, "loss": 0.2}, "down": {"delay": 20}}, attempts=3, may_say=(DONE, DEADLINE)),
    Rung("a fifth lost, on the way down only", {"up": {"delay": 20}, "down": {"delay": 20, "loss": 0.2}}, attempts=3, may_say=(DONE, DEADLINE)),
    Rung("twice and in no order", both(delay=20, jitter=5, duplicate=0.3, reorder=0.3, late=120), attempts=2, may_say=(DONE, DEADLINE)),
    Rung("packets of at most 1280", both(delay=20, rate=20e6, mtu=1280), attempts=1),
    Rung("packets shrink to 1280 midway", both(delay=20, rate=4e6), attempts=1, bulk=500,
         midway=both(delay=20, rate=4e6, mtu=1280)),
    Rung("packets below QUIC's least", both(delay=20, mtu=1000), deadline=5, attempts=1, may_say=(UNREACHABLE,)),
    Rung("a budget of 50 kB", GOOD, attempts=40, may_say=(DONE, DEADLINE), budget=50_000),
    Rung("the router forgets midway", both(delay=10, rate=4e6), attempts=1, bulk=500, midway={"rebind": True}, short=True),
    Rung("Wi-Fi to mobile midway", both(delay=10, rate=4e6), attempts=1, bulk=500, midway="mobile", short=True),
    Rung("black hole midway", both(delay=10, rate=4e6), deadline=5, attempts=1, may_say=(DEADLINE, UNREACHABLE), bulk=500, midway=DEAD, short=True),
    Rung("UDP dropped", DEAD, deadline=4, attempts=2, may_say=(UNREACHABLE,)),
    Rung("UDP rejected", {"up": {"block": "reject"}, "down": {"block": "drop"}}, deadline=4, attempts=1, may_say=(UNREACHABLE,)),
    Rung("black hole: out and never back", {"up": {"delay": 20}, "down": {"block": "drop"}}, deadline=4, attempts=1, may_say=(UNREACHABLE,), short=True),
    Rung("black hole, a long deadline", DEAD, deadline=15, attempts=1, may_say=(UNREACHABLE,)),
    Rung("aeroplane mode", GOOD, deadline=4, attempts=1, may_say=(UNREACHABLE,), before="offline"),
]


@dataclasses.dataclass
class LiveRung:
    """A phone that stays connected, and what happens to its network meanwhile: methods of Network, with seconds between them."""

    name: str
    happens: tuple
    short: bool = False


LIVE = [
    LiveRung("live: the router forgets", ("rebind",), short=True),
    LiveRung("live: Wi-Fi to mobile", ("mobile",)),
    LiveRung("live: Wi-Fi to mobile and back", ("mobile", 3, "wifi")),
    LiveRung("live: no network for 20 s", ("offline", 20, "wifi")),
    LiveRung("live: a black hole for 60 s", ("die", 60, "revive")),
]
