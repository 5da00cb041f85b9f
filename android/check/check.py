#!/usr/bin/env python3
"""Uses what android/pack.py published, as an application would.

    python3 android/check/check.py --build DIR --repository DIR

1. An empty Maven project with one dependency, built by Kotlin 2.2, opens a pod, writes and queries.
2. R8 shrinks the same program with the classes of the AAR, with no rules but the AAR's own and the program's entry; what is left does the same on the JVM.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
POM = "{http://maven.apache.org/POM/4.0.0}"
R8 = "9.5.28"
# What R8 is told of an application: in an APK its manifest names the entries.
ENTRY = "-keep class MainKt { public static void main(java.lang.String[]); }\n"


def run(*command, cwd=None, capture=False):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode != 0:
        sys.exit(f"check: failed: {' '.join(command)}\n{done.stdout or ''}")
    return done.stdout


def classes(path):
    with zipfile.ZipFile(path) as file:
        return {name for name in file.namelist() if name.endswith(".class") and not name.startswith("META-INF/")}


def holds(what, *command):
    with tempfile.TemporaryDirectory() as folder:
        said = run(*command, os.path.join(folder, "pod"), capture=True)
    if said.strip().splitlines()[-1:] != ["it holds"]:
        sys.exit(f"check: {what}: {said}")
    print(f"check: {what}: it holds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--repository", required=True)
    args = parser.parse_args()
    parent = ElementTree.parse(os.path.join(HERE, "..", "pom.xml")).getroot()
    version = parent.find(f"{POM}version").text
    properties = {each.tag.removeprefix(POM): each.text for each in parent.find(f"{POM}properties")}
    local = run("mvn", "-q", "-B", "-N", "help:evaluate", "-Dexpression=settings.localRepository", "-DforceStdout", cwd=os.path.join(HERE, ".."), capture=True)
    # Some Mavens colour even what a program reads.
    local = re.sub(r"\x1b\[[0-9;]*m", "", local).strip()
    # Maven keeps a copy of what it took from a repository, and a version that is built again has the same name.
    shutil.rmtree(os.path.join(local, "dev", "rhizome"), ignore_errors=True)

    consumer = os.path.join(args.build, "consumer")
    shutil.rmtree(consumer, ignore_errors=True)
    run("mvn", "-q", "-B", "package", f"-Drhizome.repository={args.repository}", f"-Drhizome.version={version}", f"-Drhizome.consumer={consumer}",
        cwd=os.path.join(HERE, "consumer"))
    program = os.path.join(consumer, "target", "journal-1.jar")
    path = open(os.path.join(consumer, "classpath")).read().strip()
    holds("an empty project with one dependency", "java", "-cp", os.pathsep.join([program, path]), "MainKt")

    r8 = os.path.join(consumer, "r8.jar")
    run("mvn", "-q", "-B", "dependency:copy", f"-Dartifact=com.android.tools:r8:{R8}", f"-DoutputDirectory={consumer}", "-Dmdep.stripVersion=true")
    shrunk, rules = os.path.join(consumer, "shrunk.jar"), os.path.join(consumer, "rules.pro")
    framework = os.path.join(local, "org", "robolectric", "android-all", properties["android.all"], f"android-all-{properties['android.all']}.jar")
    aar = os.path.join(args.repository, "dev", "rhizome", "rhizome-android", version, f"rhizome-android-{version}.aar")
    with zipfile.ZipFile(aar) as file:
        library = file.extract("classes.jar", consumer)
        with open(rules, "wb") as out:
            out.write(file.read("proguard.txt") + ENTRY.encode())
    others = [each for each in path.split(os.pathsep) if "rhizome-jvm" not in each]
    home = os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("java"))))
    run("java", "-cp", r8, "com.android.tools.r8.R8", "--release", "--classfile", "--lib", framework, "--lib", os.environ.get("JAVA_HOME", home),
        "--pg-conf", rules, "--output", shrunk, program, library, *others)
    before, after = classes(library) | classes(program), classes(shrunk)
    if "dev/rhizome/android/PodLifecycle.class" in after or len(after & before) > len(before) / 2:
        sys.exit(f"check: R8 left {len(after & before)} of {len(before)} classes under their names: the rules keep too much")
    natives = os.path.join(args.build, "natives", os.environ.get("RHIZOME_HOST", "linux-x86-64"))
    holds("the program after R8", "java", f"-Djna.library.path={natives}", "-cp", shrunk, "MainKt")


if __name__ == "__main__":
    main()
