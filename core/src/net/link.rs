//! Linking over a stream: a ticket's secret, a short number on two screens, then the identity (docs/formats.md, section 5).

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Frames, NetError, apart};
use crate::{
    crypto::{DeviceKeys, Hash, OsRandom, PublicKey, Random, Secret, SigningKey},
    identity::{
        Body, Commit, IdentityError, IdentityId, Keys, LinkProof, LinkRole, Operation, Ticket, add_device, add_peer,
        change_orderers, consent, short_number,
    },
    sync::{Known, Message, Replica, ReplicaError},
};

/// Asks a person whether the other screen shows the same six digits. Where there is no screen it only shows them and answers yes.
pub type Confirm = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// How long a name may be, in bytes.
const MAX_NAME: usize = 255;
/// Commits in one message, and messages before an offer: an identity log of more is not taken.
const COMMITS_AT_ONCE: usize = 16;
const MAX_COMMITS: usize = 100_000;
/// Bytes of operations of an identity log that is offered: they are held in memory.
const MAX_LOG_BYTES: usize = 64 * 1024 * 1024;

/// Why a link was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The connection.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The other side said no.
    #[error("the other side refused the link: {0}")]
    Refused(String),
    /// The numbers differ, or the person said no.
    #[error("the link was declined on this side")]
    Declined,
    /// The other side does not know the secret of the code.
    #[error("the other side does not know this code")]
    WrongCode,
    /// The code is shown by something else than was asked for.
    #[error("this code is shown by {found}, not by {wanted}: a new device reads everything, a cloud peer nothing")]
    OtherRole {
        /// What shows it.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Both are devices of an identity, or neither is.
    #[error("a link joins a device that has an identity with one that has none")]
    SameRole,
    /// The other side is of this identity already.
    #[error("it is linked to this identity already: nothing was changed")]
    AlreadyLinked,
    /// This device cannot add others now.
    #[error("this device holds no identity key yet: sync first")]
    NoKey,
    /// What was sent does not hold together.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Our own store.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// This side is stopping.
    #[error("stopped")]
    Stopped,
}

/// A link whose secret was proved, and the number for both screens.
#[derive(Debug, Clone)]
pub struct Shaken {
    /// What the other side is.
    pub role: LinkRole,
    /// Its public keys.
    pub keys: Keys,
    /// Six digits, the same on both sides unless somebody stands between them.
    pub number: String,
}

/// The codes that a device or cloud peer shows now. Each is good for one link, until its time is over.
#[derive(Default)]
pub struct Invitations {
    open: Mutex<Vec<Invitation>>,
}

struct Invitation {
    secret: Secret<16>,
    expires: u64,
    used: bool,
}

/// Codes remembered, used and expired ones included, to say which of the two a late one is.
const REMEMBERED: usize = 64;

impl Invitations {
    /// A new secret that is good until `expires` (seconds since 1970).
    pub fn issue(&self, random: &mut dyn Random, expires: u64) -> Secret<16> {
        let secret = Secret::make(random);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= REMEMBERED {
            open.remove(0);
        }
        open.push(Invitation {
            secret: secret.clone(),
            expires,
            used: false,
        });
        secret
    }

    /// The secret that `begin` proves to know, at `now` (seconds since 1970). It is used up by this. The error is the reason to tell the
    /// other side.
    pub fn claim(&self, begin: &Message, now: u64) -> Result<Secret<16>, &'static str> {
        let Message::LinkBegin {
            role,
            keys,
            commitment,
            proof,
        } = begin
        else {
            return Err("wrong-code");
        };
        let role = LinkRole::from_byte(*role).ok_or("same-role")?;
        let promise = LinkProof {
            commitment: *commitment,
            proof: *proof,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let invitation = open
            .iter_mut()
            .find(|invitation| promise.proves(&invitation.secret, role, keys))
            .ok_or("wrong-code")?;
        if invitation.expires <= now {
            return Err("expired");
        }
        if std::mem::replace(&mut invitation.used, true) {
            return Err("used");
        }
        Ok(invitation.secret.clone())
    }
}

impl std::fmt::Debug for Invitations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invitations(..)")
    }
}

/// What a link made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOutcome {
    /// The identity.
    pub identity: IdentityId,
    /// The operation that added the newcomer.
    pub operation: Hash,
    /// The number that both screens showed.
    pub number: String,
    /// Whether the operation is ordered already; if not, it works tentatively.
    pub ordered: bool,
}

pub(super) fn unexpected(message: Message) -> LinkError {
    match message {
        Message::LinkRefused(reason) => LinkError::Refused(reason),
        Message::Bye(reason) => NetError::Refused(reason).into(),
        _ => NetError::Protocol("a message at the wrong time".to_owned()).into(),
    }
}

/// The dialler's half, up to the number.
///
/// # Errors
/// [`LinkError::Refused`] with the other side's reason, or what went wrong on the way.
pub async fn call(frames: &mut Frames, ticket: &Ticket, role: LinkRole, keys: Keys) -> Result<Shaken, LinkError> {
    if (role == LinkRole::Member) == (ticket.role == LinkRole::Member) {
        return Err(LinkError::SameRole);
    }
    frames.trust();
    let nonce: [u8; 32] = { (&mut OsRandom as &mut dyn Random).bytes() };
    let proof = LinkProof::make(&ticket.secret, role, &keys, &nonce);
    let begin = Message::LinkBegin {
        role: role.byte(),
        keys,
        commitment: proof.commitment,
        proof: proof.proof,
    };
    frames.send(&begin).await?;
    let (their_role, their_keys, their_nonce) = match frames.receive().await? {
        Message::LinkReply { role, keys, nonce } => (role, keys, nonce),
        other => return Err(unexpected(other)),
    };
    let their_role = LinkRole::from_byte(their_role)
        .filter(|role| *role == ticket.role)
        .ok_or(LinkError::SameRole)?;
    // The connection is to the endpoint that the ticket names; the keys it speaks of must be the same one's.
    if their_keys.2 != ticket.endpoint {
        return Err(LinkError::WrongCode);
    }
    frames.send(&Message::LinkReveal(Hash(nonce))).await?;
    let number = short_number(
        &ticket.secret,
        &proof.commitment,
        (&nonce, &keys),
        (&their_nonce.0, &their_keys),
    );
    Ok(Shaken {
        role: their_role,
        keys: their_keys,
        number,
    })
}

/// The shower's half, up to the number. `begin` is the first message that came, on a connection from `endpoint`.
pub async fn answer(
    frames: &mut Frames,
    endpoint: &PublicKey,
    begin: &Message,
    secret: &[u8; 16],
    role: LinkRole,
    keys: Keys,
) -> Result<Shaken, LinkError> {
    let Message::LinkBegin {
        role: their_role,
        keys: their_keys,
        commitment,
        proof,
    } = begin
    else {
        return Err(NetError::Protocol("a message at the wrong time".to_owned()).into());
    };
    let their_role = LinkRole::from_byte(*their_role).ok_or(LinkError::SameRole)?;
    let promise = LinkProof {
        commitment: *commitment,
        proof: *proof,
    };
    if their_keys.2 != *endpoint || !promise.proves(secret, their_role, their_keys) {
        refuse(frames, "wrong-code").await;
        return Err(LinkError::WrongCode);
    }
    if (their_role == LinkRole::Member) == (role == LinkRole::Member) {
        refuse(frames, "same-role").await;
        return Err(LinkError::SameRole);
    }
    frames.trust();
    let nonce: [u8; 32] = { (&mut OsRandom as &mut dyn Random).bytes() };
    frames
        .send(&Message::LinkReply {
            role: role.byte(),
            keys,
            nonce: Hash(nonce),
        })
        .await?;
    let revealed = match frames.receive().await? {
        Message::LinkReveal(revealed) => revealed,
        other => return Err(unexpected(other)),
    };
    if !promise.reveals(&revealed.0) {
        refuse(frames, "wrong-code").await;
        return Err(LinkError::WrongCode);
    }
    let number = short_number(secret, commitment, (&revealed.0, their_keys), (&nonce, &keys));
    Ok(Shaken {
        role: their_role,
        keys: *their_keys,
        number,
    })
}

/// Tells the other side that the link is off, and why in one of the words of docs/formats.md.
pub async fn refuse(frames: &mut Frames, reason: &str) {
    // The link fails all the same if this does not arrive.
    let _ = frames.send(&Message::LinkRefused(reason.to_owned())).await;
}

pub(super) async fn send_log(frames: &mut Frames, known: &Known, from: usize) -> Result<(), LinkError> {
    for commits in known.log.get(from..).unwrap_or_default().chunks(COMMITS_AT_ONCE) {
        let pairs = commits
            .iter()
            .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()));
        frames.send(&Message::Commits(pairs.collect())).await?;
    }
    for pending in known.pending.chunks(COMMITS_AT_ONCE) {
        frames
            .send(&Message::Operations(pending.iter().map(Operation::encode).collect()))
            .await?;
    }
    Ok(())
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, LinkError> {
    apart(work).await.map_err(|_| LinkError::Stopped)
}

/// The member's side after the number: offers the identity, takes the newcomer's consent and proposes the operation that adds it.
pub async fn welcome(
    frames: &mut Frames,
    shaken: Shaken,
    replica: &Arc<Replica>,
    keys: &DeviceKeys,
    confirm: &Confirm,
) -> Result<LinkOutcome, LinkError> {
    if !confirm(shaken.number.clone()).await {
        refuse(frames, "declined").await;
        return Err(LinkError::Declined);
    }
    let known = replica.known();
    // A cloud peer that is of the identity already may have missed the end of its first link: it is told again.
    let linked = known
        .tentative
        .peers()
        .get(&shaken.keys.0)
        .is_some_and(|peer| peer.keys == shaken.keys);
    let before = linked.then(|| adds(&known, &shaken.keys, true)).flatten();
    if before.is_none() && known.tentative.devices().contains_key(&shaken.keys.0) {
        refuse(frames, "not-possible").await;
        return Err(LinkError::AlreadyLinked);
    }
    let ring = known.key_ring(keys);
    if ring.identity_key(&known.tentative.key_id()).is_none() {
        refuse(frames, "not-possible").await;
        return Err(LinkError::NoKey);
    }
    let offered = known.log.len();
    send_log(frames, &known, 0).await?;
    frames.send(&Message::LinkOffer(replica.identity())).await?;
    let (consent, name, services) = match frames.receive().await? {
        Message::LinkConsent {
            consent,
            name,
            services,
        } => (consent, name, services),
        other => return Err(unexpected(other)),
    };
    if name.len() > MAX_NAME {
        return Err(NetError::Protocol("too long a name".to_owned()).into());
    }
    let (own, newcomer, role) = (keys.clone(), shaken.keys, shaken.role);
    let on = replica.clone();
    let operation = blocking(move || -> Result<Hash, LinkError> {
        if let Some(before) = before {
            return Ok(before);
        }
        let proposed = on.propose(&own, |by, _, _| match role {
            LinkRole::CloudPeer => Ok(add_peer(&mut OsRandom, by, newcomer, consent, services, &name)),
            LinkRole::NewDevice | LinkRole::Member => add_device(&mut OsRandom, by, newcomer, consent, &name),
        });
        Ok(proposed?)
    })
    .await??;
    let known = replica.known();
    let ordered =
        known.ordered.devices().contains_key(&shaken.keys.0) || known.ordered.peers().contains_key(&shaken.keys.0);
    send_log(frames, &known, offered).await?;
    frames.send(&Message::LinkWelcome(operation)).await?;
    match frames.receive().await? {
        Message::LinkDone => {}
        other => return Err(unexpected(other)),
    }
    if shaken.role == LinkRole::CloudPeer {
        let (on, own) = (replica.clone(), keys.clone());
        blocking(move || hand_over(&on, &own, newcomer)).await??;
    }
    Ok(LinkOutcome {
        identity: replica.identity(),
        operation,
        number: shaken.number,
        ordered,
    })
}

/// The first cloud peer takes over the ordering from the first device; only now, when it said that it has the identity on its disk: an
/// orderer that knows nothing could never be replaced.
fn hand_over(replica: &Replica, keys: &DeviceKeys, peer: Keys) -> Result<(), LinkError> {
    let known = replica.known();
    let is_device = |key| known.ordered.devices().contains_key(key);
    if !known.ordered.orderers().iter().all(is_device) {
        return Ok(());
    }
    let term = known.ordered.term() + 1;
    let proposed = replica.propose(keys, |by, _, _| {
        Ok(change_orderers(&mut OsRandom, by, term, vec![peer.0]))
    });
    match proposed.map(drop) {
        // Somebody else changed them meanwhile.
        Err(ReplicaError::Identity(IdentityError::Void(_))) => Ok(()),
        other => Ok(other?),
    }
}

/// The operation that adds `keys`, as a peer or as a device.
fn adds(known: &Known, keys: &Keys, peer: bool) -> Option<Hash> {
    let operations = known.log.iter().map(|(_, operation)| operation).chain(&known.pending);
    let adds = |operation: &&Operation| match operation.body() {
        Body::AddDevice { device, .. } => device == keys && !peer,
        Body::AddPeer { peer: added, .. } => added == keys && peer,
        _ => false,
    };
    operations.filter(adds).map(Operation::id).next()
}

/// Who joins.
pub struct Newcomer {
    /// Its signing key.
    pub signing: SigningKey,
    /// Its public keys.
    pub keys: Keys,
    /// What it is called.
    pub name: String,
    /// Where it can be reached; for cloud peers.
    pub services: Vec<String>,
    /// Whether it is a cloud peer.
    pub peer: bool,
}

/// Keeps an identity log that was checked, durably.
pub type Keep<R> = Box<dyn FnOnce(Vec<(Commit, Operation)>, Vec<Operation>) -> Result<R, ReplicaError> + Send>;

/// The newcomer's side after the number: checks the offered identity, agrees to join it, and keeps it.
pub async fn join<R: Send + 'static>(
    frames: &mut Frames,
    shaken: Shaken,
    newcomer: Newcomer,
    confirm: &Confirm,
    keep: Keep<R>,
) -> Result<(LinkOutcome, R), LinkError> {
    if !confirm(shaken.number.clone()).await {
        refuse(frames, "declined").await;
        return Err(LinkError::Declined);
    }
    let mut taken = LogTaken::default();
    let identity = loop {
        match taken.take(frames.receive().await?)? {
            None => {}
            Some(Message::LinkOffer(identity)) => break identity,
            Some(other) => return Err(unexpected(other)),
        }
    };
    let known = Known::from_log(taken.log.clone(), taken.pending.clone())?;
    // Who offers it must be a device of it: the number on both screens stands for its keys.
    let host = known.tentative.devices().get(&shaken.keys.0);
    if known.ordered.identity() != identity || host.is_none_or(|host| host.keys != shaken.keys) {
        return Err(IdentityError::OtherIdentity.into());
    }
    let consent = consent(&newcomer.signing, &identity, &newcomer.keys, newcomer.peer);
    frames
        .send(&Message::LinkConsent {
            consent,
            name: newcomer.name,
            services: newcomer.services,
        })
        .await?;
    let operation = loop {
        match taken.take(frames.receive().await?)? {
            None => {}
            Some(Message::LinkWelcome(operation)) => break operation,
            Some(other) => return Err(unexpected(other)),
        }
    };
    let LogTaken { log, mut pending, .. } = taken;
    pending.retain(|operation| !log.iter().any(|(_, ordered)| ordered.id() == operation.id()));
    let known = Known::from_log(log.clone(), pending.clone())?;
    // The operation stands in the log, and it had an effect.
    let member = if newcomer.peer {
        known.tentative.peers().get(&newcomer.keys.0).map(|peer| peer.keys)
    } else {
        known
            .tentative
            .devices()
            .get(&newcomer.keys.0)
            .map(|device| device.keys)
    };
    let adds_us = adds(&known, &newcomer.keys, newcomer.peer) == Some(operation);
    if known.ordered.identity() != identity || member != Some(newcomer.keys) || !adds_us {
        return Err(IdentityError::OtherIdentity.into());
    }
    let ordered =
        known.ordered.devices().contains_key(&newcomer.keys.0) || known.ordered.peers().contains_key(&newcomer.keys.0);
    let kept = blocking(move || keep(log, pending)).await??;
    frames.send(&Message::LinkDone).await?;
    Ok((
        LinkOutcome {
            identity,
            operation,
            number: shaken.number,
            ordered,
        },
        kept,
    ))
}

/// An identity log as it comes.
#[derive(Default)]
pub(super) struct LogTaken {
    pub log: Vec<(Commit, Operation)>,
    pub pending: Vec<Operation>,
    bytes: usize,
}

impl LogTaken {
    /// Adds a part to what came before; gives back any other message.
    pub fn take(&mut self, message: Message) -> Result<Option<Message>, LinkError> {
        match message {
            Message::Commits(pairs) => {
                for (commit, operation) in pairs {
                    self.bytes += operation.len();
                    self.log
                        .push((Commit::decode(&commit)?, Operation::decode(&operation)?));
                }
            }
            Message::Operations(operations) => {
                for operation in operations {
                    self.bytes += operation.len();
                    let operation = Operation::decode(&operation)?;
                    if !self.pending.iter().any(|known| known.id() == operation.id()) {
                        self.pending.push(operation);
                    }
                }
            }
            other => return Ok(Some(other)),
        }
        if self.log.len() + self.pending.len() > MAX_COMMITS || self.bytes > MAX_LOG_BYTES {
            return Err(NetError::Protocol("too long an identity log".to_owned()).into());
        }
        Ok(None)
    }
}
