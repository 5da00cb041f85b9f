//! Driving a session over a stream until it is done, or for as long as it is live.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, watch};

use super::{Frames, NetError, apart, stopped};
use crate::sync::{ByeReason, Message, Outcome, Replica, Session, SessionError};

/// Answers that may wait before reading stops.
const BACKLOG: usize = 64;
/// Messages that are handled in one go.
const AT_ONCE: usize = 32;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is kept of the time before a deadline for the last words: one part in so many, and no more than `FAREWELL`.
const FAREWELL_PART: u32 = 20;
/// How often a live session offers again what was refused.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause between two such offers.
const RETRY_LONGEST: Duration = Duration::from_secs(600);
/// A peer that says nothing for so long while we wait for it is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a session is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Until both sides have everything, the deadline passes or the bytes are used up.
    Once {
        /// Until when.
        deadline: Instant,
        /// Bytes of frames, both ways together.
        budget: Option<u64>,
    },
    /// Until stopped; new entries are pushed at once.
    Live,
    /// As the other side wishes.
    Serve,
}

/// Why a session stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Both sides have everything.
    Done,
    /// The deadline passed.
    Deadline,
    /// The bytes are used up.
    Budget,
    /// This side was told to stop.
    Stopped,
    /// The other side said goodbye.
    Remote(ByeReason),
}

/// What a session did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What moved.
    pub outcome: Outcome,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// Why it ended.
    pub reason: StopReason,
}

/// Hears what a session did so far.
pub type Progress = Arc<dyn Fn(&Outcome) + Send + Sync>;

/// A session on its way.
pub struct Drive {
    /// The stream.
    pub frames: Frames,
    /// The state machine.
    pub session: Session,
    /// What it compares and changes.
    pub replica: Arc<Replica>,
    /// How long.
    pub mode: Mode,
    /// Ends it when it turns true.
    pub stop: watch::Receiver<bool>,
    /// Hears of progress.
    pub progress: Option<Progress>,
}

impl Drive {
    /// Drives the session to its end; with a deadline, to its last word before that.
    pub async fn run(self) -> Result<Report, NetError> {
        let Self {
            mut frames,
            session,
            replica,
            mode,
            mut stop,
            progress,
        } = self;
        let (enough, end) = times(mode);
        let mut changes = replica.store().changes();
        let session = Arc::new(Mutex::new(session));
        let reason = steps(
            &mut frames,
            &session,
            &replica,
            (mode, enough),
            &mut stop,
            &mut changes,
            progress.as_ref(),
        )
        .await;
        let end = end.min(tokio::time::Instant::now() + FAREWELL);
        let bye = match &reason {
            Ok(StopReason::Done) => Some(ByeReason::Done),
            Ok(StopReason::Deadline) => Some(ByeReason::Deadline),
            Ok(StopReason::Budget) => Some(ByeReason::Budget),
            Ok(StopReason::Stopped) => Some(ByeReason::ShuttingDown),
            Ok(StopReason::Remote(_)) => None,
            Err(NetError::Session(error)) => Some(error.bye()),
            Err(NetError::Protocol(_)) => Some(ByeReason::Invalid),
            Err(_) => None,
        };
        let outcome = session.lock().unwrap_or_else(PoisonError::into_inner).outcome().clone();
        if let Some(bye) = bye {
            let _ = tokio::time::timeout_at(end, frames.send(&Message::Bye(bye))).await;
        }
        let (bytes_sent, bytes_received) = frames.bytes();
        let _ = tokio::time::timeout_at(end, frames.finish()).await;
        Ok(Report {
            outcome,
            bytes_sent,
            bytes_received,
            reason: reason?,
        })
    }
}

/// When a session stops moving things, and when its last word must be out.
fn times(mode: Mode) -> (tokio::time::Instant, tokio::time::Instant) {
    let now = tokio::time::Instant::now();
    match mode {
        Mode::Once { deadline, .. } => {
            let end = tokio::time::Instant::from_std(deadline);
            let last_words = (end.saturating_duration_since(now) / FAREWELL_PART).min(FAREWELL);
            (end - last_words, end)
        }
        // A live session has no end of its own.
        Mode::Live | Mode::Serve => {
            let never = now + Duration::from_secs(86_400 * 365);
            (never, never)
        }
    }
}

/// Runs one step of the session where it may wait for the disk.
async fn step<R: Send + 'static>(
    session: &Arc<Mutex<Session>>,
    replica: &Arc<Replica>,
    work: impl FnOnce(&mut Session, &Replica) -> Result<R, SessionError> + Send + 'static,
) -> Result<R, NetError> {
    let (session, replica) = (session.clone(), replica.clone());
    let done = apart(move || work(&mut session.lock().unwrap_or_else(PoisonError::into_inner), &replica));
    Ok(done.await.map_err(|_| NetError::Stopped)??)
}

async fn steps(
    frames: &mut Frames,
    session: &Arc<Mutex<Session>>,
    replica: &Arc<Replica>,
    (mode, enough): (Mode, tokio::time::Instant),
    stop: &mut watch::Receiver<bool>,
    changes: &mut broadcast::Receiver<crate::identity::IdentityId>,
    progress: Option<&Progress>,
) -> Result<StopReason, NetError> {
    let (mut pause, mut retry_at) = (RETRY, tokio::time::Instant::now() + RETRY);
    let mut idle = false;
    let mut heard = tokio::time::Instant::now();
    // What came between the hello and our listening for changes.
    step(session, replica, |session, replica| session.local_change(replica)).await?;
    loop {
        let backlog = session.lock().unwrap_or_else(PoisonError::into_inner).backlog();
        let silent = heard + SILENCE;
        tokio::select! {
            biased;
            () = stopped(stop) => return Ok(StopReason::Stopped),
            () = tokio::time::sleep_until(enough) => return Ok(StopReason::Deadline),
            () = tokio::time::sleep_until(silent), if matches!(mode, Mode::Once { .. }) => {
                return Err(NetError::Unreachable(SILENCE));
            }
            changed = changes.recv() => {
                let ours = match changed {
                    Ok(identity) => identity == replica.identity(),
                    Err(broadcast::error::RecvError::Lagged(_)) => true,
                    Err(broadcast::error::RecvError::Closed) => return Ok(StopReason::Stopped),
                };
                if ours {
                    step(session, replica, |session, replica| session.local_change(replica)).await?;
                    idle = false;
                }
            }
            () = tokio::time::sleep_until(retry_at), if mode == Mode::Live => {
                let refused = session.lock().unwrap_or_else(PoisonError::into_inner).retry_refused();
                // Refused again and again, it is offered less and less often.
                pause = if refused { (pause * 2).min(RETRY_LONGEST) } else { RETRY };
                retry_at = tokio::time::Instant::now() + pause;
                idle = false;
            }
            event = frames.receive_or_room(backlog < BACKLOG, !idle) => match event? {
                Some(first) => {
                    heard = tokio::time::Instant::now();
                    // What is here already is handled in the same go, so that ranges become durable together.
                    let mut received = vec![first];
                    let mut broken = None;
                    while received.len() < AT_ONCE
                        && let Some(next) = frames.ready()
                    {
                        match next {
                            Ok(next) => received.push(next),
                            Err(error) => broken = Some(error),
                        }
                    }
                    let handled = step(session, replica, |session, replica| {
                        let mut messages = received.into_iter();
                        let handled = messages.try_for_each(|next| session.receive(next.message, replica));
                        session.flush(replica).and(handled)
                    });
                    match handled.await {
                        Err(NetError::Session(SessionError::Ended(ByeReason::Done))) => {
                            return Ok(StopReason::Remote(ByeReason::Done));
                        }
                        Err(NetError::Session(SessionError::Ended(reason))) => return end(mode, reason),
                        other => other?,
                    }
                    if let Some(error) = broken {
                        return Err(error);
                    }
                    if let Some(progress) = progress {
                        let outcome = session.lock().unwrap_or_else(PoisonError::into_inner).outcome().clone();
                        progress(&outcome);
                    }
                    idle = false;
                }
                None => match step(session, replica, |session, replica| session.next(replica)).await? {
                    Some(message) => frames.send(&message).await?,
                    None => {
                        idle = true;
                        if session.lock().unwrap_or_else(PoisonError::into_inner).can_settle() {
                            step(session, replica, |session, replica| session.settle(replica)).await?;
                        }
                    }
                },
            },
        }
        if let Mode::Once { budget, .. } = mode {
            let (sent, received) = frames.bytes();
            if budget.is_some_and(|budget| sent + received >= budget) {
                return Ok(StopReason::Budget);
            }
            let session = session.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing is left to say, or only what the other side will not take now.
            if idle && session.is_synced() {
                return Ok(StopReason::Done);
            }
        }
    }
}

fn end(mode: Mode, reason: ByeReason) -> Result<StopReason, NetError> {
    match (mode, reason) {
        (Mode::Serve, _) | (_, ByeReason::Deadline | ByeReason::Budget) => Ok(StopReason::Remote(reason)),
        _ => Err(NetError::Refused(reason)),
    }
}
