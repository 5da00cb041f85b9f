#!/usr/bin/env python3
"""Makes the AAR around classes.jar, and publishes jar and AAR into a local Maven repository.

    python3 android/pack.py --build DIR --repository DIR      pack, check and publish what Maven built in DIR/jvm and DIR/aar
    python3 android/pack.py --check FILE.aar                   only the checks

DIR/arm64-v8a holds what android/native/build.py made. A library that was linked without the NDK is named in the AAR (META-INF/rhizome-native.properties) and in the
published pom; `--release` refuses it.
"""

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# One moment for every entry, so that the same input makes the same file.
MOMENT = (2026, 1, 1, 0, 0, 0)
POM = "{http://maven.apache.org/POM/4.0.0}"


class Failed(Exception):
    pass


def read(path):
    with open(path, "rb") as file:
        return file.read()


def version():
    return ElementTree.parse(os.path.join(HERE, "pom.xml")).getroot().find(f"{POM}version").text


def properties():
    return {each.tag.removeprefix(POM): each.text for each in ElementTree.parse(os.path.join(HERE, "pom.xml")).getroot().find(f"{POM}properties")}


def archive(entries, path=None):
    """A zip with these entries, in this order; natives are stored as they are, since phones map them from where they lie."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name, MOMENT)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".so") else zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    if path:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(out.getvalue())
    return out.getvalue()


def folder_entries(folder, keep=lambda name: True):
    for at, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(at, name)
            inside = os.path.relpath(path, folder).replace(os.sep, "/")
            if keep(inside):
                yield inside, read(path)


def licences():
    return [(f"META-INF/{name}", read(os.path.join(ROOT, name))) for name in ("LICENSE-APACHE", "LICENSE-MIT")]


def pack(build):
    """The AAR of what was built."""
    classes = archive(list(folder_entries(os.path.join(build, "aar", "classes"))))
    native = os.path.join(build, "arm64-v8a")
    notes = dict(line.split("=", 1) for line in read(os.path.join(native, "native.properties")).decode().splitlines())
    path = os.path.join(build, "rhizome-android.aar")
    archive(
        [
            ("AndroidManifest.xml", read(os.path.join(HERE, "src", "android", "AndroidManifest.xml"))),
            ("classes.jar", classes),
            ("R.txt", b""),
            ("proguard.txt", read(os.path.join(HERE, "aar", "consumer-rules.pro"))),
            (f"jni/{notes['abi']}/librhizome_ffi.so", read(os.path.join(native, "librhizome_ffi.so"))),
            ("META-INF/rhizome-native.properties", read(os.path.join(native, "native.properties"))),
            ("META-INF/com/android/build/gradle/aar-metadata.properties", b"aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=26\n"),
        ]
        + licences(),
        path,
    )
    return path, notes


def check(path):
    """Opens an AAR as one that uses it would. Gives what is wrong."""
    wrong = []
    android = "{http://schemas.android.com/apk/res/android}"
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        for name in ("AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt", "jni/arm64-v8a/librhizome_ffi.so", "META-INF/rhizome-native.properties"):
            if name not in names:
                return [f"it has no {name}"]
        if len(names) != len(set(names)):
            wrong.append("it has a name twice")
        manifest = ElementTree.fromstring(file.read("AndroidManifest.xml"))
        if manifest.find("uses-sdk").get(f"{android}minSdkVersion") != "26":
            wrong.append("its manifest does not say minSdkVersion 26")
        asked = {each.get(f"{android}name").rpartition(".")[2] for each in manifest.findall("uses-permission")}
        if asked != {"INTERNET", "ACCESS_NETWORK_STATE", "RECEIVE_BOOT_COMPLETED"}:
            wrong.append(f"it asks for {sorted(asked)}")
        service = manifest.find("application/service")
        if service is None or service.get(f"{android}permission") != "android.permission.BIND_JOB_SERVICE" or service.get(f"{android}exported") != "false":
            wrong.append("its manifest does not declare the job service for the system alone")
        with zipfile.ZipFile(io.BytesIO(file.read("classes.jar"))) as classes:
            inside = set(classes.namelist())
            for name in ("dev/rhizome/Pod.class", "dev/rhizome/android/PodLifecycle.class", "dev/rhizome/android/KeystoreKeeper.class"):
                if name not in inside:
                    wrong.append(f"classes.jar has no {name}")
            if service is not None and service.get(f"{android}name").replace(".", "/") + ".class" not in inside:
                wrong.append("the service of the manifest is no class")
            for name in inside:
                if name.endswith(".class") and not name.startswith("dev/rhizome/"):
                    wrong.append(f"classes.jar has {name}, which is not ours")
                elif name.endswith(".class"):
                    code = classes.read(name)
                    if code[6:8] > b"\x00\x37":
                        wrong.append(f"{name} wants a newer Java than 11")
                    if b"androidx/" in code:
                        wrong.append(f"{name} names AndroidX")
                    if b"panicNow" in code:
                        wrong.append(f"{name} has what is for tests alone")
            if "dev/rhizome/FileKeeper.class" in inside:
                wrong.append("classes.jar has the keeper of the plain JVM")
        if b"panic_now" in file.read("jni/arm64-v8a/librhizome_ffi.so"):
            wrong.append("the library has what is for tests alone")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, os.path.join(HERE, "native", "build.py"), "--inspect", file.extract("jni/arm64-v8a/librhizome_ffi.so", folder)],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                wrong.append(done.stdout.strip())
    return wrong


def pom(artifact, packaging, notes=None):
    known = properties()
    jna_type = "\n      <type>aar</type>" if packaging == "aar" else ""
    note = ""
    if notes:
        note = f"\n  <properties>\n    <rhizome.native.made-with>{notes['made-with']}</rhizome.native.made-with>\n    <rhizome.native.for-release>{notes['for-release']}</rhizome.native.for-release>\n  </properties>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://maven.apache.org/POM/4.0.0 http://maven.apache.org/xsd/maven-4.0.0.xsd">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.rhizome</groupId>
  <artifactId>{artifact}</artifactId>
  <version>{version()}</version>
  <packaging>{packaging}</packaging>
  <name>Rhizome</name>
  <description>Encrypted, local-first event logs with identity and opportunistic sync</description>
  <licenses>
    <license><name>MIT</name></license>
    <license><name>Apache-2.0</name></license>
  </licenses>{note}
  <dependencies>
    <dependency>
      <groupId>org.jetbrains.kotlin</groupId>
      <artifactId>kotlin-stdlib</artifactId>
      <version>{known['kotlin.stdlib.version']}</version>
    </dependency>
    <dependency>
      <groupId>org.jetbrains.kotlinx</groupId>
      <artifactId>kotlinx-coroutines-core-jvm</artifactId>
      <version>{known['coroutines.version']}</version>
    </dependency>
    <dependency>
      <groupId>org.jetbrains.kotlinx</groupId>
      <artifactId>kotlinx-serialization-core-jvm</artifactId>
      <version>{known['serialization.version']}</version>
    </dependency>
    <dependency>
      <groupId>net.java.dev.jna</groupId>
      <artifactId>jna</artifactId>
      <version>{known['jna.version']}</version>{jna_type}
    </dependency>
  </dependencies>
</project>
"""


def publish(repository, artifact, files):
    """Puts files by classifier and extension where Maven and Gradle look for them."""
    place = os.path.join(repository, "dev", "rhizome", artifact, version())
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    for (classifier, extension), content in files.items():
        path = os.path.join(place, f"{artifact}-{version()}{'-' + classifier if classifier else ''}.{extension}")
        with open(path, "wb") as file:
            file.write(content)
        for kind in ("sha256", "sha1"):
            with open(f"{path}.{kind}", "w") as file:
                file.write(hashlib.new(kind, content).hexdigest())


def sources(build, platform):
    entries = {}
    for folder in (os.path.join(HERE, "src", "common", "kotlin"), os.path.join(HERE, "src", platform, "kotlin"), os.path.join(build, "generated")):
        entries.update(folder_entries(folder, lambda name: name.endswith(".kt")))
    return archive(sorted(entries.items()))


def documentation(build, module):
    folder = os.path.join(build, module, "dokka")
    if not os.path.exists(os.path.join(folder, "index.html")):
        raise Failed(f"there is no documentation in {folder}")
    return archive(list(folder_entries(folder)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build")
    parser.add_argument("--repository")
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--check", metavar="FILE")
    args = parser.parse_args()
    try:
        if args.check:
            aar, notes = args.check, None
        else:
            aar, notes = pack(args.build)
        if wrong := check(aar):
            raise Failed(f"{aar}:\n  " + "\n  ".join(wrong))
        if args.check:
            print(f"pack: {aar} holds")
            return
        if args.release and notes["for-release"] != "yes":
            raise Failed("the native library was not built with the NDK: set ANDROID_NDK_HOME and build again")
        jar = read(os.path.join(args.build, "jvm", f"rhizome-jvm-{version()}.jar"))
        publish(args.repository, "rhizome-android", {
            ("", "aar"): read(aar),
            ("", "pom"): pom("rhizome-android", "aar", notes).encode(),
            ("sources", "jar"): sources(args.build, "android"),
            ("javadoc", "jar"): documentation(args.build, "aar"),
        })
        publish(args.repository, "rhizome-jvm", {
            ("", "jar"): jar,
            ("", "pom"): pom("rhizome-jvm", "jar").encode(),
            ("sources", "jar"): sources(args.build, "jvm"),
            ("javadoc", "jar"): documentation(args.build, "jvm"),
        })
        print(f"pack: rhizome-android {version()} ({os.path.getsize(aar):,} bytes; native made with {notes['made-with']}) and rhizome-jvm {version()} ({len(jar):,} bytes) in {args.repository}")
    except Failed as failure:
        sys.exit(f"pack: {failure}")


if __name__ == "__main__":
    main()
