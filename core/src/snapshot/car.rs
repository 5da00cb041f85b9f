//! CAR files, version 1 (<https://ipld.io/specs/transport/car/carv1/>): a header that names roots, then blocks, each behind its CID.
//!
//! By hand, since the crates for it read all that CAR allows, from streams. Here only what Rhizome writes is read: CIDs of DAG-CBOR and BLAKE3, one
//! or two roots, every length in its shortest form.

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{Bounded, CborError, Hash, decode_canonical, encode},
    identity::cid_of,
};

/// The most bytes of a file.
const MAX_CAR: usize = 64 << 20;
/// The most roots of a file.
const MAX_ROOTS: usize = 2;
/// The bytes of a CID of this kind: version, codec, hash function and hash length, of one byte each, and the hash.
const CID_LEN: usize = 36;

/// The file is not what the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// Longer than is read.
    #[error("the file has {size} bytes, more than {MAX_CAR}")]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// Cut short, or with lengths that do not fit.
    #[error("the file is cut short or damaged")]
    Damaged,
    /// Not a CAR file of version 1.
    #[error("the header is not that of a CAR file of version 1: {0}")]
    Header(#[source] CborError),
    /// A block is not the one that its CID names.
    #[error("a block of the file is not the one that its CID names")]
    WrongBlock,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Bounded<Cid, MAX_ROOTS>,
    version: u64,
}

/// The CID of a DAG-CBOR block.
pub(super) fn link(block: &[u8]) -> Cid {
    cid_of(&Hash::plain(block).0)
}

fn section(file: &mut Vec<u8>, parts: [&[u8]; 2]) {
    let len = parts[0].len() + parts[1].len();
    file.extend_from_slice(unsigned_varint::encode::usize(
        len,
        &mut unsigned_varint::encode::usize_buffer(),
    ));
    parts.iter().for_each(|part| file.extend_from_slice(part));
}

/// A file of `blocks`, in this order.
pub(super) fn write(roots: Vec<Cid>, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let header = Header {
        roots: Bounded(roots),
        version: 1,
    };
    section(&mut file, [&encode(&header), &[]]);
    for block in blocks {
        section(&mut file, [&link(block).to_bytes(), block]);
    }
    file
}

/// A file being read: its roots, and an iterator over its blocks, each checked against its CID.
pub(super) struct Car<'a> {
    pub(super) roots: Vec<Cid>,
    rest: &'a [u8],
}

impl<'a> Car<'a> {
    pub(super) fn read(file: &'a [u8]) -> Result<Self, CarError> {
        if file.len() > MAX_CAR {
            return Err(CarError::TooLarge { size: file.len() });
        }
        let mut rest = file;
        let header: Header = decode_canonical(next_section(&mut rest)?).map_err(CarError::Header)?;
        if header.version != 1 {
            return Err(CarError::Header(CborError::Malformed));
        }
        Ok(Self {
            roots: header.roots.0,
            rest,
        })
    }

    /// The next block; `None` at the end of the file.
    pub(super) fn block(&mut self) -> Result<Option<(Cid, &'a [u8])>, CarError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let section = next_section(&mut self.rest)?;
        let (cid, block) = section.split_at_checked(CID_LEN).ok_or(CarError::Damaged)?;
        let link = link(block);
        if link.to_bytes() != cid {
            return Err(CarError::WrongBlock);
        }
        Ok(Some((link, block)))
    }
}

fn next_section<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CarError> {
    let (len, after) = unsigned_varint::decode::usize(rest).map_err(|_| CarError::Damaged)?;
    let (section, after) = after.split_at_checked(len).ok_or(CarError::Damaged)?;
    *rest = after;
    Ok(section)
}
