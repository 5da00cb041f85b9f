//! What the tests share.

#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part of it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use rhizome_cloud::{Peer, PeerOptions};
use rhizome_ffi::{KeeperError, KeptSecret, PodOptions, SecretKeeper};

/// What a keeper answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Well,
    Locked,
    Absent,
    Failing,
}

/// A keeper in memory that can be told how to answer.
pub struct TestKeeper {
    secrets: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    answers: Mutex<Answers>,
}

impl TestKeeper {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            secrets: Mutex::default(),
            answers: Mutex::new(Answers::Well),
        })
    }

    pub fn answer(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    /// Another secret under every id.
    pub fn confuse(&self) {
        for secret in self.secrets.lock().unwrap().values_mut() {
            secret.iter_mut().for_each(|byte| *byte ^= 1);
        }
    }
}

impl SecretKeeper for TestKeeper {
    fn load(&self, id: Vec<u8>) -> Result<KeptSecret, KeeperError> {
        match *self.answers.lock().unwrap() {
            Answers::Well => {
                let secret = self.secrets.lock().unwrap().get(&id).cloned();
                Ok(secret.map_or(KeptSecret::Absent, |secret| KeptSecret::Found { secret }))
            }
            Answers::Locked => Ok(KeptSecret::Locked),
            Answers::Absent => Ok(KeptSecret::Absent),
            Answers::Failing => Err(KeeperError::Failed {
                reason: "the test said so".to_owned(),
            }),
        }
    }

    fn create(&self, id: Vec<u8>, secret: Vec<u8>) -> Result<(), KeeperError> {
        assert!(
            self.secrets.lock().unwrap().insert(id, secret).is_none(),
            "a secret is never overwritten"
        );
        Ok(())
    }
}

/// A pod in `dir`, on loopback.
pub fn loopback(dir: &Path, pod: &str) -> PodOptions {
    PodOptions {
        path: dir.join(pod).to_str().unwrap().to_owned(),
        relay: None,
        listen: vec!["127.0.0.1:0".to_owned()],
    }
}

/// A cloud peer on loopback.
pub async fn cloud_peer(dir: &Path) -> Peer {
    let mut options = PeerOptions::new(dir.join("cloud"));
    options.net.listen = vec!["127.0.0.1:0".parse().unwrap()];
    Peer::start(options).await.unwrap()
}
