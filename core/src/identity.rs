//! Who a person is: the DID, the signed log of operations behind it, and the keys that follow from it.
//!
//! Everything here is a pure function of the log and of what the caller passes in. Every device and peer that has the same
//! commits computes the same [`State`], and an orderer can delay or reorder operations but never forge one.

mod address;
mod commit;
mod did;
mod keyring;
mod link;
mod matrix;
mod operation;
mod propose;
mod recovery;
mod state;

pub use address::PeerAddress;
pub use commit::{Commit, CommitCore};
pub(crate) use did::cid_of;
pub use did::{did, did_document, did_document_cbor, parse_did};
pub use keyring::{KeyRing, Standing, Stream};
pub use link::{LinkProof, LinkRole, Ticket, TicketError, short_number};
pub use matrix::CodeMatrix;
pub use operation::{
    Body, Cutoff, ErasedSection, Keys, MAX_OPERATION, MAX_SERVICES, MAX_VOTES, OpNonce, Operation, OperationCore,
    PeersPart, RecoveryKeys, SealedPart, Votes, WrappedKey, consent, vote,
};
pub use propose::{
    ErasedDocuments, MAX_TARGETS, Proposer, add_device, add_peer, cancel_erase, change_orderers,
    change_orderers_by_vote, erase, erase_documents, genesis, heal, mark_time, new_epochs, raise_cutoff, remove_device,
    remove_peer, rename_device, rewrap, rotate_recovery, streams, votes_for,
};
pub use recovery::RecoverySecret;
pub use state::{Device, ERASURE_AFTER, Erasure, Peer, Precedence, Removed, RemovedPeer, State, Verdict, VoidReason};

use crate::crypto::{CborError, CryptoError, bytes_id};

bytes_id!(
    /// An identity: the BLAKE3 hash of its genesis, which its DID spells as a CID.
    IdentityId,
    32
);
bytes_id!(
    /// A stream: 32 random bytes.
    StreamId,
    32
);
bytes_id!(
    /// A stream's epoch: a commitment to its key.
    EpochId,
    32
);
bytes_id!(
    /// A document: 16 random bytes. An `Erase` names it to the members.
    DocumentId,
    16
);

/// Why a commit or an operation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are not what the format says.
    #[error("the identity log holds bytes of a wrong form: {0}")]
    Malformed(#[from] CborError),
    /// A signature or a sealed part is not right.
    #[error("the identity log does not verify: {0}")]
    Crypto(#[from] CryptoError),
    /// A commit does not fit where it stands.
    #[error("commit {index} does not fit: {what}")]
    BadCommit {
        /// The index the commit claims.
        index: u64,
        /// Which field is wrong.
        what: &'static str,
    },
    /// Two different commits signed for one place: an orderer told two stories.
    #[error("commit {index} exists in two versions: an orderer equivocates")]
    Equivocation {
        /// The place.
        index: u64,
    },
    /// A part of an operation is missing, or not the one that its proposer signed the hash of.
    #[error("a part of an operation was changed or left out on the way")]
    BadPart,
    /// An operation of another identity.
    #[error("the operation belongs to another identity")]
    OtherIdentity,
    /// An operation larger than [`MAX_OPERATION`].
    #[error("the operation has {size} bytes, more than {MAX_OPERATION}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// As many operations wait for their commit as are kept.
    #[error("as many operations wait for their order as are kept: sync with the cloud peer first")]
    TooManyPending,
    /// The identity log is as long as is kept.
    #[error("the identity log is as long as is kept: no operation is taken any more")]
    LogFull,
    /// An operation of a kind this version does not know: it must be updated before it can follow the identity.
    #[error("the identity log holds an operation of a kind this version does not know: update needed")]
    UpdateNeeded,
    /// This device holds no identity key.
    #[error("this device holds no identity key yet: sync first")]
    NoKey,
    /// The words are not those of the identity.
    #[error("these words do not belong here: they were changed since, or belong to another identity")]
    OtherWords,
    /// The operation has no effect where it would stand.
    #[error("the operation has no effect: {0}")]
    Void(VoidReason),
}
