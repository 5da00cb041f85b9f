//! Folders that are made and thrown away quickly, and whole folders kept in memory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A folder in memory where the system has one, or else on the disk; gone when dropped.
///
/// # Panics
/// If no folder can be made.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.or_else(|_| tempfile::tempdir())
        .expect("a temporary folder can be made")
}

/// The files of a folder, without what belongs to a running process.
#[derive(Debug, Clone, Default)]
pub struct Image(pub BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    /// Reads a folder of files.
    ///
    /// # Panics
    /// If a file cannot be read.
    pub fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        for file in std::fs::read_dir(dir).expect("the folder is there") {
            let path = file.expect("it can be listed").path();
            let name = PathBuf::from(path.file_name().expect("a file has a name"));
            files.insert(name, std::fs::read(&path).expect("it can be read"));
        }
        Self(files)
    }

    /// Makes `dir` hold these files and no others.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn put(&self, dir: &Path) {
        for file in std::fs::read_dir(dir).expect("the folder is there") {
            std::fs::remove_file(file.expect("it can be listed").path()).expect("it can be removed");
        }
        for (name, bytes) in &self.0 {
            std::fs::write(dir.join(name), bytes).expect("it can be written");
        }
    }
}
