#!/usr/bin/env node
// The bench's edits in Yjs: what each transaction adds is appended to a file and synced. Takes what the peers in Rust take (trace/src/lib.rs).

import fs from "node:fs"
import path from "node:path"
import { parseArgs } from "node:util"
import * as Y from "yjs"

const { values } = parseArgs({
  allowPositionals: true,
  options: { dir: { type: "string" }, trace: { type: "string" }, together: { type: "string", default: "100" } },
})
const { edits, text: wanted } = JSON.parse(fs.readFileSync(values.trace, "utf8"))
const together = Number(values.together)
fs.mkdirSync(values.dir, { recursive: true })
const file = fs.openSync(path.join(values.dir, "text"), "w")
const document = new Y.Doc()
const text = document.getText("text")
document.on("update", (added) => fs.writeSync(file, added))
const began = process.hrtime.bigint()
for (let from = 0; from < edits.length; from += together) {
  document.transact(() => {
    for (const [at, removed, put] of edits.slice(from, from + together)) {
      if (removed > 0) text.delete(at, removed)
      if (put !== "") text.insert(at, put)
    }
  })
  fs.fdatasyncSync(file)
}
const seconds = Number(process.hrtime.bigint() - began) / 1e9
if (text.toString() !== wanted) throw new Error("the text is another one")
const appended = fs.fstatSync(file).size
console.log(JSON.stringify({ edits: edits.length, seconds, appended, saved: Y.encodeStateAsUpdate(document).length }))
