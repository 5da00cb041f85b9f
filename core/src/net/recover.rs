//! Coming back by the 24 words: whoever holds them is given the identity's log, and makes a new device with it (docs/formats.md, section 5).

use std::sync::Arc;

use super::{
    Frames, LinkError,
    link::{LogTaken, refuse, send_log, unexpected},
};
use crate::{
    crypto::{PublicKey, SigningKey},
    identity::{IdentityError, IdentityId, Operation, RecoveryKeys, RecoverySecret},
    sync::{Known, Message, Replica},
};

fn proof(peer: &PublicKey, own: &PublicKey) -> Vec<u8> {
    [peer.0, own.0].concat()
}

/// Whether `message` asks for the log of an identity by its words, on a connection between these endpoints; and with which key.
fn asks_to_recover(message: &Message, peer: &PublicKey, dialler: &PublicKey) -> Option<PublicKey> {
    let Message::Recover { recovery, signature } = message else {
        return None;
    };
    // Both endpoints are proved by the connection: said again elsewhere it proves nothing.
    let proved = recovery.verify("recover", &proof(peer, dialler), signature);
    proved.is_ok().then_some(*recovery)
}

/// Whether `recovery` is the key that the words of this identity give now, or will once their time comes.
fn has_words(replica: &Replica, recovery: &PublicKey) -> bool {
    let state = &replica.known().ordered;
    let next = state.next_recovery().map(|(next, _)| next);
    let keys = [Some(state.recovery()), next];
    keys.into_iter().flatten().any(|keys: RecoveryKeys| keys.0 == *recovery)
}

/// The side that is asked: `begin` came on a connection between these endpoints; the words may be those of any of `replicas`.
pub async fn answer_recovery(
    frames: &mut Frames,
    begin: &Message,
    own: &PublicKey,
    dialler: &PublicKey,
    replicas: &[Arc<Replica>],
) -> Result<IdentityId, LinkError> {
    let recovery = asks_to_recover(begin, own, dialler);
    let found = recovery.and_then(|recovery| replicas.iter().find(|replica| has_words(replica, &recovery)));
    let Some(replica) = found else {
        refuse(frames, "unknown-words").await;
        return Err(LinkError::Refused("unknown-words".to_owned()));
    };
    frames.trust();
    send_log(frames, &replica.known(), 0).await?;
    frames.send(&Message::LinkOffer(replica.identity())).await?;
    match frames.receive().await? {
        Message::LinkDone => Ok(replica.identity()),
        other => Err(unexpected(other)),
    }
}

/// The side that has the words, whose endpoint is `own`: gets the log of their identity from `peer`, checked. `now` is the clock, in
/// milliseconds since 1970: words that a device proposed are the words once their time has come.
pub async fn ask_for_log(
    frames: &mut Frames,
    words: &RecoverySecret,
    peer: &PublicKey,
    own: &PublicKey,
    now: u64,
) -> Result<(Known, Vec<Operation>), LinkError> {
    frames.trust();
    let signing: SigningKey = words.signing();
    let recovery = signing.public();
    let signature = signing.sign("recover", &proof(peer, own));
    frames.send(&Message::Recover { recovery, signature }).await?;
    let mut log = LogTaken::default();
    let identity = loop {
        match log.take(frames.receive().await?)? {
            None => {}
            Some(Message::LinkOffer(identity)) => break identity,
            Some(other) => return Err(unexpected(other)),
        }
    };
    let pending = log.pending.clone();
    let known = Known::from_log_at(log.log, log.pending, now)?;
    if known.ordered.identity() != identity {
        return Err(IdentityError::OtherIdentity.into());
    }
    if known.ordered.recovery_at(now) != words.public() {
        return Err(IdentityError::OtherWords.into());
    }
    frames.send(&Message::LinkDone).await?;
    Ok((known, pending))
}
