//! A cloud peer in other hands: its keys, its store and its place in the identity log are real, what it says is not.

use std::{path::Path, sync::Arc};

use iroh::Endpoint;
use rhizome::{
    crypto::{Hash, PublicKey},
    identity::Keys,
    log::Item,
    sync::{Limits, Message, Replica, Session},
};
use rhizome_cloud::Data;

use crate::{
    stage::Scene,
    stage::apart,
    wire::{Attack, Wire, endpoint},
};

/// The folder and the port of a cloud peer that its owner trusted.
pub struct Taken {
    pub data: Data,
    pub replica: Arc<Replica>,
    pub endpoint: Endpoint,
}

impl Taken {
    pub async fn over(scene: &Scene) -> Self {
        Self::folder(&scene.cloud(), scene.port, 1_000).await
    }

    /// Of a copy of the folder; `ahead`: how many milliseconds its clock is ahead of the others' (which stands in 2096).
    pub async fn folder(folder: &Path, port: u16, ahead: u64) -> Self {
        Self::with_streams(folder, port, ahead, 2).await
    }

    pub async fn with_streams(folder: &Path, port: u16, ahead: u64, streams: u32) -> Self {
        let (data, replica) = apart(|| {
            let data = Data::open(folder, false).unwrap();
            let identity = data.log().read(|read| read.identities()).unwrap()[0];
            let signing = data.keys().signing.clone();
            let clock = Arc::new(move || 4_000_000_000_000 + ahead);
            let replica = Replica::load(data.log().clone(), identity, signing, clock, Limits::default()).unwrap();
            (data, Arc::new(replica))
        });
        let endpoint = endpoint(&data.keys().endpoint, port, streams).await;
        Self {
            data,
            replica,
            endpoint,
        }
    }

    pub fn keys(&self) -> Keys {
        Keys::of(self.data.keys())
    }

    /// The next device that connects.
    pub async fn accept(&self) -> Wire {
        Wire::accept(&self.endpoint).await
    }

    /// Lets an honest session speak to the next device, with an attack in between.
    pub async fn serve(&self, attack: Attack<'_>) -> Vec<Message> {
        let mut wire = self.accept().await;
        let remote = PublicKey(*wire.connection.remote_id().as_bytes());
        attack.run(&mut wire, Session::listen(remote), &self.replica).await
    }

    /// What it holds.
    pub fn items(&self) -> Vec<Item> {
        apart(|| self.replica.state()).unwrap().1
    }

    /// A hello with a digest that is nobody's, so that states are exchanged.
    pub fn hello(&self) -> Message {
        Message::Hello {
            features: 0,
            identity: self.replica.identity(),
            digest: Hash([7; 32]),
            store: self.replica.store().store_id(),
            proofs: Vec::new(),
        }
    }

    pub fn state(&self, items: Vec<Item>, more: bool) -> Message {
        let known = self.replica.known();
        Message::State {
            count: known.ordered.count(),
            head: known.ordered.head(),
            pending: Vec::new(),
            items,
            more,
        }
    }

    /// Says hello and what it holds to the next device, and hears the same from it.
    pub async fn greet(&self) -> Wire {
        let mut wire = self.accept().await;
        assert!(matches!(wire.hear().await, Some(Message::Hello { .. })));
        wire.say(&self.hello()).await;
        assert!(matches!(wire.hear().await, Some(Message::State { .. })));
        wire.say(&self.state(self.items(), false)).await;
        wire
    }

    /// Gives folder and port back.
    pub async fn leave(self) {
        self.endpoint.close().await;
        apart(|| self.data.close());
    }
}
