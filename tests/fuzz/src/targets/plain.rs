//! Decoders without keys.

use std::cell::OnceCell;

use data_encoding::BASE32_NOPAD;
use ipld_core::ipld::Ipld;
use rhizome::{
    Keeper, SecretId,
    crypto::{Bounded, Wrap, decode, decode_canonical, encode, hash},
    identity::{IdentityId, PeerAddress, PeersPart, RecoverySecret, SealedPart, Ticket, did, parse_did},
    store::{FileKeeper, Folder, StoreError},
};
use serde::{Serialize, de::DeserializeOwned};

/// Whatever decodes is in the one spelling that encoding gives.
fn one_spelling<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let canonical = decode_canonical::<T>(data).is_ok();
    if let Ok(value) = decode::<T>(data) {
        assert_eq!(encode(&value), data, "decode accepts a second spelling");
        assert!(canonical);
    } else {
        assert!(!canonical);
    }
}

/// DAG-CBOR: as a value of any shape, and as shapes that the formats have.
pub fn cbor(data: &[u8]) {
    one_spelling::<Ipld>(data);
    one_spelling::<Bounded<u64, 3>>(data);
    one_spelling::<(Option<bool>, String, i64)>(data);
    one_spelling::<Wrap>(data);
    one_spelling::<SealedPart>(data);
    one_spelling::<PeersPart>(data);
}

/// A ticket's text; and `data` as the core of one, with a checksum that is right.
pub fn ticket(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ticket) = Ticket::parse(text)
    {
        assert_eq!(Ticket::parse(&ticket.to_string()).as_ref(), Ok(&ticket));
        let code = text.trim().to_ascii_lowercase();
        assert_eq!(ticket.to_string(), code, "two codes for one ticket");
    }
    let checked = [data, &hash("ticket", &[data]).0[..4]].concat();
    let code = format!("rhizome:{}", BASE32_NOPAD.encode(&checked).to_ascii_lowercase());
    if let Ok(ticket) = Ticket::parse_at(&code, 0) {
        assert_eq!(ticket.to_string(), code, "two cores for one ticket");
        assert_eq!(
            Ticket::parse(&format!(" {}\n", code.to_uppercase())).as_ref(),
            Ok(&ticket)
        );
    }
}

/// A DID as text, a DID of any identity, and recovery words.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(address) = PeerAddress::parse(&text) {
        assert_eq!(PeerAddress::parse(&address.to_string()), Some(address));
    }
    if let Some(identity) = parse_did(&text) {
        assert_eq!(did(&identity), text);
    }
    if let Some(identity) = data.first_chunk::<32>().map(|id| IdentityId(*id)) {
        assert_eq!(parse_did(&did(&identity)), Some(identity));
    }
    if let Some(secret) = RecoverySecret::from_words(&text) {
        let again = RecoverySecret::from_words(&secret.words()).expect("our own words");
        assert_eq!(again.public(), secret.public());
    }
}

/// The files of a pod that are not databases.
pub fn folder(data: &[u8]) {
    thread_local! {
        static DIR: OnceCell<(tempfile::TempDir, Folder)> = const { OnceCell::new() };
    }
    DIR.with(|dir| {
        let (dir, folder) = dir.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let folder = Folder::open(dir.path(), true).expect("a folder of our own");
            (dir, folder)
        });
        std::fs::write(dir.path().join("pod.json"), data).expect("a temporary file");
        match folder.read() {
            Ok(Some(file)) => {
                folder.write(&file).expect("a temporary file");
                assert_eq!(folder.read().expect("just written"), Some(file));
            }
            Ok(None) => panic!("the file is there"),
            Err(StoreError::Damaged { .. } | StoreError::NewerSchema { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let id = SecretId([1; 16]);
        std::fs::write(dir.path().join(format!("{id}.secret")), data).expect("a temporary file");
        assert_eq!(FileKeeper::new(dir.path()).load(&id).is_ok(), data.len() == 32);
    });
}
