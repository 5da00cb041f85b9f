//! The committed corpus: one text file a target, one input a line in base64, so that a change of it can be read as a diff.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;

fn file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(format!("{target}.txt"))
}

/// The inputs committed for a target, shortest first.
///
/// # Errors
/// If the file is not there or holds something else.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(file(target))?;
    let line = |line: &str| {
        BASE64
            .decode(line.as_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    text.lines().map(line).collect()
}

/// Commits these inputs for a target, each once.
///
/// # Errors
/// If the file cannot be written.
pub fn write(target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    let sorted: BTreeSet<(usize, Vec<u8>)> = inputs.into_iter().map(|input| (input.len(), input)).collect();
    let text: String = sorted
        .iter()
        .map(|(_, input)| format!("{}\n", BASE64.encode(input)))
        .collect();
    fs::create_dir_all(file(target).parent().expect("a file in a folder"))?;
    fs::write(file(target), text)
}

/// Lays inputs out as the files that libFuzzer reads.
///
/// # Errors
/// If the folder cannot be written.
pub fn unpack(dir: &Path, inputs: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for input in inputs {
        fs::write(dir.join(rhizome::crypto::Hash::plain(&input).to_string()), input)?;
    }
    Ok(())
}

/// The inputs in a folder of libFuzzer's.
///
/// # Errors
/// If the folder cannot be read.
pub fn gather(dir: &Path) -> io::Result<Vec<Vec<u8>>> {
    fs::read_dir(dir)?.map(|entry| fs::read(entry?.path())).collect()
}
