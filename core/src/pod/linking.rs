//! Adding devices and cloud peers to the identity of this pod.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Pod,
    running::{Running, lock},
};
use crate::{
    crypto::{OsRandom, PublicKey, Secret},
    error::Error,
    identity::{Keys, LinkRole, Ticket},
    net::{Confirm, Frames, Invitations, LinkError, LinkOutcome, NetError, answer, call, refuse, welcome},
    sync::Message,
};

/// A person compares two numbers within this time.
const LINK_WITHIN: Duration = Duration::from_secs(180);
const DIAL_WITHIN: Duration = Duration::from_secs(15);

/// A code that this device shows, until a new device used it or its time is over.
pub struct Invite {
    /// The code.
    pub ticket: Ticket,
    outcome: oneshot::Receiver<Result<LinkOutcome, LinkError>>,
    expires_in: Duration,
}

impl Invite {
    /// Waits until somebody linked with the code, or its time is over.
    pub async fn finished(self) -> Result<LinkOutcome, Error> {
        match tokio::time::timeout(self.expires_in + LINK_WITHIN, self.outcome).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(Error::Suspended),
            Err(_) => Err(Error::Network(NetError::Deadline)),
        }
    }
}

struct Pending {
    secret: Secret<16>,
    confirm: Confirm,
    done: oneshot::Sender<Result<LinkOutcome, LinkError>>,
}

/// The codes that this pod shows now.
#[derive(Default)]
pub(super) struct PendingInvites {
    invitations: Invitations,
    pending: Mutex<Vec<Pending>>,
}

impl Pod {
    /// A code that a new device scans to join this identity. `confirm` asks the person whether both screens show the same number.
    pub async fn invite(&self, expires_in: Duration, confirm: Confirm) -> Result<Invite, Error> {
        let running = self.running()?;
        let net = running.net().await?;
        let expires = (running.options.clock)() / 1000 + expires_in.as_secs();
        let secret = running.invites.invitations.issue(&mut OsRandom, expires);
        let (done, outcome) = oneshot::channel();
        lock(&running.invites.pending).push(Pending {
            secret: secret.clone(),
            confirm,
            done,
        });
        let ticket = Ticket {
            role: LinkRole::Member,
            endpoint: net.id(),
            addresses: net.addresses(),
            secret,
            expires,
        };
        Ok(Invite {
            ticket,
            outcome,
            expires_in,
        })
    }

    /// Links the cloud peer that shows `code` to this identity: it will store what it cannot read. Works at once even while whoever orders
    /// operations is away; then it is tentative until they are met.
    ///
    /// # Errors
    /// [`LinkError::OtherRole`] if a new device shows the code: that one would read everything.
    pub async fn link(&self, code: &str, confirm: Confirm) -> Result<LinkOutcome, Error> {
        self.link_as(LinkRole::CloudPeer, code, confirm).await
    }

    /// Lets the new device that shows `code` into this identity: it will read everything. Otherwise as [`Pod::link`].
    pub async fn link_device(&self, code: &str, confirm: Confirm) -> Result<LinkOutcome, Error> {
        self.link_as(LinkRole::NewDevice, code, confirm).await
    }

    async fn link_as(&self, wanted: LinkRole, code: &str, confirm: Confirm) -> Result<LinkOutcome, Error> {
        let running = self.running()?;
        let ticket = Ticket::parse_at(code, (running.options.clock)() / 1000)?;
        if ticket.role != wanted {
            let (found, wanted) = (ticket.role.words(), wanted.words());
            return Err(LinkError::OtherRole { found, wanted }.into());
        }
        let net = running.net().await?;
        let (connection, mut frames) = net.dial(&ticket.endpoint, &ticket.addresses, DIAL_WITHIN).await?;
        let linking = async {
            let shaken = call(&mut frames, &ticket, LinkRole::Member, Keys::of(&running.keys)).await?;
            welcome(&mut frames, shaken, &running.replica, &running.keys, &confirm).await
        };
        let linked = tokio::time::timeout(LINK_WITHIN, linking)
            .await
            .unwrap_or(Err(NetError::Deadline.into()));
        let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
        connection.close(0u32.into(), b"done");
        let outcome = linked?;
        self.work(move |running| running.note_addresses(&ticket.endpoint, &ticket.addresses))
            .await?;
        Ok(outcome)
    }

    /// The signing key of this device, by which others know it.
    pub fn device(&self) -> Result<PublicKey, Error> {
        Ok(self.running()?.keys.signing.public())
    }
}

impl Running {
    /// A connection came in that wants to link.
    pub async fn answer_link(self: Arc<Self>, endpoint: PublicKey, mut frames: Frames, begin: Message) {
        let claimed = self.invites.invitations.claim(&begin, (self.options.clock)() / 1000);
        let pending = claimed.and_then(|secret| {
            let mut pending = lock(&self.invites.pending);
            let place = pending
                .iter()
                .position(|invite| invite.secret == secret)
                .ok_or("used")?;
            // Whoever showed the code may have put it away since: then it lets nobody in.
            Some(pending.remove(place))
                .filter(|invite| !invite.done.is_closed())
                .ok_or("expired")
        });
        match pending {
            Err(reason) => refuse(&mut frames, reason).await,
            Ok(Pending { secret, confirm, done }) => {
                let linking = async {
                    let keys = Keys::of(&self.keys);
                    let shaken = answer(&mut frames, &endpoint, &begin, &secret, LinkRole::Member, keys).await?;
                    if shaken.role != LinkRole::NewDevice {
                        // An invitation is for a device; a cloud peer shows a code of its own.
                        refuse(&mut frames, "same-role").await;
                        return Err(LinkError::SameRole);
                    }
                    welcome(&mut frames, shaken, &self.replica, &self.keys, &confirm).await
                };
                let mut stop = self.stop_signal();
                let linking = async {
                    tokio::select! {
                        linked = linking => linked,
                        () = crate::net::stopped(&mut stop) => Err(LinkError::Stopped),
                    }
                };
                let result = tokio::time::timeout(LINK_WITHIN, linking)
                    .await
                    .unwrap_or(Err(NetError::Deadline.into()));
                // Whoever showed the code may have stopped waiting.
                let _ = done.send(result);
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
    }
}
