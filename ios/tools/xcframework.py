#!/usr/bin/env python3
"""Makes the XCFramework of the Swift package, and the content of the repository that releases it, in a folder of the build cache:

    xcframework.py OUT [--url URL]

OUT/RhizomeFFI.xcframework     static libraries for phones and for the simulator, headers, module map, plist
OUT/RhizomeFFI.xcframework.zip the same, for a release; the same bytes from the same input
OUT/release/                   Package.swift at its root, as Swift Package Manager wants it, with the Swift sources. With --url (where the zip will
                               be found) it names that and the checksum; without, it holds the XCFramework itself

ios/Generated gets what ios/Package.swift wants, so that an app can name the checkout too.

A static library shows an app all of its global symbols: with SQLite's among them, an app that has a SQLite of its own would get ours, or the other
way round. So each library is one object, linked beforehand from what the bindings reach, with no global symbols but theirs. On a Mac Apple's
linker makes it; on Linux Zig's does, and localise.py does what that one has no option for.
"""
import argparse
import hashlib
import os
import pathlib
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile

import localise

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GENERATED = ROOT / "ios" / "Generated"
CRATE, MODULE, LIBRARY = "rhizome-ffi", "RhizomeFFI", "librhizome_ffi.a"
MAC = sys.platform == "darwin"
MINIMUM = "17.5"

# Name, folder in the framework, the plist's platform and variant, Zig's target, the platform's number in LC_BUILD_VERSION and its name for linkers.
SLICES = [
    ("device", "ios-arm64", "ios", None, "aarch64-ios.%s" % MINIMUM, 2, "ios"),
    ("simulator", "ios-arm64-simulator", "ios", "simulator", "aarch64-ios.%s-simulator" % MINIMUM, 7, "ios-simulator"),
]


def fail(text):
    sys.exit("xcframework: " + text)


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE, **more)
    if done.returncode:
        fail("%s failed (%d)" % (" ".join(str(part) for part in command[:4]), done.returncode))
    return done.stdout


class Tools:
    """The programs that read and write Mach-O."""

    def __init__(self, cache):
        said = run(HERE / "static-library", "--tools")
        found = dict(line.split("=", 1) for line in said.splitlines())
        found = {name: shlex.split(value)[0] for name, value in found.items()}
        self.zig = found.get("zig")
        suffix = "-" + found["llvm"] if "llvm" in found else ""
        self.suffix = suffix
        self.environment = dict(os.environ, ZIG_GLOBAL_CACHE_DIR=str(cache / "zig"), ZIG_LOCAL_CACHE_DIR=str(cache / "zig"))

    def llvm(self, name, *arguments):
        return run("llvm-%s%s" % (name, self.suffix), *arguments)

    def symbols(self, *files):
        """(file, name, whether it is defined) of each global symbol."""
        # Rust's standard library holds bitcode of a newer LLVM beside its code.
        command = ["xcrun", "nm"] if MAC else ["llvm-nm" + self.suffix, "--no-llvm-bc"]
        said = run(*command, "-A", "-g", "-P", *files, stderr=subprocess.DEVNULL)
        for line in said.splitlines():
            file, rest = line.split(": ", 1)
            name, kind = rest.split()[:2]
            yield file, name, kind not in "UC"


def declared(header):
    """The functions that a generated header declares."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
    return set(re.findall(r"\b((?:uniffi|ffi)_rhizome_ffi_\w+)\s*\(", text))


def reached(objects, names, symbols):
    """The objects that a linker would take from an archive for `names`: those that define them, and what those want, and so on."""
    defines, wants = {}, {}
    for file, name, defined in symbols:
        if defined:
            defines.setdefault(name, file)
        else:
            wants.setdefault(file, set()).add(name)
    taken, open_names = set(), list(names)
    while open_names:
        file = defines.get(open_names.pop())
        if file is not None and file not in taken:
            taken.add(file)
            open_names.extend(wants.get(file, ()))
    return [file for file in objects if file in taken]


def prelink_linux(tools, library, target, names, out, scratch):
    members = tools.llvm("ar", "t", library).split()
    if len(members) != len(set(members)):
        fail("two members of %s have one name" % library)
    folder = scratch / "members"
    folder.mkdir()
    tools.llvm("ar", "x", "--output=%s" % folder, library)
    objects = [str(folder / name) for name in members]
    objects = reached(objects, names, tools.symbols(*objects))
    merged, local = scratch / "merged.o", scratch / "rhizome.o"
    run(tools.zig, "build-obj", "-target", target, "-femit-bin=%s" % merged, *objects, env=tools.environment)
    # Bitcode of Rust's standard library: Apple's tools take none since Xcode 14.
    tools.llvm("objcopy", "--remove-section=__LLVM,__bitcode", "--remove-section=__LLVM,__cmdline", merged)
    made, kept = localise.localise(merged.read_bytes(), {name.encode() for name in names})
    if len(kept) != len(names):
        fail("the library lacks what the header declares: %s" % sorted(set(names) - {name.decode() for name in kept}))
    local.write_bytes(made)
    out.unlink(missing_ok=True)
    tools.llvm("ar", "--format=darwin", "rcsD", out, local)


def prelink_mac(library, platform, names, out, scratch):
    keep, local = scratch / "names", scratch / "rhizome.o"
    keep.write_text("\n".join(names) + "\n")
    sdk = "iphonesimulator" if "simulator" in platform else "iphoneos"
    roots = [part for name in names for part in ("-u", name)]
    run("xcrun", "--sdk", sdk, "ld", "-r", "-arch", "arm64", "-platform_version", platform, MINIMUM, MINIMUM, *roots, "-exported_symbols_list", keep,
        library, "-o", local)
    run("xcrun", "libtool", "-static", "-D", "-o", out, local)


def check(tools, out, names, platform_number, platform, scratch):
    """What an app's linker will see of a library."""
    shown = sorted(name for _, name, defined in tools.symbols(out) if defined)
    if shown != sorted(names):
        fail("%s shows %s, and does not show %s" % (out, sorted(set(shown) - set(names))[:9], sorted(set(names) - set(shown))[:9]))
    folder = scratch / "check"
    folder.mkdir()
    if MAC:
        said = run("xcrun", "otool", "-l", out)
    else:
        said = tools.llvm("objdump", "--macho", "--private-headers", out)
    found = re.findall(r"LC_BUILD_VERSION.*?platform (\w+).*?minos ([\d.]+)", said, flags=re.S)
    wanted = {(str(platform_number), MINIMUM), (platform.replace("-", ""), MINIMUM)}
    if not found or not set(found) <= wanted:
        fail("%s is for %s, not %s" % (out, found, wanted))

    if "__LLVM" in said:
        fail("%s holds bitcode" % out)

    # An app with a SQLite of its own: linked with the library, it must not get ours. (Everything else it wants, the system has.)
    source, object_, image = folder / "app.c", folder / "app.o", folder / "app.dylib"
    source.write_text("const char *sqlite3_libversion(void);\nconst char *app(void) { return sqlite3_libversion(); }\n")
    if MAC:
        sdk = "iphonesimulator" if "simulator" in platform else "iphoneos"
        suffix = "-simulator" if "simulator" in platform else ""
        clang = ["xcrun", "--sdk", sdk, "clang", "-target", "arm64-apple-ios%s%s" % (MINIMUM, suffix)]
        run(*clang, "-c", source, "-o", object_)
        run(*clang, "-dynamiclib", "-undefined", "dynamic_lookup", object_, "-Wl,-force_load,%s" % out, "-o", image)
        undefined = run("xcrun", "nm", "-u", image).split()
    else:
        compiler = pathlib.Path(tools.zig).parent.parent.parent / ("cc-simulator" if "simulator" in platform else "cc-device")
        run(compiler, "-c", source, "-o", object_)
        run("ld64.lld" + tools.suffix, "-arch", "arm64", "-platform_version", platform, MINIMUM, MINIMUM, "-dylib", "-undefined", "dynamic_lookup",
            object_, "-force_load", out, "-o", image)
        undefined = tools.llvm("nm", "--undefined-only", "--format=just-symbols", image).split()
    if "_sqlite3_libversion" not in undefined:
        fail("an app's own SQLite would be taken from %s" % out)


def assemble(out, made, headers):
    """The XCFramework, as `xcodebuild -create-xcframework` lays it out."""
    framework = out / (MODULE + ".xcframework")
    shutil.rmtree(framework, ignore_errors=True)
    available = []
    for (_, folder, platform, variant, *_), library in zip(SLICES, made):
        # In a folder of their own: Xcode copies the headers of all frameworks of an app into one place, and only one module.modulemap fits there.
        place = framework / folder / "Headers" / MODULE
        place.mkdir(parents=True)
        shutil.copyfile(library, framework / folder / LIBRARY)
        for header in headers:
            shutil.copyfile(header, place / header.name)
        entry = {
            "BinaryPath": LIBRARY,
            "HeadersPath": "Headers",
            "LibraryIdentifier": folder,
            "LibraryPath": LIBRARY,
            "SupportedArchitectures": ["arm64"],
            "SupportedPlatform": platform,
        }
        if variant:
            entry["SupportedPlatformVariant"] = variant
        available.append(entry)
    plist = {"AvailableLibraries": available, "CFBundlePackageType": "XFWK", "XCFrameworkFormatVersion": "1.0"}
    (framework / "Info.plist").write_bytes(plistlib.dumps(plist))
    return framework


def pack(framework, archive):
    """A zip with no times and no owners in it; gives the checksum that Package.swift names."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(framework.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(str(path.relative_to(framework.parent)), (1980, 1, 1, 0, 0, 0))
                info.external_attr, info.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
                file.writestr(info, path.read_bytes())
    return hashlib.sha256(archive.read_bytes()).hexdigest()


PACKAGE = """// swift-tools-version: 6.0
// Made by `make ios` from the sources of Rhizome, version {version}.

import PackageDescription

let package = Package(
    name: "Rhizome",
    platforms: [.iOS("{minimum}")],
    products: [.library(name: "Rhizome", targets: ["Rhizome"])],
    targets: [
        {binary},
        .target(
            name: "RhizomeCore",
            dependencies: ["RhizomeFFI"],
            linkerSettings: [{frameworks}]
        ),
        .target(name: "Rhizome", dependencies: ["RhizomeCore"], resources: [.copy("Resources/PrivacyInfo.xcprivacy")]),
    ],
    swiftLanguageModes: [.v6]
)
"""


def release(out, framework, checksum, url):
    folder = out / "release"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "ios" / "Sources" / "Rhizome", folder / "Sources" / "Rhizome")
    shutil.copytree(GENERATED / "RhizomeCore", folder / "Sources" / "RhizomeCore")
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        shutil.copyfile(ROOT / name, folder / name)
    if url:
        binary = '.binaryTarget(\n            name: "%s",\n            url: "%s",\n            checksum: "%s"\n        )' % (MODULE, url, checksum)
    else:
        shutil.copytree(framework, folder / framework.name)
        binary = '.binaryTarget(name: "%s", path: "%s")' % (MODULE, framework.name)
    # As the developer's package has them: one list for both.
    own = (ROOT / "ios" / "Package.swift").read_text(encoding="utf-8")
    frameworks = ", ".join(re.findall(r'\.linked(?:Framework|Library)\("(?!rhizome_ffi)[^"]+"\)', own))
    version = re.search(r'^version *= *"([^"]+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), flags=re.M).group(1)
    text = PACKAGE.format(version=version, minimum=MINIMUM, binary=binary, frameworks=frameworks)
    (folder / "Package.swift").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(
        "# Rhizome\n\nThe Swift package, version %s, as apps name it. Its sources, documentation and issues are where Rhizome is made.\n" % version,
        encoding="utf-8",
    )
    return folder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    localise.self_test()
    tools = Tools(out)

    libraries = [run(HERE / "static-library", CRATE, slice_[0]).splitlines()[-1] for slice_ in SLICES]
    run(HERE / "generate", libraries[0], "Generated")
    headers = [GENERATED / MODULE / (MODULE + ".h"), GENERATED / MODULE / "module.modulemap"]
    functions = declared(headers[0])
    if len(functions) < 50:
        fail("the generated header declares only %d functions" % len(functions))
    names = sorted("_" + name for name in functions)

    made = []
    for (name, folder, _, _, target, number, platform), library in zip(SLICES, libraries):
        with tempfile.TemporaryDirectory(dir=out) as scratch:
            scratch = pathlib.Path(scratch)
            (out / folder).mkdir(exist_ok=True)
            made.append(out / folder / LIBRARY)
            if MAC:
                prelink_mac(library, platform, names, made[-1], scratch)
            else:
                prelink_linux(tools, library, target, names, made[-1], scratch)
            check(tools, made[-1], names, number, platform, scratch)
        print("xcframework: %s: %d symbols, as the header declares them, and no other; %.1f MB" % (
            name, len(names), made[-1].stat().st_size / 1e6))

    framework = assemble(out, made, headers)
    local = GENERATED / framework.name
    shutil.rmtree(local, ignore_errors=True)
    shutil.copytree(framework, local)
    checksum = pack(framework, out / (framework.name + ".zip"))
    folder = release(out, framework, checksum, arguments.url)
    print("xcframework: %s\nxcframework: sha256 %s\nxcframework: %s" % (framework, checksum, folder))


if __name__ == "__main__":
    main()
