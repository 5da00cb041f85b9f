//! The identity's devices and cloud peers, and its recovery words, as they cross.
//!
//! Words cross as text. What is ours of it is wiped after use; the platform's own strings are not ours to wipe: its runtime keeps them as long
//! as it likes.

use std::sync::Arc;

use rhizome::{Pod, crypto::PublicKey};
use zeroize::Zeroizing;

use crate::{
    CancelHandle, PodHandle, PodOptions, RhizomeError, SecretKeeper,
    pod::options,
    runtime::{ask, instant, run},
};

/// A device or cloud peer of the identity.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Member {
    /// Its signing key.
    pub key: String,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer, which reads nothing.
    pub cloud: bool,
    /// Whether it is this device.
    pub this_device: bool,
    /// Whether it puts the identity's operations in order.
    pub orders: bool,
    /// Whether its membership is ordered; if not, it is tentative.
    pub ordered: bool,
}

/// A device that was removed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct RemovedMember {
    /// Its signing key.
    pub key: String,
    /// What the person called it.
    pub name: Option<String>,
    /// Entries of it that are kept here and not shown: made after it was removed, or not seen by whoever removed it.
    pub kept: u64,
    /// Whether the removal is ordered; if not, it is tentative.
    pub ordered: bool,
}

/// Who is of the identity, and who was.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Members {
    /// Devices, then cloud peers, by signing key.
    pub members: Vec<Member>,
    /// Devices that were removed.
    pub removed: Vec<RemovedMember>,
    /// From when on other recovery words count that a device proposed, in milliseconds since 1970.
    pub words_change_at: Option<u64>,
}

impl From<rhizome::Members> for Members {
    fn from(members: rhizome::Members) -> Self {
        let member = |member: rhizome::Member| Member {
            key: member.key.to_string(),
            name: member.name,
            cloud: member.cloud,
            this_device: member.this,
            orders: member.orders,
            ordered: member.ordered,
        };
        let removed = |member: rhizome::RemovedMember| RemovedMember {
            key: member.key.to_string(),
            name: member.name,
            kept: member.kept,
            ordered: member.ordered,
        };
        Self {
            members: members.members.into_iter().map(member).collect(),
            removed: members.removed.into_iter().map(removed).collect(),
            words_change_at: members.words_change_at,
        }
    }
}

/// How far a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ProposalState {
    /// It waits for its order. On this device it counts already.
    Tentative,
    /// It is put in order, and counts everywhere.
    Ordered,
    /// Something else came before it: it has no effect.
    Void,
    /// It is not known here.
    Unknown,
}

impl From<rhizome::ProposalState> for ProposalState {
    fn from(state: rhizome::ProposalState) -> Self {
        match state {
            rhizome::ProposalState::Tentative => Self::Tentative,
            rhizome::ProposalState::Ordered => Self::Ordered,
            rhizome::ProposalState::Void => Self::Void,
            rhizome::ProposalState::Unknown => Self::Unknown,
        }
    }
}

fn member_key(key: &str) -> Result<PublicKey, RhizomeError> {
    PublicKey::from_hex(key).ok_or_else(|| {
        RhizomeError::invalid(
            "id",
            "this is not the key of a device or cloud peer: one is 64 hexadecimal digits",
        )
    })
}

fn address(peer: &str) -> Result<rhizome::PeerAddress, RhizomeError> {
    rhizome::PeerAddress::parse(peer).ok_or_else(|| {
        RhizomeError::invalid(
            "address",
            "a cloud peer's address is written KEY@host:port, or is a code that it shows",
        )
    })
}

fn joined(words: Vec<String>) -> Zeroizing<String> {
    let words: Vec<Zeroizing<String>> = words.into_iter().map(Zeroizing::new).collect();
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    Zeroizing::new(words.join(" "))
}

/// New recovery words, which are nothing to anybody yet: to be shown, and asked for (see `QuizHandle`), before they are let count. Instant.
#[uniffi::export]
pub fn new_words() -> Vec<String> {
    rhizome::Pod::new_words().split(' ').map(str::to_owned).collect()
}

/// What moved in from a pod of another identity.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TakenIn {
    /// Documents that are here now and were not before.
    pub documents: u64,
    /// Events of the applications' own.
    pub events: u64,
}

/// The newest DID document in the file of an identity, as JSON; everything in it is verified. Instant.
#[uniffi::export]
pub fn resolve_did(did: String, file: Vec<u8>) -> Result<String, RhizomeError> {
    instant(|| {
        let resolved = rhizome::resolve(&did, &file, rhizome::Version::Latest);
        let resolved = resolved.map_err(|error| RhizomeError::invalid("did", error.to_string()))?;
        Ok(resolved.document.to_string())
    })
}

/// The address of a cloud peer, `KEY@host:port`, to be kept beside the words: out of a code that the peer shows, or as it is written. Instant.
#[uniffi::export]
pub fn peer_address(text: String) -> Result<String, RhizomeError> {
    instant(|| Ok(address(&text)?.to_string()))
}

/// Brings an identity back on an empty device with nothing but its 24 words and its cloud peer at `peer`: this becomes a new device, named
/// `name`. Everything that the cloud peer holds comes with the next sync. Async.
#[uniffi::export]
pub async fn recover_pod(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    name: String,
    words: String,
    peer: String,
    cancel: Option<Arc<CancelHandle>>,
) -> Result<Arc<PodHandle>, RhizomeError> {
    let words = Zeroizing::new(words);
    let (opts, peer) = (options(&pod, keeper)?, address(&peer)?);
    run(cancel, async move {
        let pod = Pod::recover(pod.path, opts, &name, &words, &peer).await?;
        Ok::<_, rhizome::Error>(Arc::new(PodHandle(pod)))
    })
    .await
}

/// Opens a folder whose device secret is gone, with the 24 words, and gives the keeper the secret again. Async.
#[uniffi::export]
pub async fn recover_folder(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    words: String,
    cancel: Option<Arc<CancelHandle>>,
) -> Result<Arc<PodHandle>, RhizomeError> {
    let words = Zeroizing::new(words);
    let opts = options(&pod, keeper)?;
    run(cancel, async move {
        let pod = Pod::recover_folder(pod.path, opts, &words).await?;
        Ok::<_, rhizome::Error>(Arc::new(PodHandle(pod)))
    })
    .await
}

#[uniffi::export]
impl PodHandle {
    /// The identity's devices and cloud peers, and those that were removed. Async.
    pub async fn members(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Members, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move { pod.members().await.map(Members::from) }).await
    }

    /// Removes a device; gives the proposal's id. Nothing that is written from here on by a device that knows of it can be read by the removed
    /// one, and nothing that it writes counts. It keeps, and can read, what it had until then. Async.
    pub async fn remove_device(
        &self,
        device: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<String, RhizomeError> {
        let (pod, device) = (self.0.clone(), member_key(&device)?);
        propose(cancel, async move { pod.remove_device(device).await }).await
    }

    /// Removes a cloud peer; gives the proposal's id. It keeps what it stored, and could never read it. Async.
    pub async fn remove_peer(&self, peer: String, cancel: Option<Arc<CancelHandle>>) -> Result<String, RhizomeError> {
        let (pod, peer) = (self.0.clone(), member_key(&peer)?);
        propose(cancel, async move { pod.remove_peer(peer).await }).await
    }

    /// Calls a device or cloud peer something else; gives the proposal's id. Async.
    pub async fn rename(
        &self,
        member: String,
        name: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<String, RhizomeError> {
        let (pod, member) = (self.0.clone(), member_key(&member)?);
        propose(cancel, async move { pod.rename(member, &name).await }).await
    }

    /// Lets count what is kept here of a removed device; gives the proposal's id, none if there is nothing to let count. Async.
    pub async fn readmit_entries(
        &self,
        device: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Option<String>, RhizomeError> {
        let (pod, device) = (self.0.clone(), member_key(&device)?);
        ask(cancel, async move {
            let proposal = pod.readmit_entries(device).await?;
            Ok::<_, rhizome::Error>(proposal.map(|id| id.to_string()))
        })
        .await
    }

    /// Asks the present orderer to let another device or cloud peer put operations in order from here on; gives the proposal's id. Async.
    pub async fn hand_over(&self, orderer: String, cancel: Option<Arc<CancelHandle>>) -> Result<String, RhizomeError> {
        let (pod, orderer) = (self.0.clone(), member_key(&orderer)?);
        propose(cancel, async move { pod.hand_over(orderer).await }).await
    }

    /// As [`PodHandle::hand_over`] where the present orderer is lost: this device votes, and once most devices have, it is done. Async.
    pub async fn vote_for_orderer(
        &self,
        orderer: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<String, RhizomeError> {
        let (pod, orderer) = (self.0.clone(), member_key(&orderer)?);
        propose(cancel, async move { pod.vote_for_orderer(orderer).await }).await
    }

    /// How far a proposal is. Instant.
    pub fn proposal(&self, id: String) -> Result<ProposalState, RhizomeError> {
        instant(|| {
            let id = rhizome::Proposal::from_hex(&id).ok_or_else(|| {
                RhizomeError::invalid("id", "this is not the id of a proposal: one is 64 hexadecimal digits")
            })?;
            Ok(self.0.proposal(id)?.into())
        })
    }

    /// Proposes that `new` words (see `new_words`) are the recovery words; gives the proposal's id. They count 72 hours after it is ordered;
    /// until then the present ones do, and can call it off. Async.
    pub async fn change_words(
        &self,
        new: Vec<String>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<String, RhizomeError> {
        let (pod, new) = (self.0.clone(), joined(new));
        propose(cancel, async move { pod.change_words(&new).await }).await
    }

    /// As [`PodHandle::change_words`], by the present words: the new ones count at once, and the present ones never again. Async.
    pub async fn change_words_at_once(
        &self,
        words: String,
        new: Vec<String>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<(), RhizomeError> {
        let (pod, words, new) = (self.0.clone(), Zeroizing::new(words), joined(new));
        run(cancel, async move { pod.change_words_at_once(&words, &new).await }).await
    }

    /// Takes everything in that was written in `other`, a pod of another identity on this device: for a person who wrote first and linked their
    /// other devices later. What is here already is left as it is, so it can be called again. Async.
    pub async fn take_in(
        &self,
        other: Arc<PodHandle>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<TakenIn, RhizomeError> {
        let (pod, other) = (self.0.clone(), other.0.clone());
        run(cancel, async move {
            let taken = pod.take_in(&other).await?;
            Ok::<_, rhizome::Error>(TakenIn {
                documents: taken.documents,
                events: taken.events,
            })
        })
        .await
    }

    /// The public part of the identity log, as a CAR file: whoever has it resolves the DID, asking nobody. Instant.
    pub fn export_identity(&self) -> Result<Vec<u8>, RhizomeError> {
        instant(|| Ok(self.0.export_identity()?))
    }

    /// Takes the identity back from `thieves`, devices of it that are in somebody else's hands, by the present words: they and every device
    /// that they let in are removed, whom they removed comes back, and other words that a device proposed are called off. Async.
    pub async fn take_back(
        &self,
        words: String,
        thieves: Vec<String>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<(), RhizomeError> {
        let (pod, words) = (self.0.clone(), Zeroizing::new(words));
        let thieves = thieves
            .iter()
            .map(|key| member_key(key))
            .collect::<Result<Vec<_>, _>>()?;
        run(cancel, async move { pod.take_back(&words, &thieves).await }).await
    }
}

async fn propose(
    cancel: Option<Arc<CancelHandle>>,
    work: impl Future<Output = Result<rhizome::Proposal, rhizome::Error>> + Send + 'static,
) -> Result<String, RhizomeError> {
    ask(cancel, async move { work.await.map(|id| id.to_string()) }).await
}

/// Asks for three of the words, by their places: whoever wrote them down can say them.
#[derive(Debug, uniffi::Object)]
pub struct QuizHandle(rhizome::WordsQuiz);

#[uniffi::export]
impl QuizHandle {
    /// Asks for three of `words`. Instant.
    #[uniffi::constructor]
    pub fn new(words: Vec<String>) -> Arc<Self> {
        Arc::new(Self(rhizome::WordsQuiz::new(&joined(words))))
    }

    /// The places asked for, from 1 to 24, lowest first. Instant.
    pub fn places(&self) -> Vec<u32> {
        self.0
            .places()
            .iter()
            .map(|&place| u32::try_from(place).unwrap_or(0))
            .collect()
    }

    /// Whether these are the words in those places. Letter case and white space around them do not matter. Instant.
    pub fn is_right(&self, answers: Vec<String>) -> bool {
        let answers: Vec<Zeroizing<String>> = answers.into_iter().map(Zeroizing::new).collect();
        match answers.as_slice() {
            [one, two, three] => self.0.is_right([one, two, three]),
            _ => false,
        }
    }
}
