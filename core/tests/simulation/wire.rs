//! A connection: a session on each side, and the bytes on their way between them.

use std::collections::VecDeque;

use rhizome::{
    crypto::PublicKey,
    identity::IdentityId,
    sync::{Message, Replica, Session, SessionError},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// A connection between two nodes. Side 0 dialled.
pub struct Link {
    pub ends: [u64; 2],
    pub sessions: [Session; 2],
    /// What each side hears of its own store.
    changes: [Receiver<IdentityId>; 2],
    /// Frames on their way to each side.
    pub to: [VecDeque<Vec<u8>>; 2],
    /// Frames were lost, repeated, swapped or invented: a session may end over it.
    pub twisted: bool,
    /// Bytes that may still go over it.
    pub allowance: Option<usize>,
    /// Side 0 shows in its hello that it is a member.
    pub proving: bool,
    /// Side 1 said that it does not know side 0.
    pub stranger: bool,
}

/// What one turn of one side did.
pub enum Turn {
    /// It received or said something.
    Busy,
    /// It had nothing to do.
    Idle,
    /// The connection broke: its bytes are used up.
    Broken,
}

impl Link {
    /// Side 0 dials side 1, which it knows as `remote`. `endpoint` is the key that side 0's transport proves.
    pub fn new(
        ends: [u64; 2],
        replicas: [&Replica; 2],
        remote: PublicKey,
        endpoint: PublicKey,
        allowance: Option<usize>,
        proving: bool,
    ) -> Result<Self, SessionError> {
        let dialler = match proving {
            true => Session::dial_proving(replicas[0], remote)?,
            false => Session::dial(replicas[0], remote)?,
        };
        Ok(Self {
            ends,
            sessions: [dialler, Session::listen(endpoint)],
            changes: replicas.map(|replica| replica.store().changes()),
            to: Default::default(),
            twisted: false,
            allowance,
            proving,
            stranger: false,
        })
    }

    /// Lets `side` hear of changes, receive one frame and say one.
    pub fn turn(&mut self, side: usize, replica: &Replica) -> Result<Turn, SessionError> {
        let mut turn = Turn::Idle;
        let session = &mut self.sessions[side];
        let mut changed = false;
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = self.changes[side].try_recv() {
            changed = true;
        }
        if changed {
            session.local_change(replica)?;
        }
        if let Some(frame) = self.to[side].pop_front() {
            let message = Message::decode(&frame[4..]).map_err(|_| SessionError::Protocol("not a message"))?;
            session.receive(message, replica)?;
            turn = Turn::Busy;
        }
        if let Some(message) = session.next(replica)? {
            let frame = message.to_frame();
            if let Some(allowance) = &mut self.allowance {
                match allowance.checked_sub(frame.len()) {
                    // A frame that is cut is no frame.
                    None => return Ok(Turn::Broken),
                    Some(left) => *allowance = left,
                }
            }
            self.to[1 - side].push_back(frame);
            turn = Turn::Busy;
        }
        Ok(turn)
    }
}
