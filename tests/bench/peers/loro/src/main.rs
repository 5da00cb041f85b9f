//! The bench's edits in Loro.

use std::process::ExitCode;

use bench_trace::{Document, Edit, Failure};
use loro::{ExportMode, LoroDoc, LoroText, VersionVector};

struct Alone {
    document: LoroDoc,
    text: LoroText,
    /// What the file has.
    written: VersionVector,
}

impl Document for Alone {
    fn new() -> Result<Self, Failure> {
        let document = LoroDoc::new();
        let text = document.get_text("text");
        Ok(Self {
            document,
            text,
            written: VersionVector::default(),
        })
    }

    fn edit(&mut self, edits: &[Edit]) -> Result<Vec<u8>, Failure> {
        for (at, delete, insert) in edits {
            if *delete > 0 {
                self.text.delete(*at, *delete)?;
            }
            if !insert.is_empty() {
                self.text.insert(*at, insert)?;
            }
        }
        self.document.commit();
        let added = self.document.export(ExportMode::updates(&self.written))?;
        self.written = self.document.oplog_vv();
        Ok(added)
    }

    fn text(&self) -> Result<String, Failure> {
        Ok(self.text.to_string())
    }

    fn saved(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.document.export(ExportMode::Snapshot)?)
    }
}

fn main() -> ExitCode {
    bench_trace::run::<Alone>()
}
