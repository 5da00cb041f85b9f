//! The bench's edits in Automerge alone.

use std::process::ExitCode;

use automerge::{AutoCommit, ObjId, ObjType, ROOT, ReadDoc, transaction::Transactable};
use bench_trace::{Document, Edit, Failure};

struct Alone {
    document: AutoCommit,
    text: ObjId,
}

impl Document for Alone {
    fn new() -> Result<Self, Failure> {
        let mut document = AutoCommit::new();
        let text = document.put_object(ROOT, "text", ObjType::Text)?;
        Ok(Self { document, text })
    }

    fn edit(&mut self, edits: &[Edit]) -> Result<Vec<u8>, Failure> {
        for (at, delete, insert) in edits {
            let delete = isize::try_from(*delete)?;
            self.document.splice_text(&self.text, *at, delete, insert)?;
        }
        self.document.commit();
        Ok(self.document.save_incremental())
    }

    fn text(&self) -> Result<String, Failure> {
        Ok(self.document.text(&self.text)?)
    }

    fn saved(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.document.save())
    }
}

fn main() -> ExitCode {
    bench_trace::run::<Alone>()
}
