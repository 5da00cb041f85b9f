#!/usr/bin/env python3
"""Builds and tests the Kotlin library; `make kotlin`, `make android` and `make arm` call it.

    python3 android/make.py test       the library against the real native one and a real cloud peer: JUnit on the JVM, Robolectric for the Android layer,
                                       formatting (ktlint), the committed dumps of the public names (`--write` makes them anew)
    python3 android/make.py package    the jar and the AAR, with sources and documentation, in a local Maven repository; used there by an empty project and through R8
    python3 android/make.py arm        the core's tests for ARM64 Linux, emulated
    python3 android/make.py bench      builds the program that `make bench` measures from Kotlin, and says how it is started, a word a line; `--release`: with the
                                       optimised native library

Needs Rust, JDK 17 or later, Maven 3.8 or later. What is missing on Debian is installed where it may be. Everything made stands in $RHIZOME_CACHE.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CACHE = os.environ.get("RHIZOME_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rhizome")
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
# As JNA names them.
HOST = f"{platform.system().lower()}-{ {'x86_64': 'x86-64', 'amd64': 'x86-64', 'arm64': 'aarch64'}.get(platform.machine().lower(), platform.machine().lower()) }"
LIBRARY = "librhizome_ffi.dylib" if platform.system() == "Darwin" else "librhizome_ffi.so"


def run(*command, cwd=ROOT, env=None):
    # To where it is not in the way of what `bench` answers.
    print("+", " ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=cwd, env=env, stdout=sys.stderr if sys.argv[1:2] == ["bench"] else None)
    if done.returncode != 0:
        sys.exit(f"android: failed: {' '.join(command)}")


def need(programs):
    """Programs and their Debian packages."""
    missing = [package for program, packages in programs.items() if not shutil.which(program) for package in packages.split()]
    if not missing:
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        sys.exit(f"android: missing: {', '.join(missing)} (Debian's names)")


def generate(build, library):
    # Apart from the library: the generator's features of uniffi would build the library again.
    run("cargo", "build", "--locked", "-p", "rhizome-bindgen")
    shutil.rmtree(os.path.join(build, "generated"), ignore_errors=True)
    run(sys.executable, os.path.join(HERE, "generate.py"), "--bindgen", os.path.join(TARGET, "debug", "rhizome-bindgen"), "--library", library, "--out", os.path.join(build, "generated"))


def place(library, build):
    folder = os.path.join(build, "natives", HOST)
    os.makedirs(folder, exist_ok=True)
    shutil.copy2(library, os.path.join(folder, LIBRARY))


def maven(build, *words):
    # A class whose source is gone must not stay.
    for module in ("jvm", "aar"):
        for part in ("classes", "test-classes"):
            shutil.rmtree(os.path.join(build, module, part), ignore_errors=True)
    cloud = os.path.join(TARGET, "debug", "rhizome-cloud")
    run("mvn", "-q", "-B", f"-Drhizome.build={build}", f"-Drhizome.cloud={cloud}", f"-Drhizome.host={HOST}", *words, cwd=HERE)


def document(build):
    """Makes the documentation; every public name must have some, and every link must lead somewhere."""
    command = ["mvn", "-B", f"-Drhizome.build={build}", "-pl", "jvm,aar", "dokka:dokka"]
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"android: Dokka failed:\n{done.stdout}")
    compilers = re.compile(r"Undocumented: \S+/(values|valueOf|entries)/#\S*/ ")
    wrong = {line for line in done.stdout.splitlines() if line.startswith("[WARNING]") and not compilers.search(line)}
    if wrong:
        sys.exit("android: the documentation is not whole:\n" + "\n".join(sorted(wrong)))


def test(write):
    need({"mvn": "maven", "javac": "openjdk-17-jdk-headless"})
    build = os.path.join(CACHE, "kotlin")
    run("cargo", "build", "--locked", "-p", "rhizome-ffi", "--features", "rhizome-ffi/testing")
    run("cargo", "build", "--locked", "-p", "rhizome-cloud")
    library = os.path.join(TARGET, "debug", LIBRARY)
    generate(build, library)
    place(library, build)
    run(sys.executable, os.path.join(HERE, "native", "build.py"), "--self-test")
    # Not quiet: what it finds is told as information.
    run("mvn", "-B", "-N", f"-Drhizome.build={build}", "antrun:run@ktlint", cwd=HERE)
    document(build)
    maven(build, "test", *(["-Drhizome.api.write=true"] if write else []))
    print("android: the Kotlin tests passed")


def package():
    need({"mvn": "maven", "javac": "openjdk-17-jdk-headless", "strip": "binutils"})
    build, repository = os.path.join(CACHE, "android"), os.path.join(CACHE, "maven")
    run(sys.executable, os.path.join(HERE, "native", "build.py"), "--package", "rhizome-ffi", "--check-x86_64")
    run(sys.executable, os.path.join(HERE, "native", "build.py"), "--package", "rhizome-ffi", "--out", os.path.join(build, "arm64-v8a"))
    # What ships is built in the first.
    profile = os.environ.get("RHIZOME_PROFILE", "release")
    run("cargo", "build", "--locked", "--profile", profile, "-p", "rhizome-ffi")
    library = os.path.join(TARGET, profile, LIBRARY)
    generate(build, library)
    place(library, build)
    run("strip", "-x" if platform.system() == "Darwin" else "--strip-unneeded", os.path.join(build, "natives", HOST, LIBRARY))
    maven(build, "package", "-DskipTests", "-Dmaven.test.skip=true")
    document(build)
    run(sys.executable, os.path.join(HERE, "pack.py"), "--build", build, "--repository", repository)
    run(sys.executable, os.path.join(HERE, "check", "check.py"), "--build", build, "--repository", repository, env={**os.environ, "RHIZOME_HOST": HOST})
    if not os.environ.get("ANDROID_NDK_HOME"):
        print("android: skipped: building the native library with the NDK. What stands in the AAR was linked against stand-ins and says so; it is not for release.\n"
              "android: to build one that is, install the NDK (Android Studio's SDK manager has it) and set ANDROID_NDK_HOME.")
    print(f"android: to use it from Gradle, name the repository: maven {{ url = uri(\"file://{repository}\") }}")


# The unit tests, and what looks at bytes, verdicts and files. Left out: `simulation`, `kill` and `memory`, which take minutes without emulation; `hostile`, `live` and
# `cuts`, which hold times that emulation stretches; `secrets` and `leaks`, which read the process's memory, and here that is the emulator's; `house`, `threats`,
# `log_lines` and `raw`, which look at the sources.
ARM_TESTS = ["--lib"] + [word for name in ("vectors", "fixtures", "identity", "refusals", "pod") for word in ("--test", name)]


def arm():
    # The C library is only recommended by the compiler.
    need({"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "qemu-aarch64-static": "qemu-user-static"})
    target = "aarch64-unknown-linux-gnu"
    run("rustup", "target", "add", target)
    env = {**os.environ, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER": "aarch64-linux-gnu-gcc", "CC_aarch64_unknown_linux_gnu": "aarch64-linux-gnu-gcc",
           "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER": "qemu-aarch64-static -L /usr/aarch64-linux-gnu"}
    run("cargo", "test", "--locked", "-p", "rhizome", "--target", target, *ARM_TESTS, env=env)


def bench(release):
    need({"mvn": "maven", "javac": "openjdk-17-jdk-headless"})
    build = os.path.join(CACHE, "kotlin")
    # With what the tests need: the sources are generated from a library that has it.
    run("cargo", "build", "--locked", *(["--release"] if release else []), "-p", "rhizome-ffi", "--features", "rhizome-ffi/testing")
    folder = os.path.join(TARGET, "release" if release else "debug")
    generate(build, os.path.join(folder, LIBRARY))
    maven(build, "test-compile", "dependency:build-classpath", "-Dmdep.outputFile=" + os.path.join(build, "classpath"), "-pl", "jvm")
    with open(os.path.join(build, "classpath")) as listed:
        classes = [os.path.join(build, "jvm", part) for part in ("classes", "test-classes")] + [listed.read().strip()]
    return ["java", f"-Djna.library.path={folder}", "-cp", os.pathsep.join(classes), "dev.rhizome.Bench"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["test", "package", "arm", "bench"])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--release", action="store_true")
    args = parser.parse_args()
    {"test": lambda: test(args.write), "package": package, "arm": arm, "bench": lambda: print("\n".join(bench(args.release)))}[args.task]()


if __name__ == "__main__":
    main()
