//! Attachments: manifests, maps of chunks, boxes, receipts, and references as documents hold them.

use std::collections::BTreeMap;

use rhizome::{
    AttachmentRef, Value,
    crypto::Secret,
    log::{AttachmentReceipt, CHUNK_BOX, ChunkMap, MAX_CHUNKS, Manifest, open_chunk},
};

use crate::world::{self, ATTACHMENT_RECEIPT, world};

/// `data` as each of them.
pub fn attachment(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode(), data, "two spellings of a manifest");
        let chunks = manifest.chunks();
        assert!((1..=MAX_CHUNKS).contains(&chunks));
        let total: u64 = (0..chunks).map(|number| manifest.box_len(number) as u64).sum();
        assert_eq!(total, manifest.total());
        assert_eq!(manifest.offset(chunks - 1) + manifest.box_len(chunks - 1) as u64, total);
        assert!((0..chunks).all(|number| (1..=CHUNK_BOX).contains(&manifest.box_len(number))));
        assert!(manifest.chunk(chunks).is_none() && manifest.chunk(u32::MAX).is_none());
        // Nobody sealed this: it opens for no size and in no place.
        let key = Secret::from([7; 32]);
        for size in [0, manifest.padded(), u64::MAX] {
            assert!(open_chunk(&key, &manifest, size, chunks - 1, data).is_err());
        }
    }
    map(data);
    receipt(data);
    if let Some(signed) = world::sign_again(data, ATTACHMENT_RECEIPT) {
        receipt(&signed);
    }
    reference(data);
}

fn map(data: &[u8]) {
    let Some((chunks, bits)) = data.split_first_chunk::<2>() else {
        return;
    };
    let chunks = u32::from(u16::from_be_bytes(*chunks));
    if let Some(mut map) = ChunkMap::from_bytes(bits, chunks) {
        assert_eq!(map.as_bytes(), bits);
        let missing: Vec<u32> = map.missing().collect();
        assert_eq!(missing.len(), map.count_missing() as usize);
        missing.iter().for_each(|number| map.set(*number));
        map.set(chunks);
        assert_eq!(map, ChunkMap::full(chunks));
    }
}

fn receipt(bytes: &[u8]) {
    if let Ok(receipt) = AttachmentReceipt::decode(bytes) {
        assert_eq!(receipt.encode(), bytes);
        // What is signed is what is read.
        if let Some(keys) = world().member(&receipt.peer) {
            let made = AttachmentReceipt::make(&keys.signing, receipt.store, receipt.attachment, receipt.time);
            assert_eq!(made, receipt);
        }
    }
}

/// A map of the reserved shape, with what `data` has in its fields.
fn reference(data: &[u8]) {
    let (id, rest) = data.split_at(data.len().min(32));
    let (key, rest) = rest.split_at(rest.len().min(32));
    let (size, rest) = rest.split_at(rest.len().min(8));
    let size = size.iter().fold(0i64, |size, byte| size << 8 | i64::from(*byte));
    let text = String::from_utf8_lossy(rest).into_owned();
    let fields = [
        ("$attachment", Value::Bytes(id.to_vec())),
        ("key", Value::Bytes(key.to_vec())),
        ("size", Value::Int(size)),
        ("type", Value::String(text.clone())),
        ("name", Value::Text(text)),
    ];
    let mut map: BTreeMap<String, Value> = fields.map(|(name, value)| (name.to_owned(), value)).into();
    map.insert("thumbnail".to_owned(), Value::Map(map.clone()));
    let value = Value::Map(map);
    if let Some(reference) = AttachmentRef::from_value(&value) {
        assert_eq!(
            AttachmentRef::from_value(&reference.to_value()),
            Some(reference.clone())
        );
        assert_eq!(
            AttachmentRef::all_in(&Value::List(vec![value, Value::Null])),
            [reference]
        );
    }
}
