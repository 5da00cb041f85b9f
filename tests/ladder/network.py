"""Two namespaces of the system's network, a phone's and a cloud peer's, with the forwarder between them.

The phone's has two interfaces, `wifi` and `mobile`, of which one is up. The cloud peer's has one, with a public address behind which the
phone never sees the cloud peer's own machine, and the cloud peer never sees the phone's own address.

All of it is made inside a mount, network and process namespace of our own (see `enter`): when that ends, however it ends, the system removes
every namespace, interface and process in it. Nothing has to be cleaned up, and two ladders at once do not meet.
"""

import json
import os
import stat
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
FORWARDER = os.path.join(HERE, "forwarder.py")
INSIDE = "RHIZOME_LADDER_INSIDE"

CLOUD = "10.72.0.1"
WIFI, MOBILE = "10.71.0.2", "10.73.0.2"


class NoNamespaces(Exception):
    """Why the ladder cannot run here."""


def may():
    """Whether this process has the rights that it takes: CAP_NET_ADMIN and CAP_SYS_ADMIN."""
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return effective >> 12 & 1 == 1 and effective >> 21 & 1 == 1


def enter(arguments, folder):
    """Runs this program again in namespaces of its own, with a folder to use, and gives its exit code. Those who are not root become it in
    there, where the system lets them."""
    if not sys.platform.startswith("linux"):
        raise NoNamespaces("network namespaces are Linux's, and this is %s" % sys.platform)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if not any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.environ["PATH"].split(":")):
            raise NoNamespaces("there is no `%s` here (Debian's package %s)" % (program, package))
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] + ([] if may() else ["--user", "--map-root-user"])
    tried = subprocess.run(unshare + ["mount", "-t", "tmpfs", "namespaces", "/run"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if tried.returncode != 0:
        raise NoNamespaces("this system lets us make no namespaces: %s" % tried.stderr.decode().strip())
    # Nothing is ever written to its standard input; that it ends says that we did.
    inside = subprocess.Popen(unshare + [sys.executable] + arguments, stdin=subprocess.PIPE, env=dict(os.environ, **{INSIDE: folder}),
                              start_new_session=True)
    try:
        return inside.wait()
    finally:
        # After Ctrl-C, say. All that is in there goes with it.
        inside.kill()
        inside.wait()


def end_with_parent():
    """Ends this program, and with it all that is in its namespaces, when the one that ran `enter` is no more."""
    def wait():
        # Not by `sys.stdin`, whose lock the interpreter wants when it ends by itself.
        while os.read(0, 1):
            pass
        os._exit(1)
    threading.Thread(target=wait, daemon=True).start()


def ip(*arguments):
    done = subprocess.run(("ip",) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    if done.returncode != 0:
        raise RuntimeError("`ip %s`: %s" % (" ".join(arguments), done.stderr.decode().strip()))


def find_tun():
    """The device that makes TUN devices. Containers often have none: then we make one, in our own mount namespace."""
    path = "/dev/net/tun"
    try:
        if not os.path.exists(path):
            path = "/run/tun"
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 200))
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise NoNamespaces("there is no TUN device: %s: %s" % (path, error.strerror)) from None
    return path


class Network:
    def __init__(self):
        subprocess.run(["mount", "-t", "tmpfs", "namespaces", "/run"], check=True)
        self.forwarder = subprocess.Popen(
            [sys.executable, FORWARDER, find_tun(), "wifi", "mobile", "cloud"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
        self._read()
        for namespace in ("phone", "cloud"):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        for device, namespace in (("wifi", "phone"), ("mobile", "phone"), ("cloud", "cloud")):
            ip("link", "set", device, "netns", namespace)
        ip("-n", "cloud", "address", "add", CLOUD + "/24", "dev", "cloud")
        ip("-n", "cloud", "link", "set", "cloud", "up")
        self.wifi()

    @staticmethod
    def inside(namespace):
        """What to put before a command so that it runs in a namespace."""
        return ["nsenter", "--net=/run/netns/" + namespace]

    def _read(self):
        line = self.forwarder.stdout.readline()
        if not line:
            raise RuntimeError("the forwarder ended")
        return json.loads(line)

    def _tell(self, command):
        self.forwarder.stdin.write(json.dumps(command) + "\n")
        return self._read()

    def become(self, up, down, seed):
        """How it is from now on; counts begin again at 0."""
        self._tell({"up": up, "down": down, "seed": seed})

    def count(self):
        return self._tell({"count": True})

    def rebind(self):
        self._tell({"rebind": True})

    def later(self, command, after):
        """Does it once so many bytes came down from now on; nothing, with `count()["later"]` turning false, if it is empty."""
        self._tell({"then": command, "after": after})

    def wifi(self):
        self._change("mobile", "wifi", WIFI)

    def mobile(self):
        """As on the way out of the house: an interface goes, another comes, with another address."""
        self._change("wifi", "mobile", MOBILE)

    def offline(self):
        """Aeroplane mode: no interface, no route."""
        for device in ("wifi", "mobile"):
            ip("-n", "phone", "link", "set", device, "down")

    def die(self):
        """Interfaces stay as they are, and nothing passes any more."""
        self._tell({"up": {"block": "drop"}, "down": {"block": "drop"}})

    def revive(self):
        self._tell({"up": {}, "down": {}})

    @staticmethod
    def _change(before, after, address):
        ip("-n", "phone", "link", "set", before, "down")
        ip("-n", "phone", "address", "flush", "dev", before)
        ip("-n", "phone", "address", "replace", address + "/24", "dev", after)
        ip("-n", "phone", "link", "set", after, "up")
        ip("-n", "phone", "route", "replace", "default", "dev", after)

    def close(self):
        self.forwarder.stdin.close()
        self.forwarder.wait(10)
