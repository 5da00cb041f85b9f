#!/usr/bin/env python3
"""Builds a crate of this workspace as the native library of Android, and checks what came out.

    python3 android/native/build.py --package rhizome-ffi --out DIR      DIR/librhizome_ffi.so and DIR/native.properties, for arm64-v8a
    python3 android/native/build.py --package rhizome-ffi --check-x86_64 only `cargo check`, for x86_64-linux-android
    python3 android/native/build.py --inspect FILE                       only the checks, on a library that is there
    python3 android/native/build.py --self-test                          show that each check can fail

With ANDROID_NDK_HOME the library is built with the NDK: that is what ships. Without, it is *linked*, against stand-ins for the system's libraries that
have just the symbols of API level 26 (`standin/`), which shows that all compiles, that no newer symbol is asked for, and that the library has 16 KB pages;
no phone ever loaded such a file, and native.properties says so. The stand-ins want clang, lld and llvm (Debian's names) and rustup's `rust-src`, whose
libunwind becomes the unwinder.

The checks: pages of 16 KB, nothing exported but our interface, no symbol newer than API level 26, no library but the system's, no writable code.
"""

import argparse
import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import sizes

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("RHIZOME_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rhizome")
API = 26
TARGET = "aarch64-linux-android"
# What phones load, and what the budget is for.
PROFILE = "mobile"
PAGE = 16384
SYSTEM = {"libc.so", "libm.so", "libdl.so", "liblog.so"}
# uniffi's functions, and those that the virtual machine finds by name.
EXPORTS = r"(uniffi_rhizome_\w+|ffi_rhizome_\w+|Java_dev_rhizome_\w+|JNI_OnLoad)"


class Failed(Exception):
    pass


def run(*command, env=None, capture=False):
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed: {' '.join(command)}")
    return done.stdout


# ---- the tools -----------------------------------------------------------------------------------------------------------------------


def need(commands, packages):
    missing = [command for command in commands if not shutil.which(command)]
    if not missing:
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print(f"native: installing {' '.join(packages)}")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        missing = [command for command in commands if not shutil.which(command)]
    if missing:
        raise Failed(f"missing: {', '.join(missing)}. Set ANDROID_NDK_HOME to an NDK, or (Linux) install {' '.join(packages)}")


def sysroot():
    return run("rustc", "--print", "sysroot", capture=True).strip()


def need_target(target):
    if os.path.isdir(os.path.join(sysroot(), "lib", "rustlib", target)):
        return
    if not shutil.which("rustup"):
        raise Failed(f"Rust's standard library for {target} is missing, and there is no rustup to add it with")
    run("rustup", "target", "add", target)


def ndk_tools():
    """The folder of the NDK's compilers, or None where there is no NDK."""
    home = os.environ.get("ANDROID_NDK_HOME")
    if not home:
        return None
    found = glob.glob(os.path.join(home, "toolchains", "llvm", "prebuilt", "*", "bin"))
    if not found:
        raise Failed(f"ANDROID_NDK_HOME is {home}, which has no toolchains/llvm/prebuilt")
    return found[0]


def ndk_version():
    try:
        with open(os.path.join(os.environ["ANDROID_NDK_HOME"], "source.properties")) as properties:
            return re.search(r"Pkg\.Revision *= *(\S+)", properties.read()).group(1)
    except (OSError, AttributeError):
        return "unknown"


def symbols():
    """(library, version, kind, names), in the order of the file."""
    with open(os.path.join(HERE, "standin", "symbols.txt")) as table:
        for line in table:
            if not line.startswith("#"):
                library, version, kind, *names = line.split()
                yield library, version, kind, names


def standin():
    """Makes the stand-ins in the cache, if they are not there yet, and returns their folder and the C compiler to use with them."""
    if platform.system() != "Linux":
        raise Failed("without ANDROID_NDK_HOME the library can be linked on Linux only: install the NDK (Android Studio's SDK manager has it) and name it")
    need(["clang", "ld.lld", "llvm-ar"], ["clang", "lld", "llvm"])
    source = os.path.join(sysroot(), "lib", "rustlib", "src", "rust", "src", "llvm-project", "libunwind")
    if not os.path.isdir(source):
        if not shutil.which("rustup"):
            raise Failed("Rust's own source is missing (component rust-src), and there is no rustup to add it with")
        run("rustup", "component", "add", "rust-src")
    out = os.path.join(CACHE, "android", "standin")
    cc = ["clang", f"--target={TARGET}{API}", "-nostdlibinc", "-isystem", os.path.join(HERE, "standin", "include"), "-fPIC", "-mno-outline-atomics"]
    # What they were made from: with another, they are made again.
    made_from = sysroot() + "\n" + open(os.path.join(HERE, "standin", "symbols.txt")).read()
    stamp = os.path.join(out, "made-from")
    if os.path.exists(stamp) and open(stamp).read() == made_from:
        return out, cc
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "obj"))
    libraries = {}
    for library, version, kind, names in symbols():
        libraries.setdefault(library, []).append((version, kind, names))
    for library, groups in libraries.items():
        base = os.path.join(out, "obj", library)
        with open(base + ".s", "w") as code:
            for _, kind, names in groups:
                for name in names:
                    if kind == "data":
                        code.write(f".data\n.globl {name}\n.type {name},@object\n.size {name},8\n{name}: .quad 0\n.text\n")
                    else:
                        code.write(f".globl {name}\n.type {name},@function\n{name}: ret\n")
        versions = {}
        for version, _, names in groups:
            versions.setdefault(version, []).extend(names)
        with open(base + ".map", "w") as script:
            before = ""
            for version, names in versions.items():
                script.write(f"{version} {{ global: {'; '.join(names)}; {'' if before else 'local: *;'} }} {before};\n")
                before = version
        run("clang", f"--target={TARGET}{API}", "-c", base + ".s", "-o", base + ".o")
        run("ld.lld", "-shared", "-soname", library + ".so", "--version-script", base + ".map", base + ".o", "-o", os.path.join(out, library + ".so"))
    objects = []
    for name in ["Unwind-EHABI.cpp", "libunwind.cpp", "UnwindLevel1.c", "UnwindLevel1-gcc-ext.c", "UnwindRegistersRestore.S", "UnwindRegistersSave.S"]:
        flags = ["-xc++", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-nostdinc++"] if name.endswith(".cpp") else []
        objects.append(os.path.join(out, "obj", name + ".o"))
        run(*cc, *flags, "-O2", "-funwind-tables", "-DNDEBUG", "-D_LIBUNWIND_IS_NATIVE_ONLY", "-D_LIBUNWIND_HIDE_SYMBOLS", "-fvisibility=hidden",
            "-I", os.path.join(source, "include"), "-I", os.path.join(source, "src"), "-c", os.path.join(source, "src", name), "-o", objects[-1])
    run("llvm-ar", "rcs", os.path.join(out, "libunwind.a"), *objects)
    run("llvm-ar", "rcs", os.path.join(out, "libgcc.a"))
    with open(stamp, "w") as note:
        note.write(made_from)
    return out, cc


def script(name, *command):
    """A program in the cache that runs `command` with whatever it is given: build scripts want one word for a compiler."""
    path = os.path.join(CACHE, "android", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = "#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in command) + ' "$@"\n'
    if not os.path.exists(path) or open(path).read() != text:
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
    return path


# ---- building ------------------------------------------------------------------------------------------------------------------------


def target_dir():
    return os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")


def environment(library):
    tools = ndk_tools()
    # Relocations as Android packs them since API level 23.
    flags = ["--pack-dyn-relocs=android", "--hash-style=gnu", "--icf=safe", "-O2", "-zmax-page-size=16384", "-zcommon-page-size=16384", "--no-undefined", f"-soname={library}"]
    env = dict(os.environ, RHIZOME_EXPORTS=EXPORTS, CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER=os.path.join(HERE, "link.py"))
    if tools:
        env["CC_aarch64_linux_android"] = env["RHIZOME_LINKER"] = os.path.join(tools, f"{TARGET}{API}-clang")
        env["AR_aarch64_linux_android"] = os.path.join(tools, "llvm-ar")
        flags = ["-Wl," + flag.replace("=", ",", 1) if flag.startswith("-soname") else "-Wl," + flag.replace("-z", "-z,", 1) for flag in flags]
        rust = []
        made_with = f"ndk {ndk_version()}"
    else:
        out, cc = standin()
        env["CC_aarch64_linux_android"] = script("cc-arm64", *cc)
        env["AR_aarch64_linux_android"] = "llvm-ar"
        # The linker that comes with Rust: Debian's may be older than what rustc asks of it.
        host = re.search(r"host: (\S+)", run("rustc", "-vV", capture=True)).group(1)
        ours = os.path.join(sysroot(), "lib", "rustlib", host, "bin", "rust-lld")
        env["RHIZOME_LINKER"] = ours if os.path.exists(ours) else "lld"
        flags.append(f"-L{out}")
        rust = ["-Clinker-flavor=ld.lld"]
        made_with = "stand-ins for the system libraries; linked, never loaded by a phone, not for release"
    # Panics name source files: without this they would name a folder of whoever built it. A crate's name and version say enough, and in a
    # thousand places less.
    home = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
    registries = sorted(glob.glob(os.path.join(home, "registry", "src", "*")))
    rust += [f"--remap-path-prefix={folder}={short}" for folder, short in
             [(home, "cargo"), *((registry, "") for registry in registries), (f"{sysroot()}/lib/rustlib/src/rust", "rust")]]
    # Names that say of which types something generic is made, so that what grew can be told.
    rust.append("-Csymbol-mangling-version=v0")
    env["CARGO_TARGET_AARCH64_LINUX_ANDROID_RUSTFLAGS"] = " ".join(rust + [f"-Clink-arg={flag}" for flag in flags])
    return env, made_with


def build(package, profile, out):
    need_target(TARGET)
    library = f"lib{package.replace('-', '_')}.so"
    env, made_with = environment(library)
    run("cargo", "rustc", "--locked", "--package", package, "--lib", "--crate-type", "cdylib", "--target", TARGET, "--profile", profile, "--",
        "-Cstrip=debuginfo", env=env)
    named = os.path.join(target_dir(), TARGET, "debug" if profile == "dev" else profile, library)
    os.makedirs(out, exist_ok=True)
    made = os.path.join(out, library)
    run(llvm("llvm-strip"), "--strip-all", "-o", made, named)
    facts = inspect(made)
    taken = sizes.by_crate(run(llvm("llvm-nm"), "--print-size", "--demangle", named, capture=True))
    print(f"native: what {library} is made of:\n{sizes.table(taken, os.path.getsize(made))}")
    over = sizes.over_budget(os.path.getsize(made))
    if over and profile == PROFILE:
        raise Failed(f"{made}: {over}")
    with open(os.path.join(out, "native.properties"), "w") as note:
        note.write(f"abi=arm64-v8a\napi={API}\npages={PAGE}\nprofile={profile}\nmade-with={made_with}\nfor-release={'yes' if ndk_tools() else 'no'}\n")
    print(f"native: {library}, {os.path.getsize(made):,} bytes, {facts}; made with {made_with}")


def llvm(program):
    tools = ndk_tools()
    return os.path.join(tools, program) if tools else program


def check_x86_64(package):
    """Whether all compiles. C is compiled with the arm64 headers, which is well enough for objects that nobody links."""
    need_target("x86_64-linux-android")
    tools = ndk_tools()
    if tools:
        cc, ar = os.path.join(tools, f"x86_64-linux-android{API}-clang"), os.path.join(tools, "llvm-ar")
    else:
        need(["clang", "ld.lld", "llvm-ar"], ["clang", "lld", "llvm"])
        ar = "llvm-ar"
        cc = script("cc-x86_64", "clang", f"--target=x86_64-linux-android{API}", "-nostdlibinc", "-isystem", os.path.join(HERE, "standin", "include"))
    run("cargo", "check", "--locked", "--package", package, "--target", "x86_64-linux-android",
        env=dict(os.environ, CC_x86_64_linux_android=cc, AR_x86_64_linux_android=ar))
    print(f"native: {package} compiles for x86_64-linux-android")


# ---- the checks ----------------------------------------------------------------------------------------------------------------------


def readelf(path):
    tools = ndk_tools()
    program = os.path.join(tools, "llvm-readelf") if tools else shutil.which("readelf") or shutil.which("llvm-readelf")
    if not program:
        raise Failed("no readelf: install binutils")
    return run(program, "-hldW", "--dyn-syms", path, capture=True)


def faults(text):
    """What is wrong with a library of which readelf says `text`, and its numbers."""
    known = {name for _, _, _, names in symbols() for name in names}
    wrong = []
    if not re.search(r"Machine:\s+AArch64", text):
        wrong.append("it is not for arm64")
    loads = re.findall(r"^\s*LOAD\s+(?:0x[0-9a-f]+\s+){5}(.*?)\s*0x([0-9a-f]+)$", text, re.M)
    if not loads:
        wrong.append("it has no segments that are loaded")
    for how, align in loads:
        if int(align, 16) < PAGE:
            wrong.append(f"a segment is aligned to 0x{align}, and phones with pages of 16 KB refuse it")
        if "W" in how and "E" in how:
            wrong.append("a segment is writable and executable")
    if "TEXTREL" in text:
        wrong.append("it wants its code changed as it is loaded")
    for library in re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", text):
        if library not in SYSTEM:
            wrong.append(f"it needs {library}")
    exported = asked = 0
    for _, bind, section, name in re.findall(r"^\s*\d+: [0-9a-f]+\s+\w+ (\w+)\s+(\w+)\s+\w+\s+(\w+) ?(\S*)(?: \(\d+\))?$", text, re.M):
        name = name.split("@")[0]
        if not name or bind == "LOCAL":
            continue
        if section != "UND":
            exported += 1
            if not re.fullmatch(EXPORTS, name):
                wrong.append(f"it exports {name}")
        else:
            asked += 1
            # Weak ones are asked for at run time, and may be absent.
            if bind != "WEAK" and name not in known:
                wrong.append(f"it asks for {name}, which API level {API} does not have")
    if not asked:
        wrong.append("it asks nothing of the system: this is not what we build")
    return wrong, exported, asked


def inspect(path):
    wrong, exported, asked = faults(readelf(path))
    if wrong:
        raise Failed(f"{path}:\n  " + "\n  ".join(wrong))
    return f"{exported} symbols exported, {asked} asked for"


GOOD = """
  Machine:                           AArch64
  LOAD           0x000000 0x0000000000000000 0x0000000000000000 0x06c52c 0x06c52c R   0x4000
  LOAD           0x06c530 0x0000000000070530 0x0000000000070530 0x1177d0 0x1177d0 R E 0x4000
 0x0000000000000001 (NEEDED)             Shared library: [libc.so]
     1: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND open@LIBC (2)
     2: 0000000000000000     0 FUNC    WEAK   DEFAULT  UND preadv2
     3: 0000000000070530    44 FUNC    GLOBAL DEFAULT   13 ffi_rhizome_ffi_uniffi_contract_version
"""


class Checks(unittest.TestCase):
    def one_fault(self, old, new, words):
        self.assertIn(old, GOOD)
        wrong, _, _ = faults(GOOD.replace(old, new, 1))
        self.assertEqual(1, len(wrong), wrong)
        self.assertIn(words, wrong[0])

    def test_a_good_library_has_no_fault(self):
        self.assertEqual(([], 1, 2), faults(GOOD))

    def test_sizes_by_crate_and_the_budget(self):
        listed = "10 0f T sqlite3_open\n20 20 t <iroh::Endpoint as core::fmt::Debug>::fmt\n30 01 t core::ptr::drop_in_place<alloc::vec::Vec<u8>>\n"
        self.assertEqual([("iroh", 32), ("sqlite", 15), ("core", 1)], sizes.by_crate(listed))
        self.assertIsNone(sizes.over_budget(1))
        self.assertIn("budget", sizes.over_budget(1 << 30))

    def test_pages_of_4_kb(self):
        self.one_fault("0x4000", "0x1000", "16 KB")

    def test_sqlite_shown_to_the_world(self):
        self.one_fault("ffi_rhizome_ffi_uniffi_contract_version", "sqlite3_open", "exports sqlite3_open")

    def test_a_symbol_of_a_newer_level(self):
        self.one_fault("open@LIBC", "getloadavg@LIBC_Q", "getloadavg")

    def test_a_library_that_no_phone_has(self):
        self.one_fault("[libc.so]", "[libc++_shared.so]", "libc++_shared")

    def test_another_machine(self):
        self.one_fault("AArch64", "Advanced Micro Devices X86-64", "arm64")

    def test_code_that_can_be_written(self):
        self.one_fault("R E", "RWE", "writable")

    def test_a_wrong_version_script_is_mended(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "list")
            for names, left in [(["ffi_rhizome_a", "UNIFFI_META_A"], True), (["rust_thing"], False)]:
                with open(path, "w") as file:
                    file.write("{\n  global:\n" + "".join(f"    {name};\n" for name in names) + "\n  local:\n    *;\n};\n")
                subprocess.run([sys.executable, os.path.join(HERE, "link.py"), f"-Wl,--version-script={path}"], check=True,
                               env=dict(os.environ, RHIZOME_EXPORTS=EXPORTS, RHIZOME_LINKER="true"))
                with open(path) as file:
                    text = file.read()
                self.assertEqual(left, "ffi_rhizome_a" in text)
                self.assertEqual(left, "global:" in text)
                self.assertNotIn("META", text)
                self.assertNotIn("rust_thing", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", default="rhizome-ffi")
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--out")
    parser.add_argument("--check-x86_64", action="store_true")
    parser.add_argument("--inspect", metavar="FILE")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    try:
        if args.self_test:
            unittest.main(argv=[sys.argv[0]])
        elif args.inspect:
            print(f"native: {inspect(args.inspect)}")
        elif args.check_x86_64:
            check_x86_64(args.package)
        elif args.out:
            build(args.package, args.profile, args.out)
        else:
            parser.error("say --out DIR, --check-x86_64, --inspect FILE or --self-test")
    except Failed as failure:
        sys.exit(f"native: {failure}")


if __name__ == "__main__":
    main()
