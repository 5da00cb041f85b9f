"""A copy of the tree in which every mutant is compiled at once and one of them is switched on by an environment variable.

cargo-mutants says which mutants there are; it would build the library and its tests once for each. Here the syntax tree says where a
mutant's expression begins and ends, both forms are written down, and `crate::mutation::on(number)` chooses when the code runs:

    a == b          (if on(7) { a != b } else { a == b })
    fn f() { .. }   fn f() { if on(8) { return Default::default(); } .. }

A function's mutant that does not compile is taken out again and counted as unviable, as cargo-mutants counts it. Of the others, those in a
constant cannot be chosen so: the campaign builds them one by one.
"""

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Parser

RUST = Parser(Language(tree_sitter_rust.language()))

# What the copy gains: which mutant is on, and (for the first run) which thread reached which mutant. libtest names a test's thread after
# the test.
SWITCH = """//! Which mutant is on.
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{LazyLock, Mutex};

static ON: LazyLock<Option<u32>> = LazyLock::new(|| std::env::var("RHIZOME_MUTANT").ok()?.parse().ok());
static REACHED: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
    let path = std::env::var("RHIZOME_MUTANTS_REACHED").ok()?;
    let file = OpenOptions::new().create(true).append(true).open(path);
    Some(Mutex::new(file.expect("a file for what is reached")))
});

thread_local! {
    // A flood must not be slowed down by being watched.
    static SEEN: RefCell<HashSet<u32>> = RefCell::default();
}

/// Whether this mutant is the one that is on.
pub fn on(number: u32) -> bool {
    if let Some(reached) = &*REACHED
        && SEEN.try_with(|seen| seen.borrow_mut().insert(number)).unwrap_or(true)
    {
        let thread = std::thread::current().name().unwrap_or_default().to_string();
        let mut reached = reached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reached.write_all(format!("{number} {thread}\\n").as_bytes()).expect("written");
    }
    *ON == Some(number)
}
"""


@dataclass
class Mutant:
    number: int
    file: str
    # `core/src/log/entry.rs: replace == with != in decode: if a == b {`: with the text of its line and without its number, which moves.
    name: str
    genre: str
    start: int
    end: int
    replacement: str
    unviable: bool = False


@dataclass
class Place:
    """A piece of the source whose mutants are chosen between: an expression, a guard, or the point after an opening brace."""

    kind: str
    start: int
    end: int
    parts: dict = field(default_factory=dict)
    mutants: list = field(default_factory=list)


def offsets(text):
    """The byte offset of (line, column), both from 1, columns in characters."""
    starts, at = [], 0
    lines = text.split("\n")
    for line in lines:
        starts.append(at)
        at += len(line.encode()) + 1
    return lambda spot: starts[spot["line"] - 1] + len(lines[spot["line"] - 1][: spot["column"] - 1].encode())


def list_mutants(tree, config, files):
    command = ["cargo", "mutants", "--list", "--json", "--package", "rhizome", "--config", str(config)]
    listed = json.loads(subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout)
    mutants, seen = [], Counter()
    for number, one in enumerate(one for one in listed if one["file"] in files):
        text = (tree / one["file"]).read_text()
        at, span = offsets(text), one["span"]
        name = one["name"].split(": ", 1)[1]
        if one["genre"] != "FnValue":
            name += ": " + text.split("\n")[span["start"]["line"] - 1].strip()
        # Two of one name stand on a line: what explains one must not explain the other.
        seen[one["file"], name, span["start"]["line"]] += 1
        if seen[one["file"], name, span["start"]["line"]] > 1:
            name += f" ({seen[one['file'], name, span['start']['line']]})"
        mutants.append(
            Mutant(number, one["file"], f"{one['file']}: {name}", one["genre"], at(span["start"]), at(span["end"]), one["replacement"])
        )
    return mutants


def enclosing(node, kinds):
    while node is not None and node.type not in kinds:
        node = node.parent
    return node


def place_of(mutant, root):
    """Where a mutant is chosen, or None for one that cannot be chosen when the code runs."""
    node = root.descendant_for_byte_range(mutant.start, mutant.end)
    if mutant.genre == "FnValue":
        function = enclosing(root.descendant_for_byte_range(mutant.start, mutant.start), ["function_item"])
        returned = function and function.child_by_field_name("return_type")
        # Another iterator is another type.
        if function is None or (returned and returned.text.startswith(b"impl ")):
            return None
        body = function.child_by_field_name("body")
        return Place("body", body.start_byte + 1, body.start_byte + 1)
    if mutant.genre == "BinaryOperator":
        whole = enclosing(node, ["binary_expression", "compound_assignment_expr", "let_chain"])
        if whole is None or whole.type == "let_chain":
            return None
        parts = {side: whole.child_by_field_name(side) for side in ("left", "operator", "right")}
        if (parts["operator"].start_byte, parts["operator"].end_byte) != (mutant.start, mutant.end):
            return None
        return Place("binary", whole.start_byte, whole.end_byte, parts)
    if mutant.genre == "UnaryOperator":
        whole = enclosing(node, ["unary_expression"])
        if whole is None or whole.start_byte != mutant.start:
            return None
        return Place("unary", whole.start_byte, whole.end_byte, {"operand": whole.children[-1]})
    if mutant.genre in ("MatchArm", "MatchArmGuard"):
        pattern = (
            enclosing(node, ["match_pattern"])
            if mutant.genre == "MatchArmGuard"
            else next((child for child in enclosing(node, ["match_arm"]).children if child.type == "match_pattern"), None)
        )
        if pattern is None:
            return None
        condition = pattern.child_by_field_name("condition")
        if condition is None:
            return Place("unguarded", pattern.end_byte, pattern.end_byte)
        if condition.type in ("let_chain", "let_condition"):
            return None
        return Place("guard", condition.start_byte, condition.end_byte)
    if mutant.genre == "StructField":
        # The others come from `..Default::default()`.
        first = root.descendant_for_byte_range(mutant.start, mutant.start + 1)
        whole = enclosing(first, ["field_initializer", "shorthand_field_initializer"])
        base = whole and next((child for child in whole.parent.children if child.type == "base_field_initializer"), None)
        if base is None or base.text != b"..Default::default()":
            return None
        value = whole.child_by_field_name("value")
        return Place("field", value.start_byte, value.end_byte) if value else Place("named", whole.end_byte, whole.end_byte)
    return None


def marked(mutant, text):
    """The text that stands for one mutant, marked, so that an error of the compiler is brought home to it."""
    return f"/*<{mutant.number}*/{text}/*{mutant.number}>*/"


def on(mutant):
    return f"crate::mutation::on({mutant.number})"


def render(source, places, start, end):
    """The source from `start` to `end` with every mutant in it that compiles."""
    out, at = [], start
    inside = [place for place in places if start <= place.start and place.end <= end]
    # The outermost first; an insertion has no length, and what lies within an expression is its business.
    for place in sorted(inside, key=lambda place: (place.start, -place.end)):
        if place.start < at:
            continue
        out.append(source[at : place.start].decode())
        out.append(render_place(source, [other for other in places if other is not place], place))
        at = place.end
    out.append(source[at:end].decode())
    return "".join(out)


def render_place(source, places, place):
    alive = [mutant for mutant in place.mutants if not mutant.unviable]
    if place.kind == "body":
        return "".join(marked(mutant, f" if {on(mutant)} {{ return {mutant.replacement}; }} ") for mutant in alive)
    if place.kind in ("field", "named"):
        value = render(source, places, place.start, place.end)
        for mutant in alive:
            value = marked(mutant, f"if {on(mutant)} {{ Default::default() }} else {{ {value or mutant.name.split()[3]} }}")
        return f": {value}" if alive and place.kind == "named" else value
    if place.kind == "unguarded":
        return "".join(marked(mutant, f" if !{on(mutant)}") for mutant in alive)
    if place.kind == "guard":
        condition = render(source, places, place.start, place.end)
        for mutant in alive:
            if mutant.genre == "MatchArm":
                condition = marked(mutant, f"(!{on(mutant)} && ({condition}))")
            elif mutant.replacement == "true":
                condition = marked(mutant, f"({on(mutant)} || ({condition}))")
            else:
                condition = marked(mutant, f"(!{on(mutant)} && ({condition}))")
        return condition
    if place.kind == "unary":
        operand = place.parts["operand"]
        inner = render(source, places, operand.start_byte, operand.end_byte)
        sign = source[place.start : operand.start_byte].decode()
        text = f"{{ {sign}{inner} }}"
        for mutant in alive:
            text = marked(mutant, f"if {on(mutant)} {{ {inner} }} else ") + text
        return f"({text})" if alive else f"{sign}{inner}"
    left, operator, right = place.parts["left"], place.parts["operator"], place.parts["right"]
    before = render(source, places, left.start_byte, left.end_byte)
    after = render(source, places, right.start_byte, right.end_byte)
    gaps = source[left.end_byte : operator.start_byte].decode(), source[operator.end_byte : right.start_byte].decode()
    plain = f"{before}{gaps[0]}{source[operator.start_byte : operator.end_byte].decode()}{gaps[1]}{after}"
    text = f"{{ {plain} }}"
    for mutant in alive:
        # A block whose value is a comparison or a sum; an assignment has none.
        text = marked(mutant, f"if {on(mutant)} {{ {before}{gaps[0]}{mutant.replacement}{gaps[1]}{after} }} else ") + text
    return f"({text})" if alive else plain


def innermost(text, offset):
    """The mutant whose mark holds this byte of a rendered file."""
    found = None
    for match in re.finditer(rb"/\*<(\d+)\*/", text):
        if match.start() > offset:
            break
        ends = text.find(b"/*" + match.group(1) + b">*/", match.end())
        if ends >= offset:
            found = int(match.group(1))
    return found


def write(tree, sources, places):
    for name, source in sources.items():
        (tree / name).write_text(render(source, places[name], 0, len(source)))


def switch(tree, mutants, environment):
    """Writes the switched sources into the tree and takes out what does not compile. Gives the mutants that cannot be switched, and the
    files as they were."""
    sources, places, left = {}, {}, []
    for name in sorted({mutant.file for mutant in mutants}):
        sources[name] = (tree / name).read_bytes()
        root = RUST.parse(sources[name]).root_node
        found = {}
        for mutant in (mutant for mutant in mutants if mutant.file == name):
            place = place_of(mutant, root)
            if place is None:
                left.append(mutant)
                continue
            found.setdefault((place.kind, place.start, place.end), place).mutants.append(mutant)
        places[name] = list(found.values())
    (tree / "core/src/mutation.rs").write_text(SWITCH)
    lib = tree / "core/src/lib.rs"
    lib.write_text(lib.read_text().replace("pub mod crypto;", "mod mutation;\n\npub mod crypto;", 1))
    by_number = {mutant.number: mutant for mutant in mutants}
    while True:
        write(tree, sources, places)
        result = subprocess.run(
            ["cargo", "check", "--locked", "--package", "rhizome", "--lib", "--message-format", "json"],
            cwd=tree, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode == 0:
            return left, sources
        out = set()
        for line in result.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            if message.get("level") != "error":
                continue
            for span in message["spans"]:
                if span["is_primary"]:
                    number = innermost((tree / span["file_name"]).read_bytes(), span["byte_start"])
                    if number is None:
                        raise SystemExit(f"the switched tree does not compile, and no mutant is to blame:\n{message['rendered']}")
                    out.add(number)
        if not out:
            raise SystemExit(f"the switched tree does not compile:\n{result.stderr[-3000:]}")
        for number in out:
            by_number[number].unviable = True
            if by_number[number].genre != "FnValue":
                left.append(by_number[number])


def change(tree, mutant, original):
    """Writes one mutant alone, from the file as it was."""
    changed = original[: mutant.start] + mutant.replacement.encode() + original[mutant.end :]
    (tree / mutant.file).write_bytes(changed)
