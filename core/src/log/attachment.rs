//! Attachments: photos and recordings, cut into chunks that are sealed each on its own (docs/formats.md, section 9).
//!
//! What a peer holds of one is a [`Manifest`], which says how long it is and which chunks it has, and the chunks. It names no stream, no
//! document and no author. The key stands in the document that refers to the attachment, and nowhere else.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{LogError, StoreId};
use crate::crypto::{
    Hash, NONCE_LEN, PublicKey, Random, SealKey, Secret, Signature, SigningKey, TAG_LEN, Zeroizing, bytes_id,
    decode_canonical, encode, hash, padme_long,
};

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK: usize = 256 * 1024;
/// Bytes of such a chunk's box.
pub const CHUNK_BOX: usize = CHUNK + NONCE_LEN + TAG_LEN;
/// The most chunks: 8 GiB of plaintext, a manifest of one mebibyte.
pub const MAX_CHUNKS: u32 = 32_768;

const VERSION: u8 = 1;

bytes_id!(
    /// An attachment: H("attachment", manifest).
    AttachmentId,
    32
);

/// What an attachment is made of, as a peer sees it: its length with padding, and the hash of each chunk's box.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    padded: u64,
    hashes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct WireManifest(u8, u64, ByteBuf);

fn chunks_of(padded: u64) -> Option<u32> {
    let chunks = u32::try_from(padded.div_ceil(CHUNK as u64)).ok()?;
    (1..=MAX_CHUNKS).contains(&chunks).then_some(chunks)
}

impl Manifest {
    /// Reads a manifest: its length is a PADMÉ size, and it has as many hashes as that takes chunks.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let WireManifest(version, padded, hashes) = decode_canonical(bytes)?;
        if version != VERSION {
            return Err(LogError::NewerVersion);
        }
        let chunks = chunks_of(padded).ok_or(LogError::BadAttachment)?;
        if padme_long(padded) != padded || hashes.len() != chunks as usize * 32 {
            return Err(LogError::BadAttachment);
        }
        let hashes = hashes.into_vec();
        Ok(Self { padded, hashes })
    }

    /// The bytes that [`Manifest::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        encode(&WireManifest(VERSION, self.padded, ByteBuf::from(self.hashes.clone())))
    }

    /// Its hash, which names the attachment.
    pub fn id(&self) -> AttachmentId {
        AttachmentId(hash("attachment", &[&self.encode()]).0)
    }

    /// Bytes of plaintext, padding included.
    pub fn padded(&self) -> u64 {
        self.padded
    }

    /// How many chunks there are, 1 to [`MAX_CHUNKS`].
    pub fn chunks(&self) -> u32 {
        chunks_of(self.padded).expect("checked when it was made or read")
    }

    /// The hash of a chunk's box; `None` past the last.
    pub fn chunk(&self, number: u32) -> Option<Hash> {
        let at = number as usize * 32;
        Hash::from_slice(self.hashes.get(at..at + 32)?)
    }

    /// Bytes of a chunk's box.
    pub fn box_len(&self, number: u32) -> usize {
        let last = self.chunks() - 1;
        if number < last {
            return CHUNK_BOX;
        }
        let rest = self.padded - u64::from(last) * CHUNK as u64;
        usize::try_from(rest).expect("no more than a chunk") + NONCE_LEN + TAG_LEN
    }

    /// Where a chunk's box begins among all boxes, one after another.
    pub fn offset(&self, number: u32) -> u64 {
        u64::from(number) * CHUNK_BOX as u64
    }

    /// Bytes of all boxes.
    pub fn total(&self) -> u64 {
        self.padded + u64::from(self.chunks()) * (NONCE_LEN + TAG_LEN) as u64
    }

    /// Whether `sealed` is the box of this chunk. Whoever makes a manifest chooses its hashes, so the length counts too: without it a box of
    /// any length would do, and be charged by what the manifest says.
    pub fn is_chunk(&self, number: u32, sealed: &[u8]) -> bool {
        let expected = self.chunk(number).filter(|_| sealed.len() == self.box_len(number));
        expected.is_some_and(|hash| hash == hash_chunk(sealed))
    }
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifest({} bytes)", self.padded)
    }
}

/// H("attachment chunk", box).
pub fn hash_chunk(sealed: &[u8]) -> Hash {
    hash("attachment chunk", &[sealed])
}

fn aad(number: u32, last: bool) -> Vec<u8> {
    encode(&(VERSION, number, last))
}

fn seal_key(key: &Secret) -> SealKey {
    SealKey::derive("attachment", key)
}

/// Seals an attachment chunk by chunk, as its bytes come: how long it is need not be known before.
///
/// Each box is bound to its number and to whether it is the last, so that nothing can be cut off, repeated or put elsewhere (as in STREAM:
/// Hoang, Reyhanitabar, Rogaway, Vizár, *Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance*, 2015).
pub struct ChunkSealer {
    key: Secret,
    sealing: SealKey,
    size: u64,
    hashes: Vec<u8>,
    waiting: Zeroizing<Vec<u8>>,
}

impl ChunkSealer {
    /// A sealer with a key of its own.
    pub fn new(random: &mut dyn Random) -> Self {
        let key = Secret::make(random);
        Self {
            sealing: seal_key(&key),
            key,
            size: 0,
            hashes: Vec::new(),
            waiting: Zeroizing::new(Vec::with_capacity(2 * CHUNK)),
        }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes up to [`CHUNK`] more bytes, and gives the next box if there is one to be sealed.
    pub fn push(&mut self, random: &mut dyn Random, bytes: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        if self.size + bytes.len() as u64 > u64::from(MAX_CHUNKS) * CHUNK as u64 {
            return Err(LogError::AttachmentTooLarge);
        }
        self.size += bytes.len() as u64;
        self.waiting.extend_from_slice(bytes);
        // A full chunk waits until it is known whether it is the last.
        Ok((self.waiting.len() > CHUNK).then(|| self.seal(random, false)))
    }

    /// After the last byte: the next of the boxes that remain; `None` when all are sealed.
    pub fn finish(&mut self, random: &mut dyn Random) -> Option<Vec<u8>> {
        let padded = padme_long(self.size);
        let sealed = self.number() as u64 * CHUNK as u64;
        let left = padded.checked_sub(sealed).filter(|left| *left > 0)?;
        let len = usize::try_from(left.min(CHUNK as u64)).expect("no more than a chunk");
        if self.waiting.len() < len {
            self.waiting.resize(len, 0);
        }
        Some(self.seal(random, left <= CHUNK as u64))
    }

    /// The manifest of what was sealed, and the key.
    pub fn into_parts(self) -> (Manifest, Secret) {
        let padded = padme_long(self.size);
        let hashes = self.hashes;
        (Manifest { padded, hashes }, self.key)
    }

    fn number(&self) -> usize {
        self.hashes.len() / 32
    }

    fn seal(&mut self, random: &mut dyn Random, last: bool) -> Vec<u8> {
        let number = u32::try_from(self.number()).expect("MAX_CHUNKS at the most");
        let len = self.waiting.len().min(CHUNK);
        let sealed = self.sealing.seal(random, &aad(number, last), &self.waiting[..len]);
        self.waiting.drain(..len);
        self.hashes.extend_from_slice(&hash_chunk(&sealed).0);
        sealed
    }
}

/// Opens one chunk of an attachment with `size` bytes, and leaves the padding out.
pub fn open_chunk(
    key: &Secret,
    manifest: &Manifest,
    size: u64,
    number: u32,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, LogError> {
    // A reference that gives another size than was sealed is not what was attached.
    if padme_long(size.min(1 << 62)) != manifest.padded || number >= manifest.chunks() {
        return Err(LogError::BadAttachment);
    }
    let last = number + 1 == manifest.chunks();
    let mut plain = seal_key(key).open(&aad(number, last), sealed)?;
    let here = size.saturating_sub(u64::from(number) * CHUNK as u64);
    plain.truncate(usize::try_from(here).unwrap_or(usize::MAX));
    Ok(plain)
}

/// Which chunks of an attachment are there: one bit each, the lowest bit of the first byte for the first chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkMap {
    bits: Vec<u8>,
    chunks: u32,
}

impl ChunkMap {
    /// Nothing of `chunks` chunks.
    pub fn empty(chunks: u32) -> Self {
        let bits = vec![0; chunks.div_ceil(8) as usize];
        Self { bits, chunks }
    }

    /// All of `chunks` chunks.
    pub fn full(chunks: u32) -> Self {
        let mut map = Self::empty(chunks);
        (0..chunks).for_each(|number| map.set(number));
        map
    }

    /// A map from its bytes; `None` if it has not the length for `chunks`, or bits beyond the last.
    pub fn from_bytes(bits: &[u8], chunks: u32) -> Option<Self> {
        let beyond =
            (chunks..chunks.div_ceil(8) * 8).any(|n| bits.get(n as usize / 8).is_none_or(|b| b >> (n % 8) & 1 == 1));
        let fits = bits.len() == chunks.div_ceil(8) as usize && !beyond;
        fits.then(|| Self {
            bits: bits.to_vec(),
            chunks,
        })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether this chunk is there.
    pub fn has(&self, number: u32) -> bool {
        number < self.chunks && self.bits[number as usize / 8] >> (number % 8) & 1 == 1
    }

    /// This chunk is there now.
    pub fn set(&mut self, number: u32) {
        if number < self.chunks {
            self.bits[number as usize / 8] |= 1 << (number % 8);
        }
    }

    /// This chunk is not there any more.
    pub fn unset(&mut self, number: u32) {
        if number < self.chunks {
            self.bits[number as usize / 8] &= !(1 << (number % 8));
        }
    }

    /// The chunks that are not there.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.chunks).filter(|number| !self.has(*number))
    }

    /// How many are not there.
    pub fn count_missing(&self) -> u32 {
        let here: u32 = self.bits.iter().map(|byte| byte.count_ones()).sum();
        self.chunks.saturating_sub(here)
    }
}

/// A peer's signed word that it holds every chunk of an attachment on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentReceipt {
    /// The peer's signing key.
    pub peer: PublicKey,
    /// Its database.
    pub store: StoreId,
    /// The attachment.
    pub attachment: AttachmentId,
    /// When, by the peer's clock, in milliseconds since 1970.
    pub time: u64,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct WireReceiptCore(u8, PublicKey, StoreId, AttachmentId, u64);

#[derive(Serialize, Deserialize)]
struct WireReceipt(#[serde(with = "serde_bytes")] Vec<u8>, Signature);

impl AttachmentReceipt {
    /// Signs a receipt. Only to be given after every chunk was flushed to disk.
    pub fn make(signing: &SigningKey, store: StoreId, attachment: AttachmentId, time: u64) -> Self {
        let peer = signing.public();
        let core = encode(&WireReceiptCore(VERSION, peer, store, attachment, time));
        let signature = signing.sign("attachment receipt", &core);
        Self {
            peer,
            store,
            attachment,
            time,
            bytes: encode(&WireReceipt(core, signature)),
        }
    }

    /// Reads a receipt and checks its form and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let WireReceipt(core, signature) = decode_canonical(bytes)?;
        let WireReceiptCore(version, peer, store, attachment, time) = decode_canonical(&core)?;
        if version != VERSION {
            return Err(LogError::NewerVersion);
        }
        peer.verify("attachment receipt", &core, &signature)?;
        Ok(Self {
            peer,
            store,
            attachment,
            time,
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes that [`AttachmentReceipt::decode`] reads.
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{SeededRandom, padme};

    /// Seals `plain`, offered in pieces of `piece` bytes.
    fn seal(plain: &[u8], piece: usize) -> (Manifest, Secret, Vec<Vec<u8>>) {
        let mut random = SeededRandom::new(1);
        let mut sealer = ChunkSealer::new(&mut random);
        let mut boxes = Vec::new();
        for piece in plain.chunks(piece) {
            boxes.extend(sealer.push(&mut random, piece).unwrap());
        }
        while let Some(sealed) = sealer.finish(&mut random) {
            boxes.push(sealed);
        }
        let (manifest, key) = sealer.into_parts();
        (manifest, key, boxes)
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_opens_whatever_its_size() {
        for size in [
            0,
            1,
            255,
            256,
            257,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            2 * CHUNK,
            2 * CHUNK + 9,
            9 * CHUNK + 1,
        ] {
            let plain = text(size);
            for piece in [CHUNK, 100_000] {
                let (manifest, key, boxes) = seal(&plain, piece);
                assert_eq!(manifest.padded(), padme(size) as u64, "{size}");
                assert_eq!(boxes.len(), manifest.chunks() as usize, "{size}");
                let total: usize = boxes.iter().map(Vec::len).sum();
                assert_eq!(total as u64, manifest.total());
                let mut opened = Vec::new();
                for (number, sealed) in (0..).zip(&boxes) {
                    assert_eq!(sealed.len(), manifest.box_len(number));
                    assert!(manifest.is_chunk(number, sealed));
                    opened.extend_from_slice(&open_chunk(&key, &manifest, size as u64, number, sealed).unwrap());
                }
                assert!(opened == plain, "{size}");
                assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
            }
        }
    }

    #[test]
    fn a_chunk_opens_in_its_place_and_for_its_size_alone() {
        let (manifest, key, boxes) = seal(&text(2 * CHUNK), CHUNK);
        let size = 2 * CHUNK as u64;
        assert_eq!(manifest.chunks(), 2);
        assert!(open_chunk(&key, &manifest, size, 0, &boxes[0]).is_ok());
        open_chunk(&key, &manifest, size, 1, &boxes[0]).expect_err("another's place");
        open_chunk(&key, &manifest, size, 0, &boxes[1]).expect_err("another's place");
        open_chunk(&key, &manifest, size, 2, &boxes[1]).expect_err("past the end");
        open_chunk(&key, &manifest, size + 40_000, 0, &boxes[0]).expect_err("another size");
        open_chunk(&key, &manifest, u64::MAX, 0, &boxes[0]).expect_err("another size");
        open_chunk(&Secret::from([7; 32]), &manifest, size, 0, &boxes[0]).expect_err("another key");
        // Cut off after the first: whoever shortens the manifest too finds that the box says it is not the last.
        let cut = Manifest {
            padded: CHUNK as u64,
            hashes: manifest.hashes[..32].to_vec(),
        };
        open_chunk(&key, &cut, CHUNK as u64, 0, &boxes[0]).expect_err("cut off");
    }

    #[test]
    fn a_box_of_another_length_is_no_chunk_whatever_its_hash() {
        let of = |padded: u64, hashes: &[Hash]| {
            let hashes = hashes.iter().flat_map(|hash| hash.0).collect::<Vec<_>>();
            Manifest::decode(&encode(&WireManifest(1, padded, ByteBuf::from(hashes)))).unwrap()
        };
        let small = 256 + NONCE_LEN + TAG_LEN;
        for len in [0, small - 1, small + 1, CHUNK_BOX, 2 << 20] {
            let sealed = vec![7; len];
            assert!(!of(256, &[hash_chunk(&sealed)]).is_chunk(0, &sealed), "{len}");
        }
        let (full, last) = (vec![7; CHUNK_BOX], vec![7; small]);
        assert!(of(256, &[hash_chunk(&last)]).is_chunk(0, &last));
        // Of two chunks the first is full and the second is not; each length is right in its own place alone.
        let padded = padme_long(CHUNK as u64 + 1);
        let rest = vec![7; usize::try_from(padded).unwrap() - CHUNK + NONCE_LEN + TAG_LEN];
        let two = of(padded, &[hash_chunk(&full), hash_chunk(&rest)]);
        assert!(two.is_chunk(0, &full) && two.is_chunk(1, &rest));
        let turned = of(padded, &[hash_chunk(&rest), hash_chunk(&full)]);
        assert!(!turned.is_chunk(0, &rest) && !turned.is_chunk(1, &full));
        assert!(!two.is_chunk(2, &rest) && !two.is_chunk(u32::MAX, &rest));
    }

    #[test]
    fn a_manifest_is_of_one_form() {
        let (manifest, ..) = seal(&text(CHUNK + 1), CHUNK);
        let of = |padded: u64, hashes: usize| encode(&WireManifest(1, padded, ByteBuf::from(vec![0; hashes])));
        assert!(Manifest::decode(&of(manifest.padded(), 64)).is_ok());
        for (padded, hashes) in [
            (manifest.padded(), 32),
            (manifest.padded(), 96),
            (manifest.padded() + 1, 64),
            (0, 0),
            (255, 32),
            (u64::MAX, 32),
            (2 * u64::from(MAX_CHUNKS) * CHUNK as u64, 64 * MAX_CHUNKS as usize),
        ] {
            assert!(Manifest::decode(&of(padded, hashes)).is_err(), "{padded} {hashes}");
        }
        let newer = encode(&WireManifest(2, 256, ByteBuf::from(vec![0; 32])));
        assert_eq!(Manifest::decode(&newer), Err(LogError::NewerVersion));
        let largest = u64::from(MAX_CHUNKS) * CHUNK as u64;
        assert!(Manifest::decode(&of(largest, 32 * MAX_CHUNKS as usize)).is_ok());
    }

    #[test]
    fn a_map_knows_what_is_there() {
        let mut map = ChunkMap::empty(11);
        assert_eq!(map.count_missing(), 11);
        map.set(0);
        map.set(10);
        map.set(11);
        assert_eq!(map.missing().collect::<Vec<_>>(), (1..10).collect::<Vec<_>>());
        assert_eq!(ChunkMap::from_bytes(map.as_bytes(), 11), Some(map.clone()));
        assert_eq!(ChunkMap::from_bytes(&[1, 0b1000], 11), None);
        assert_eq!(ChunkMap::from_bytes(&[1], 11), None);
        assert_eq!(ChunkMap::from_bytes(&[1, 0, 0], 11), None);
        map.unset(0);
        assert!(!map.has(0) && map.has(10) && !map.has(11));
        assert_eq!(ChunkMap::full(11).count_missing(), 0);
        assert_eq!(ChunkMap::full(16).as_bytes(), [255, 255]);
    }

    #[test]
    fn a_receipt_counts_as_it_was_signed() {
        let signing = SigningKey::from_seed(&Secret::from([3; 32]));
        let receipt = AttachmentReceipt::make(&signing, StoreId([1; 16]), AttachmentId([2; 32]), 5);
        assert_eq!(AttachmentReceipt::decode(receipt.encode()), Ok(receipt.clone()));
        for place in 0..receipt.encode().len() {
            let mut bad = receipt.encode().to_vec();
            bad[place] ^= 1;
            assert!(AttachmentReceipt::decode(&bad).is_err(), "{place}");
        }
    }
}
