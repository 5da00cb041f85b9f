// check.js IN OUT: loads the Automerge file IN, tells on stdout what JavaScript sees in it, as JSON in which every kind of value has a form of
// its own; edits it and saves it as OUT, and tells what it is then. core/tests/javascript.rs holds that against what the core sees.
import { readFileSync, writeFileSync } from "node:fs";
import * as Automerge from "@automerge/automerge";

// As Value::to_tagged_json of the core.
function tagged(value) {
  if (value === null || typeof value === "boolean" || typeof value === "number") return value;
  if (typeof value === "string") return { $text: value };
  if (Automerge.isImmutableString(value)) return value.toString();
  if (value instanceof Date) return { $date: value.getTime() };
  if (value instanceof Automerge.Counter) return { $counter: value.value };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(tagged);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, tagged(inner)]));
}

function seen(doc) {
  const spans = Automerge.spans(doc, ["text"]).map((span) => [span.value, span.marks ?? {}]);
  return { value: tagged(doc), spans, changes: Automerge.getHistory(doc).length };
}

const [source, target] = process.argv.slice(2);
let doc = Automerge.load(readFileSync(source));
const loaded = seen(doc);
doc = Automerge.change(doc, { message: "from JavaScript" }, (edited) => {
  Automerge.splice(edited, ["text"], 0, 0, "JS 🦔 ");
  Automerge.mark(edited, ["text"], { start: 0, end: 5, expand: "none" }, "link", "https://example.org/");
  edited.count.increment(5);
  edited.list.push("from JavaScript");
  edited.when = new Date(1_700_000_000_000);
  edited.plain = new Automerge.ImmutableString("whole");
  edited.raw = new Uint8Array([1, 2, 254]);
  delete edited.gone;
});
writeFileSync(target, Automerge.save(doc));
console.log(JSON.stringify({ loaded, edited: seen(doc) }));
