//! Messages and their bytes (docs/formats.md, section 5).

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use crate::{
    crypto::{Bounded, Hash, PublicKey, Signature, decode, encode},
    identity::{IdentityId, Keys, MAX_SERVICES},
    log::{AttachmentId, AuthorId, Item, LogError, Range, StoreId},
};

/// The most items of a list in a message, but for State, Hello and Locate.
pub(super) const MAX_LIST: usize = 1_024;
/// The most branches in one State.
pub(super) const MAX_STATE_ITEMS: usize = 8_192;
/// The most operations that prove a membership.
pub(super) const MAX_PROOFS: usize = 8;
/// The most points in one Locate.
pub(super) const MAX_POINTS: usize = 256;
/// The most chunks that one `Fetch` asks for.
pub const MAX_FETCH: u32 = 8;
/// A bit of the features in a hello: its sender answers sessions about attachments.
pub const FEATURE_ATTACHMENTS: u64 = 1;
/// The most bytes that a frame may have after its length.
pub const MAX_FRAME: usize = 2 * 1024 * 1024;

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not of the form its kind has.
    #[error("a message of kind {0} has a wrong form")]
    Malformed(u8),
    /// No message has this kind.
    #[error("there is no message of kind {0}")]
    UnknownKind(u8),
    /// A frame without a byte in it.
    #[error("an empty frame")]
    Empty,
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Its word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn read(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons!(
    /// Why a range or an operation was not taken.
    RefuseReason {
        /// No operation knows the author.
        UnknownAuthor = "unknown-author",
        /// The sender is not of the identity.
        NotAMember = "not-a-member",
        /// The identity's bytes are used up.
        QuotaBytes = "quota-bytes",
        /// The identity's entries are used up.
        QuotaEntries = "quota-entries",
        /// Too much at once.
        Rate = "rate",
        /// The author log forked more often than is kept.
        TooManyBranches = "too-many-branches",
        /// It does not verify.
        Invalid = "invalid",
        /// Not now: the author's operation waits for its commit.
        Retry = "retry",
        /// An operation of a kind the receiver does not know.
        UpdateNeeded = "update-needed",
        /// The author's device was removed, and these entries lie beyond what counts of it.
        Removed = "removed",
        /// The receiver wants nothing of this attachment: it was erased, or it did not ask for it.
        NotWanted = "not-wanted",
        /// A section is missing that no erasure in force names, as far as the receiver knows.
        Withheld = "withheld",
    }
);

reasons!(
    /// Why a session ends.
    ByeReason {
        /// All is said.
        Done = "done",
        /// The sender's time is over.
        Deadline = "deadline",
        /// The sender's bytes are used up.
        Budget = "budget",
        /// The sender shuts down.
        ShuttingDown = "shutting-down",
        /// The receiver does not know the identity.
        UnknownIdentity = "unknown-identity",
        /// The endpoint is not of the identity.
        NotAMember = "not-a-member",
        /// Too many connections.
        Busy = "busy",
        /// The other side broke the protocol.
        Invalid = "invalid",
    }
);

/// Why a link fails.
const LINK_REFUSALS: [&str; 7] = [
    "wrong-code",
    "expired",
    "used",
    "declined",
    "same-role",
    "not-possible",
    "unknown-words",
];

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Opens a session.
    Hello {
        /// What the sender can do beyond the first version: [`FEATURE_ATTACHMENTS`]. Bits that are not known mean nothing.
        features: u64,
        /// Whose logs.
        identity: IdentityId,
        /// Over all that the sender holds.
        digest: Hash,
        /// The sender's database.
        store: StoreId,
        /// Operations that prove the sender's membership if it is not ordered yet.
        proofs: Vec<Vec<u8>>,
    },
    /// What the sender holds.
    State {
        /// How many commits.
        count: u64,
        /// The hash of the last.
        head: Option<Hash>,
        /// Ids of pending operations.
        pending: Vec<Hash>,
        /// Branches.
        items: Vec<Item>,
        /// Whether another State follows.
        more: bool,
    },
    /// Operations without a commit.
    Operations(Vec<Vec<u8>>),
    /// Commits with their operations, consecutive.
    Commits(Vec<(Vec<u8>, Vec<u8>)>),
    /// Entries.
    Range(Box<Range>),
    /// What the sender now holds on disk.
    Receipts(Vec<Vec<u8>>),
    /// What the sender did not take.
    Refused {
        /// Of which author log; `None` for operations.
        author: Option<AuthorId>,
        /// Why.
        reason: RefuseReason,
        /// For quotas, the limit.
        limit: u64,
    },
    /// Points that the sender holds of an author log: send what lies beyond the newest that you hold.
    Locate {
        /// The author log.
        author: AuthorId,
        /// Newest first.
        points: Vec<(u64, Hash)>,
    },
    /// Nothing to send now, after this many messages of the other side.
    Synced(u64),
    /// The session ends.
    Bye(ByeReason),
    /// Receipts of the receiver's that its State contradicts.
    Loss(Vec<Vec<u8>>),
    /// Heads that the receiver says it holds: the sender wants receipts for them.
    Confirm(Vec<(AuthorId, u64, Hash)>),
    /// Opens a session about attachments, and answers it.
    Attachments {
        /// Whose.
        identity: IdentityId,
        /// The sender's database.
        store: StoreId,
        /// Attachments that the sender, a device, wants and has not.
        wanted: Vec<AttachmentId>,
    },
    /// Attachments: which of these does the receiver hold?
    AskHeld(Vec<AttachmentId>),
    /// Attachments: what the sender holds of those that it was asked for.
    Held {
        /// How many chunks it lacks; `None` if it does not know the attachment.
        held: Vec<(AttachmentId, Option<u64>)>,
        /// For those that it holds whole.
        receipts: Vec<Vec<u8>>,
    },
    /// Attachments: what one is made of. Sent before chunks of it.
    Manifest(Vec<u8>),
    /// Attachments: which chunks the sender holds; it takes the others.
    Chunks {
        /// Of which.
        id: AttachmentId,
        /// A bit for each.
        map: Vec<u8>,
    },
    /// Attachments: one chunk.
    Chunk {
        /// Of which.
        id: AttachmentId,
        /// Its place, from 0.
        number: u32,
        /// Its box.
        sealed: Vec<u8>,
    },
    /// Attachments: chunks that came are on the disk.
    Stored {
        /// Of which.
        id: AttachmentId,
        /// How many of those that came.
        count: u64,
        /// Once all are there.
        receipt: Option<Vec<u8>>,
    },
    /// Attachments: the receiver is to send chunks, and the manifest first if it is asked for.
    Fetch {
        /// Of which.
        id: AttachmentId,
        /// Whether the manifest is wanted.
        manifest: bool,
        /// From which chunk on.
        from: u32,
        /// How many, at most [`MAX_FETCH`].
        count: u32,
    },
    /// Attachments: so many chunks were sent for a `Fetch`; the others are not there.
    Fetched {
        /// Of which.
        id: AttachmentId,
        /// How many.
        count: u32,
    },
    /// Attachments: what came of one was not taken.
    NotKept {
        /// Of which.
        id: AttachmentId,
        /// Why.
        reason: RefuseReason,
        /// For quotas, the limit.
        limit: u64,
    },
    /// Linking: the dialler's role, keys and promise.
    LinkBegin {
        /// See `LinkRole`.
        role: u8,
        /// The dialler's public keys.
        keys: Keys,
        /// H("link commitment", nonce).
        commitment: Hash,
        /// That it knows the ticket's secret.
        proof: Hash,
    },
    /// Linking: the shower's role, keys and nonce.
    LinkReply {
        /// See `LinkRole`.
        role: u8,
        /// The shower's public keys.
        keys: Keys,
        /// 32 random bytes.
        nonce: Hash,
    },
    /// Linking: the dialler's nonce.
    LinkReveal(Hash),
    /// Linking: the identity that the newcomer may join, after its log.
    LinkOffer(IdentityId),
    /// Linking: the newcomer wants to.
    LinkConsent {
        /// Its signature that it joins.
        consent: Signature,
        /// What it is called.
        name: String,
        /// Where it can be reached; for cloud peers.
        services: Vec<String>,
    },
    /// Linking: the operation that adds it, sent before.
    LinkWelcome(Hash),
    /// Linking failed.
    LinkRefused(String),
    /// Linking: the newcomer stored what it needs.
    LinkDone,
    /// Recovery: the dialler holds the words of an identity, and wants its log.
    Recover {
        /// The public key that the words give.
        recovery: PublicKey,
        /// Made with it over both endpoints.
        signature: Signature,
    },
}

const VERSION: u64 = 1;

fn buffers<const N: usize>(list: &[Vec<u8>]) -> Bounded<ByteBuf, N> {
    Bounded(list.iter().cloned().map(ByteBuf::from).collect())
}

fn vectors<const N: usize>(list: Bounded<ByteBuf, N>) -> Vec<Vec<u8>> {
    list.0.into_iter().map(ByteBuf::into_vec).collect()
}

/// A list of byte strings, as several kinds of message have.
type Buffers = (Bounded<ByteBuf, MAX_LIST>,);

#[derive(Serialize, Deserialize)]
struct WireHello(u64, u64, IdentityId, Hash, StoreId, Bounded<ByteBuf, MAX_PROOFS>);
#[derive(Serialize, Deserialize)]
struct WireState(
    u64,
    Option<Hash>,
    Bounded<Hash, MAX_LIST>,
    Bounded<Item, MAX_STATE_ITEMS>,
    bool,
);
#[derive(Serialize, Deserialize)]
struct WireRefused(Option<AuthorId>, String, u64);

impl Message {
    /// Its kind byte.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 0,
            Self::State { .. } => 1,
            Self::Operations(_) => 2,
            Self::Commits(_) => 3,
            Self::Range(_) => 4,
            Self::Receipts(_) => 5,
            Self::Refused { .. } => 6,
            Self::Locate { .. } => 7,
            Self::Synced(_) => 8,
            Self::Bye(_) => 9,
            Self::Loss(_) => 10,
            Self::Confirm(_) => 11,
            Self::Attachments { .. } => 48,
            Self::AskHeld(_) => 49,
            Self::Held { .. } => 50,
            Self::Manifest(_) => 51,
            Self::Chunks { .. } => 52,
            Self::Chunk { .. } => 53,
            Self::Stored { .. } => 54,
            Self::Fetch { .. } => 55,
            Self::Fetched { .. } => 56,
            Self::NotKept { .. } => 57,
            Self::LinkBegin { .. } => 32,
            Self::LinkReply { .. } => 33,
            Self::LinkReveal(_) => 34,
            Self::LinkOffer(_) => 35,
            Self::LinkConsent { .. } => 36,
            Self::LinkWelcome(_) => 37,
            Self::LinkRefused(_) => 38,
            Self::LinkDone => 39,
            Self::Recover { .. } => 40,
        }
    }

    /// A whole frame: length, kind, body.
    pub fn to_frame(&self) -> Vec<u8> {
        let body = self.body();
        let length = u32::try_from(body.len() + 1).expect("messages are far below 4 GiB");
        [&length.to_be_bytes()[..], &[self.kind()], &body].concat()
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Hello {
                features,
                identity,
                digest,
                store,
                proofs,
            } => encode(&WireHello(
                VERSION,
                *features,
                *identity,
                *digest,
                *store,
                buffers(proofs),
            )),
            Self::State {
                count,
                head,
                pending,
                items,
                more,
            } => encode(&WireState(
                *count,
                *head,
                Bounded(pending.clone()),
                Bounded(items.clone()),
                *more,
            )),
            Self::Operations(list) | Self::Receipts(list) | Self::Loss(list) => encode::<Buffers>(&(buffers(list),)),
            Self::Commits(list) => {
                let pairs: Vec<(ByteBuf, ByteBuf)> = list
                    .iter()
                    .map(|(a, b)| (ByteBuf::from(a.clone()), ByteBuf::from(b.clone())))
                    .collect();
                encode(&(pairs,))
            }
            Self::Range(range) => range.encode(),
            Self::Refused { author, reason, limit } => {
                encode(&WireRefused(*author, reason.as_str().to_owned(), *limit))
            }
            Self::Locate { author, points } => encode(&(author, points)),
            Self::Synced(received) => encode(&(received,)),
            Self::Confirm(heads) => encode(&(heads,)),
            Self::Attachments {
                identity,
                store,
                wanted,
            } => encode(&(VERSION, identity, store, wanted)),
            Self::AskHeld(ids) => encode(&(ids,)),
            Self::Held { held, receipts } => encode(&(held, buffers::<MAX_LIST>(receipts))),
            Self::Manifest(bytes) => encode(&(Bytes::new(bytes),)),
            Self::Chunks { id, map } => encode(&(id, Bytes::new(map))),
            Self::Chunk { id, number, sealed } => encode(&(id, number, Bytes::new(sealed))),
            Self::Stored { id, count, receipt } => encode(&(id, count, receipt.as_deref().map(Bytes::new))),
            Self::Fetch {
                id,
                manifest,
                from,
                count,
            } => encode(&(id, manifest, from, count)),
            Self::Fetched { id, count } => encode(&(id, count)),
            Self::NotKept { id, reason, limit } => encode(&(id, reason.as_str(), limit)),
            Self::Bye(reason) => encode(&(reason.as_str(),)),
            Self::LinkBegin {
                role,
                keys,
                commitment,
                proof,
            } => encode(&(role, keys, commitment, proof)),
            Self::LinkReply { role, keys, nonce } => encode(&(role, keys, nonce)),
            Self::LinkReveal(hash) | Self::LinkWelcome(hash) => encode(&(hash,)),
            Self::LinkOffer(identity) => encode(&(identity,)),
            Self::LinkConsent {
                consent,
                name,
                services,
            } => encode(&(consent, name, services)),
            Self::LinkRefused(reason) => encode(&(reason,)),
            Self::LinkDone => encode::<[u8; 0]>(&[]),
            Self::Recover { recovery, signature } => encode(&(recovery, signature)),
        }
    }

    /// Reads what stands in a frame after its length.
    pub fn decode(frame: &[u8]) -> Result<Self, MessageError> {
        let (&kind, body) = frame.split_first().ok_or(MessageError::Empty)?;
        Self::decode_body(kind, body).map_err(|error| {
            if matches!(error, MessageError::UnknownKind(_)) {
                error
            } else {
                MessageError::Malformed(kind)
            }
        })
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Self, MessageError> {
        Ok(match kind {
            0 => {
                let WireHello(version, features, identity, digest, store, proofs) = decode(body)?;
                if version != VERSION {
                    return Err(MessageError::Malformed(kind));
                }
                Self::Hello {
                    features,
                    identity,
                    digest,
                    store,
                    proofs: vectors(proofs),
                }
            }
            1 => {
                let WireState(count, head, pending, items, more) = decode(body)?;
                let (pending, items) = (pending.0, items.0);
                Self::State {
                    count,
                    head,
                    pending,
                    items,
                    more,
                }
            }
            2 => Self::Operations(vectors(decode::<Buffers>(body)?.0)),
            3 => {
                let (pairs,): (Bounded<(ByteBuf, ByteBuf), MAX_LIST>,) = decode(body)?;
                Self::Commits(pairs.0.into_iter().map(|(a, b)| (a.into_vec(), b.into_vec())).collect())
            }
            4 => Self::Range(Box::new(Range::decode(body)?)),
            5 => Self::Receipts(vectors(decode::<Buffers>(body)?.0)),
            6 => {
                let WireRefused(author, reason, limit) = decode(body)?;
                let reason = RefuseReason::read(&reason).ok_or(MessageError::Malformed(kind))?;
                Self::Refused { author, reason, limit }
            }
            7 => {
                let (author, points): (_, Bounded<_, MAX_POINTS>) = decode(body)?;
                Self::Locate {
                    author,
                    points: points.0,
                }
            }
            8 => Self::Synced(decode::<(u64,)>(body)?.0),
            9 => {
                let (reason,): (String,) = decode(body)?;
                Self::Bye(ByeReason::read(&reason).ok_or(MessageError::Malformed(kind))?)
            }
            10 => Self::Loss(vectors(decode::<Buffers>(body)?.0)),
            11 => Self::Confirm(decode::<(Bounded<_, MAX_LIST>,)>(body)?.0.0),
            48 => {
                let (version, identity, store, wanted): (u64, _, _, Bounded<_, MAX_LIST>) = decode(body)?;
                if version != VERSION {
                    return Err(MessageError::Malformed(kind));
                }
                Self::Attachments {
                    identity,
                    store,
                    wanted: wanted.0,
                }
            }
            49 => Self::AskHeld(decode::<(Bounded<_, MAX_LIST>,)>(body)?.0.0),
            50 => {
                let (held, receipts): (Bounded<_, MAX_LIST>, Bounded<ByteBuf, MAX_LIST>) = decode(body)?;
                Self::Held {
                    held: held.0,
                    receipts: vectors(receipts),
                }
            }
            51 => Self::Manifest(decode::<(ByteBuf,)>(body)?.0.into_vec()),
            52 => {
                let (id, map): (_, ByteBuf) = decode(body)?;
                let map = map.into_vec();
                Self::Chunks { id, map }
            }
            53 => {
                let (id, number, sealed): (_, _, ByteBuf) = decode(body)?;
                let sealed = sealed.into_vec();
                Self::Chunk { id, number, sealed }
            }
            54 => {
                let (id, count, receipt): (_, _, Option<ByteBuf>) = decode(body)?;
                let receipt = receipt.map(ByteBuf::into_vec);
                Self::Stored { id, count, receipt }
            }
            55 => {
                let (id, manifest, from, count) = decode(body)?;
                Self::Fetch {
                    id,
                    manifest,
                    from,
                    count,
                }
            }
            56 => {
                let (id, count) = decode(body)?;
                Self::Fetched { id, count }
            }
            57 => {
                let (id, reason, limit): (_, String, _) = decode(body)?;
                let reason = RefuseReason::read(&reason).ok_or(MessageError::Malformed(kind))?;
                Self::NotKept { id, reason, limit }
            }
            32 => {
                let (role, keys, commitment, proof) = decode(body)?;
                Self::LinkBegin {
                    role,
                    keys,
                    commitment,
                    proof,
                }
            }
            33 => {
                let (role, keys, nonce) = decode(body)?;
                Self::LinkReply { role, keys, nonce }
            }
            34 => Self::LinkReveal(decode::<(Hash,)>(body)?.0),
            35 => Self::LinkOffer(decode::<(IdentityId,)>(body)?.0),
            36 => {
                let (consent, name, services): (_, _, Bounded<_, MAX_SERVICES>) = decode(body)?;
                Self::LinkConsent {
                    consent,
                    name,
                    services: services.0,
                }
            }
            37 => Self::LinkWelcome(decode::<(Hash,)>(body)?.0),
            38 => {
                // It is shown to people and written into logs: the words of the format, nothing that a stranger thought of.
                let (reason,): (String,) = decode(body)?;
                if !LINK_REFUSALS.contains(&reason.as_str()) {
                    return Err(MessageError::Malformed(kind));
                }
                Self::LinkRefused(reason)
            }
            39 => {
                let [] = decode::<[u8; 0]>(body)?;
                Self::LinkDone
            }
            40 => {
                let (recovery, signature) = decode(body)?;
                Self::Recover { recovery, signature }
            }
            _ => return Err(MessageError::UnknownKind(kind)),
        })
    }
}

impl From<crate::crypto::CborError> for MessageError {
    fn from(_: crate::crypto::CborError) -> Self {
        Self::Malformed(0)
    }
}

impl From<LogError> for MessageError {
    fn from(_: LogError) -> Self {
        Self::Malformed(0)
    }
}
