//! Adding devices and cloud peers to the identity of this pod.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle},
};

use super::{
    Pod, PodOptions,
    running::{Running, lock},
};
use crate::{
    crypto::{OsRandom, PublicKey, Secret, SigningKey},
    error::Error,
    identity::{Keys, LinkRole, Ticket},
    net::{
        Confirm, Frames, Invitations, LinkError, LinkOutcome, NetError, answer, answer_recovery, call, refuse, welcome,
    },
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
            // Before it is a member: one that nobody remembers where to find never gets anything.
            let (endpoint, addresses) = (ticket.endpoint, ticket.addresses.clone());
            self.work(move |running| running.note_addresses(&endpoint, &addresses))
                .await?;
            Ok::<_, Error>(welcome(&mut frames, shaken, &running.replica, &running.keys, &confirm).await?)
        };
        let linked = tokio::time::timeout(LINK_WITHIN, linking)
            .await
            .unwrap_or(Err(NetError::Deadline.into()));
        let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
        connection.close(0u32.into(), b"done");
        linked
    }

    /// The signing key of this device, by which others know it.
    pub fn device(&self) -> Result<PublicKey, Error> {
        Ok(self.running()?.keys.signing.public())
    }
}

impl Running {
    /// A connection came in that wants to link.
    pub async fn answer_link(self: Arc<Self>, endpoint: PublicKey, mut frames: Frames, begin: Message) {
        if matches!(begin, Message::Recover { .. }) {
            let own = SigningKey::from_seed(&self.keys.endpoint).public();
            let replicas = [self.replica.clone()];
            let given = answer_recovery(&mut frames, &begin, &own, &endpoint, &replicas);
            match tokio::time::timeout(LINK_WITHIN, given).await {
                Ok(Ok(_)) => tracing::info!("somebody with this identity's words got its log"),
                Ok(Err(error)) => tracing::debug!(%error, "nobody comes back with these words"),
                Err(_) => {}
            }
            let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
            return;
        }
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

/// A link that is under way, for those who would rather ask than be called back: first the number that both screens show, then the
/// person's answer, then how it ended. Dropped, it ends.
pub struct Linking<T> {
    code: Option<Ticket>,
    number: watch::Receiver<Option<String>>,
    answer: mpsc::Sender<bool>,
    ending: tokio::sync::Mutex<Ending<T>>,
    abort: AbortHandle,
}

enum Ending<T> {
    Awaited(JoinHandle<Result<T, Error>>),
    /// Somebody was told.
    Told,
}

impl<T: Send + 'static> Linking<T> {
    fn begin<F>(code: Option<Ticket>, link: impl FnOnce(Confirm) -> F) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (show, number) = watch::channel(None);
        let (answer, answers) = mpsc::channel(1);
        let answers = Arc::new(tokio::sync::Mutex::new(answers));
        // Owned by the task alone, so that whoever waits for a number learns when none will come.
        let confirm: Confirm = Arc::new(move |number| {
            show.send_replace(Some(number));
            let answers = answers.clone();
            Box::pin(async move { answers.lock().await.recv().await.unwrap_or(false) })
        });
        let task = tokio::spawn(link(confirm));
        Self {
            code,
            number,
            answer,
            abort: task.abort_handle(),
            ending: tokio::sync::Mutex::new(Ending::Awaited(task)),
        }
    }

    /// The code that this device shows, if it is the one that shows it. Instant.
    pub fn code(&self) -> Option<&Ticket> {
        self.code.as_ref()
    }

    /// Six digits, once both sides know them; the person compares them with those on the other screen. `None` if it ended before.
    pub async fn number(&self) -> Option<String> {
        let mut number = self.number.clone();
        let shown = number.wait_for(Option::is_some).await;
        shown.ok().and_then(|shown| shown.clone())
    }

    /// What the person says: whether the other screen shows the same number. Instant; the first answer counts.
    pub fn answer(&self, same: bool) {
        // An error only says that there was an answer before, or nobody asks any more.
        let _ = self.answer.try_send(same);
    }

    /// How it ended. To be asked once: [`Error::Closed`] afterwards. Dropped while it waits, it can be asked again.
    pub async fn finished(&self) -> Result<T, Error> {
        let mut ending = self.ending.lock().await;
        match &mut *ending {
            Ending::Told => Err(Error::Closed),
            Ending::Awaited(task) => {
                let result = task.await.unwrap_or(Err(LinkError::Stopped.into()));
                *ending = Ending::Told;
                result
            }
        }
    }

    /// Ends it: the other side sees the connection close, and whoever waits for [`Linking::finished`] gets [`LinkError::Stopped`]. Instant.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

/// Nobody is asked any more once this is dropped, whoever still holds the other end.
struct Asked(watch::Sender<Option<Confirm>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl<T> Drop for Linking<T> {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Pod {
    /// As [`Pod::invite`], step by step.
    pub async fn begin_invite(&self, expires_in: Duration) -> Result<Linking<LinkOutcome>, Error> {
        // The invitation wants to be told how to ask before there is a link that could ask.
        let (later, confirm) = watch::channel(None::<Confirm>);
        let ask: Confirm = Arc::new(move |number| {
            let asked = confirm.borrow().clone();
            Box::pin(async move {
                match asked {
                    Some(confirm) => confirm(number).await,
                    None => false,
                }
            })
        });
        let invite = self.invite(expires_in, ask).await?;
        let code = invite.ticket.clone();
        Ok(Linking::begin(Some(code), move |confirm| {
            later.send_replace(Some(confirm));
            let asked = Asked(later);
            async move {
                let _asked = asked;
                invite.finished().await
            }
        }))
    }

    /// As [`Pod::link`], step by step.
    pub fn begin_link(&self, code: &str) -> Linking<LinkOutcome> {
        let (pod, code) = (self.clone(), code.to_owned());
        Linking::begin(None, move |confirm| async move { pod.link(&code, confirm).await })
    }

    /// As [`Pod::link_device`], step by step.
    pub fn begin_link_device(&self, code: &str) -> Linking<LinkOutcome> {
        let (pod, code) = (self.clone(), code.to_owned());
        Linking::begin(
            None,
            move |confirm| async move { pod.link_device(&code, confirm).await },
        )
    }

    /// As [`Pod::join`], step by step.
    pub fn begin_join(dir: impl AsRef<Path>, options: PodOptions, name: &str, code: &str) -> Linking<Pod> {
        let (dir, name, code) = (dir.as_ref().to_owned(), name.to_owned(), code.to_owned());
        Linking::begin(None, move |confirm| async move {
            Pod::join(dir, options, &name, &code, confirm).await
        })
    }

    /// As [`Pod::await_link`], step by step: gives once the code is there to be shown.
    pub async fn begin_await_link(
        dir: impl AsRef<Path>,
        options: PodOptions,
        name: &str,
        expires_in: Duration,
    ) -> Result<Linking<Pod>, Error> {
        let (dir, name) = (dir.as_ref().to_owned(), name.to_owned());
        let (shown, code) = oneshot::channel();
        let mut linking = Linking::begin(None, move |confirm| async move {
            let show = |ticket: &Ticket| {
                let _ = shown.send(ticket.clone());
            };
            Pod::await_link(dir, options, &name, expires_in, show, confirm).await
        });
        match code.await {
            Ok(code) => {
                linking.code = Some(code);
                Ok(linking)
            }
            // It ended before it had a code.
            Err(_) => match linking.finished().await {
                Err(error) => Err(error),
                Ok(_) => Err(LinkError::Stopped.into()),
            },
        }
    }
}
