#!/usr/bin/env python3
"""The network between a phone and a cloud peer, as a process: it moves IPv4 packets between TUN devices, and on the way delays, loses,
repeats, reorders and drops them, and translates the phone's address as a home router or a mobile network does.

    forwarder.py TUN PHONE_DEVICE... CLOUD_DEVICE

It makes the devices, says so, and then takes one JSON object a line on its standard input and answers each with one; when the input ends, it
ends, and the devices go with it. Whoever started it moves them into their namespaces: a TUN device keeps its file when it moves.

    {"up": {...}, "down": {...}, "seed": 1}     how each way is from now on: see Way
    {"rebind": true}                            the router forgets the phone, and gives it another public address
    {"then": {...}, "after": 5000}              do the former once so many bytes came down, and not now
    {"count": true}                             only answer
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
UDP = 17
# The cloud peer's side of the router: the network that is on the cloud's device.
OUTSIDE = bytes([10, 72, 0])
FIRST_OUTSIDE, LAST_OUTSIDE = 100, 250
# Packets taken from one device before the others get their turn.
AT_ONCE = 64


def make_device(tun, name):
    device = os.open(tun, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Way:
    """One direction. Rates are bits a second, times milliseconds, sizes bytes, the rest probabilities; what is not given does no harm."""

    DEFAULTS = {
        "delay": 0.0, "jitter": 0.0,
        # The slowest link on the way, and how much waits before it until more is dropped.
        "rate": 0, "queue": 256_000,
        # Lost one by one; or in bursts: how often one begins, how often it ends, each a packet.
        "loss": 0.0, "burst_begins": 0.0, "burst_ends": 1.0,
        "duplicate": 0.0,
        # How many come late, and by how much at the most.
        "reorder": 0.0, "late": 0.0,
        "mtu": 65_535,
        # "drop" says nothing; "reject" says so by ICMP, as some firewalls do.
        "block": None,
    }
    COUNTS = ("packets", "bytes", "lost", "full", "too_big", "blocked", "duplicated", "late", "strays")

    def __init__(self):
        self.random = random.Random(0)
        self.set({})
        self.forget_counts()

    def set(self, how):
        unknown = set(how) - set(self.DEFAULTS)
        if unknown:
            raise ValueError("no such property of a way: %s" % sorted(unknown))
        for name, default in self.DEFAULTS.items():
            setattr(self, name, how.get(name, default))
        self.free_at = self.last_due = 0.0
        self.in_burst = False

    def forget_counts(self):
        self.counted = dict.fromkeys(self.COUNTS, 0)

    def is_lost(self):
        if self.burst_begins:
            chance = self.burst_ends if self.in_burst else self.burst_begins
            if self.random.random() < chance:
                self.in_burst = not self.in_burst
        return self.in_burst or self.random.random() < self.loss

    def take(self, size, now):
        """When a packet that comes now arrives: no time, one, or two."""
        counted = self.counted
        counted["packets"] += 1
        counted["bytes"] += size
        if self.block:
            counted["blocked"] += 1
            return ()
        if size > self.mtu:
            counted["too_big"] += 1
            return ()
        sent = now
        if self.rate:
            if (self.free_at - now) * self.rate / 8 > self.queue:
                counted["full"] += 1
                return ()
            sent = self.free_at = max(now, self.free_at) + size * 8 / self.rate
        # Lost in the air, not before it: it took its time there.
        if self.is_lost():
            counted["lost"] += 1
            return ()
        due = sent + (self.delay + self.random.random() * self.jitter) / 1000
        if self.reorder and self.random.random() < self.reorder:
            counted["late"] += 1
            due += self.random.random() * self.late / 1000
        else:
            # Jitter alone changes no order.
            due = self.last_due = max(due, self.last_due)
        if self.duplicate and self.random.random() < self.duplicate:
            counted["duplicated"] += 1
            return (due, due + self.random.random() * self.late / 1000)
        return (due,)


def checksum_of(header):
    total = sum(struct.unpack(">%dH" % (len(header) // 2), header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def corrected(checksum, before, after):
    """A checksum after some of what it covers changed (RFC 1624)."""
    total = ~checksum & 0xFFFF
    for old, new in zip(struct.unpack(">%dH" % (len(before) // 2), before), struct.unpack(">%dH" % (len(after) // 2), after)):
        total += (~old & 0xFFFF) + new
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def translate(packet, at, address, port):
    """Writes another address and port over the source's (at = 12) or the destination's (at = 16)."""
    header = (packet[0] & 15) * 4
    port_at = header + (0 if at == 12 else 2)
    before = bytes(packet[at:at + 4] + packet[port_at:port_at + 2])
    after = address + port
    packet[at:at + 4], packet[port_at:port_at + 2] = address, port
    struct.pack_into(">H", packet, 10, corrected(struct.unpack_from(">H", packet, 10)[0], before[:4], after[:4]))
    udp = struct.unpack_from(">H", packet, header + 6)[0]
    if udp:
        # A checksum of 0 means that there is none: 0xFFFF says the same as the sum 0.
        struct.pack_into(">H", packet, header + 6, corrected(udp, before, after) or 0xFFFF)


def prohibited(packet):
    """The ICMP message by which a firewall says that it will not have this packet."""
    quoted = bytes(packet[:(packet[0] & 15) * 4 + 8])
    icmp = bytearray(struct.pack(">BBHI", 3, 13, 0, 0) + quoted)
    struct.pack_into(">H", icmp, 2, checksum_of(bytes(icmp)))
    # The router's address: the first of the phone's network.
    router = bytes(packet[12:15]) + b"\x01"
    header = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0, router, bytes(packet[12:16])))
    struct.pack_into(">H", header, 10, checksum_of(bytes(header)))
    return bytes(header + icmp)


class Forwarder:
    def __init__(self, tun, *names):
        *self.phones, self.cloud = (make_device(tun, name) for name in names)
        self.up, self.down = Way(), Way()
        self.outside, self.next_port = FIRST_OUTSIDE, 20_000
        self.mapped, self.back = {}, {}
        self.waiting, self.number = [], 0
        self.later = None

    def run(self):
        print(json.dumps({"event": "made"}), flush=True)
        control = sys.stdin.fileno()
        commands = b""
        while True:
            now = time.monotonic()
            while self.waiting and self.waiting[0][0] <= now:
                _, _, device, packet = heapq.heappop(self.waiting)
                try:
                    os.write(device, packet)
                except OSError:
                    # The device is down, or its queue is full: so it is lost, as it would be.
                    pass
            wait = max(0.0, self.waiting[0][0] - now) if self.waiting else 10.0
            for ready in select.select(self.phones + [self.cloud, control], [], [], wait)[0]:
                if ready != control:
                    self.read(ready)
                    continue
                more = os.read(control, 65536)
                if not more:
                    return
                *lines, commands = (commands + more).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))
                    print(json.dumps({"up": self.up.counted, "down": self.down.counted, "later": self.later is not None}), flush=True)

    def obey(self, command):
        if "after" in command:
            self.later = (self.down.counted["bytes"] + command["after"], command["then"])
            return
        for way, name in ((self.up, "up"), (self.down, "down")):
            if name in command:
                way.set(command[name])
            if "seed" in command:
                way.random = random.Random("%s %s" % (command["seed"], name))
                way.forget_counts()
        if "seed" in command:
            self.later = None
        if command.get("rebind"):
            self.mapped, self.back = {}, {}
            self.outside = self.outside + 1 if self.outside < LAST_OUTSIDE else FIRST_OUTSIDE

    def read(self, device):
        for _ in range(AT_ONCE):
            try:
                packet = bytearray(os.read(device, 65536))
            except (BlockingIOError, OSError):
                return
            # IPv6 does not leave its link here.
            if packet and packet[0] >> 4 == 4:
                self.pass_on(device, packet)

    def pass_on(self, device, packet):
        now, size = time.monotonic(), len(packet)
        if device != self.cloud:
            way, to = self.up, self.cloud
            if packet[9] != UDP or packet[16:19] != OUTSIDE:
                way.counted["strays"] += 1
                return
            if way.block == "reject":
                self.send(now, device, prohibited(packet))
            due = way.take(size, now)
            if due:
                address, port = self.map(device, packet)
                translate(packet, 12, address, port)
        else:
            way = self.down
            header = (packet[0] & 15) * 4
            inside = self.back.get(bytes(packet[16:20] + packet[header + 2:header + 4])) if packet[9] == UDP else None
            if inside is None:
                way.counted["strays"] += 1
                return
            to, address, port = inside
            due = way.take(size, now)
            if due:
                translate(packet, 16, address, port)
            if self.later and way.counted["bytes"] >= self.later[0]:
                command, self.later = self.later[1], None
                self.obey(command)
        for at in due:
            self.send(at, to, bytes(packet))

    def send(self, at, device, packet):
        self.number += 1
        heapq.heappush(self.waiting, (at, self.number, device, packet))

    def map(self, device, packet):
        """The public address and port of what a phone sends; the same for as long as the router remembers."""
        header = (packet[0] & 15) * 4
        inside = (device, bytes(packet[12:16]), bytes(packet[header:header + 2]))
        if inside not in self.mapped:
            self.next_port = self.next_port + 1 if self.next_port < 60_000 else 20_000
            outside = (OUTSIDE + bytes([self.outside]), struct.pack(">H", self.next_port))
            self.mapped[inside] = outside
            self.back[outside[0] + outside[1]] = inside
        return self.mapped[inside]


if __name__ == "__main__":
    Forwarder(*sys.argv[1:]).run()
