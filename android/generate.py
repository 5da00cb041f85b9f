#!/usr/bin/env python3
"""Makes the Kotlin source of the boundary from a built library, and gives it the visibility it should have.

    python3 android/generate.py --bindgen PROGRAM --library LIBRARY --out DIR

uniffi makes everything public. What an application may see is the data (records, enumerations, errors) and the two interfaces it may implement; handles,
converters and everything else become `internal`, and the errors get what they have in common as properties of their base class. A declaration of a form
that this program does not know is an error, so that a newer uniffi cannot show more by itself.
"""

import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What an application may implement.
SHOWN_INTERFACES = {"SecretKeeper", "LogSink"}
# Data that holds handles, or is for our own tests.
HIDDEN_DATA = {"CreatedPod", "Alive"}
DECLARATION = re.compile(
    r"^(?P<before>\s*(?:@Throws\([^)]*\)\s*)?(?:\*/ )?)(?P<visibility>public |private |internal )?"
    r"(?P<modifiers>(?:(?:open|sealed|data|enum|abstract|inline|suspend|const) )*)(?P<kind>class|interface|object|fun|val|var|typealias)(?P<rest>[\s<].*)$"
)


def shown(modifiers, kind, rest):
    name = re.match(r"\s*`?(\w*)", rest).group(1)
    if kind == "class" and modifiers.strip() in ("sealed", "data", "enum"):
        return name not in HIDDEN_DATA
    return kind == "interface" and name in SHOWN_INTERFACES


def braces(line):
    """How many braces a line opens, less those it closes; those in comments and strings do not count."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', '""', line)
    line = re.sub(r"//.*", "", line)
    return line.count("{") - line.count("}")


def same_bytes(text):
    """Data classes with bytes are equal when their bytes are: Kotlin compares arrays by where they are."""

    def add(match):
        name, fields = match["name"], re.findall(r"val `(\w+)`: ([\w.]+)", match["fields"])
        if not any(kind == "kotlin.ByteArray" for _, kind in fields):
            return match[0]
        equal = [f"{field}.contentEquals(other.{field})" if kind == "kotlin.ByteArray" else f"{field} == other.{field}" for field, kind in fields]
        hashes = [f"{field}.contentHashCode()" if kind == "kotlin.ByteArray" else f"{field}.hashCode()" for field, kind in fields]
        total = hashes[0]
        for each in hashes[1:]:
            total = f"31 * ({total}) + {each}"
        return (
            f"{match[0]}\n    /** Whether the other has the same bytes, too. */\n"
            f"    override fun equals(other: Any?): kotlin.Boolean = other is {name} && {' && '.join(equal)}\n\n"
            f"    /** Of the bytes, too. */\n    override fun hashCode(): kotlin.Int = {total}\n"
        )

    return re.sub(r"data class (?P<name>\w+)\s*\((?P<fields>(?:(?!data class)[\s\S])*?)\)\s*(?::\s*\w+\(\))?\s*\{", add, text)


def small_memory(text):
    """The structures of every call get their memory from `StructureMemory`."""
    for name in ("RustBuffer", "UniffiRustCallStatus"):
        head = f"internal open class {name} : Structure() {{\n"
        if text.count(head) != 1:
            raise SystemExit(f"generate: {name} is not as it was")
        text = text.replace(head, head + "    override fun autoAllocate(size: Int) = StructureMemory.take(size)\n\n")
    return text


def polish(text):
    lines, depth, parens, comment, public = [], 0, 0, False, False
    for line in text.splitlines():
        code = line
        if comment or line.lstrip().startswith("/*"):
            comment = "*/" not in line
            code = line.partition("*/")[2] if not comment else ""
        if depth == 0 and parens == 0 and code.strip():
            if match := DECLARATION.match(line):
                visibility = match["visibility"] or ""
                public = visibility not in ("private ", "internal ") and shown(match["modifiers"], match["kind"], match["rest"])
                if visibility not in ("private ", "internal ") and not public:
                    line = f"{match['before']}internal {match['modifiers']}{match['kind']}{match['rest']}"
            elif re.match(r"^\w+ .*\b(class|interface|object|fun|val|var)\b", code):
                raise SystemExit(f"generate: a declaration of an unknown form: {line}")
        depth += braces(code)
        bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', code)
        parens += bare.count("(") - bare.count(")")
        # An empty companion is a name without a use.
        if not (public and line.strip() == "companion object"):
            lines.append(line)
    text = "\n".join(lines) + "\n"
    text = small_memory(same_bytes(text))
    # `Value.List` and `Value.Map` stand before Kotlin's own inside of `Value`.
    text = re.sub(r"(?<![\w.])(List|Map)<", r"kotlin.collections.\1<", text)
    # The converters inside of public errors.
    text = text.replace("    companion object ErrorHandler :", "    internal companion object ErrorHandler :")
    # Links as Rust writes them lead nowhere in Kotlin.
    text = re.sub(r"\[(`\w+(?:::\w+)+`)\]", r"\1", text)
    text = text.replace("        override val message\n", "        /** What happened, safe to log. */\n        override val message\n")
    # Their words: what happened and what to do, without the names of fields.
    text = text.replace('get() = "code=${ `code` }, reason=${ `reason` }, retryable=${ `retryable` }"', "get() = `reason`")
    text = text.replace('get() = "reason=${ `reason` }"', "get() = `reason`")
    head = "sealed class RhizomeException: kotlin.Exception() {\n"
    before, found, after = text.partition(head)
    if not found:
        raise SystemExit("generate: RhizomeException is not where it was")
    body, found, after = after.partition("\n}\n")
    for field in ("code", "reason", "retryable"):
        body = body.replace(f"val `{field}`:", f"override val `{field}`:")
    common = (
        "    /** The finer word for what happened, for programs. It stays. */\n    abstract val code: kotlin.String\n\n"
        "    /** What happened and what to do, in English; holds nothing of the person's and is safe to log. */\n    abstract val reason: kotlin.String\n\n"
        "    /** Whether the same call may work later with nothing changed. */\n    abstract val retryable: kotlin.Boolean\n"
    )
    text = before + head + common + body + found + after
    return text.replace("// This file was autogenerated by some hot garbage in the `uniffi` crate.\n// Trust me, you don't want to mess with it!", "// Made by android/generate.py from the library. Do not change it here.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bindgen", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    subprocess.run([args.bindgen, "generate", "--library", args.library, "--language", "kotlin", "--config", os.path.join(ROOT, "uniffi.toml"),
                    "--out-dir", args.out, "--no-format"], check=True, cwd=ROOT, stdout=sys.stderr)
    path = os.path.join(args.out, "dev", "rhizome", "rhizome.kt")
    with open(path) as file:
        text = polish(file.read())
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
