//! A keeper for machines without a keychain: one file for each secret, readable by its owner alone, in a folder apart from
//! the pod's. Phones use the platform's keeper instead.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::folder::write_durably;
use crate::crypto::{DeviceSecret, Keeper, Kept, SecretId, Zeroizing};

/// Keeps device secrets as files.
#[derive(Debug, Clone)]
pub struct FileKeeper {
    dir: PathBuf,
}

impl FileKeeper {
    /// Keeps them in `dir`, which is made when the first one is.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self {
            dir: dir.as_ref().to_owned(),
        }
    }

    fn name(id: &SecretId) -> String {
        format!("{id}.secret")
    }
}

impl Keeper for FileKeeper {
    fn load(&self, id: &SecretId) -> io::Result<Kept> {
        match fs::read(self.dir.join(Self::name(id))).map(Zeroizing::new) {
            Ok(bytes) => match DeviceSecret::from_slice(&bytes) {
                Some(secret) => Ok(Kept::Found(secret)),
                None => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the secret's file does not have 32 bytes",
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::Absent),
            // The file is there and may not be read: as with a locked phone, another moment may be better.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Kept::Locked),
            Err(error) => Err(error),
        }
    }

    fn create(&self, id: &SecretId, secret: &DeviceSecret) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.dir)?;
        write_durably(&self.dir, &Self::name(id), secret.expose())
    }
}
