//! What it costs to remove a device: a new identity key and new epochs for all who remain, on the disk, beside as many bare HPKE seals.

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::Args;
use rhizome::{
    crypto::{DeviceKeys, DeviceSecret, OsRandom, Random},
    identity::{Commit, CommitCore, Keys, RecoverySecret, add_device, consent, genesis, remove_device},
    log::{Position, Range, Start, Time, Writer, make_entry},
    store::LogStore,
    sync::{Limits, Replica},
};
use serde_json::{Value, json};

use crate::{Failure, meter};

#[derive(Args)]
pub struct Options {
    /// A folder for the store.
    #[arg(long)]
    dir: PathBuf,
    /// Devices that remain.
    #[arg(long)]
    devices: usize,
    /// Entries of the one that is removed.
    #[arg(long)]
    entries: usize,
}

/// Entries in a range.
const RANGE: usize = 512;

pub fn rotate(options: Options) -> Result<Value, Failure> {
    let random: &mut dyn Random = &mut OsRandom;
    let devices: Vec<DeviceKeys> = (0..=options.devices)
        .map(|_| DeviceSecret::make(random).keys())
        .collect();
    let (first, victim) = (&devices[0], &devices[options.devices]);
    let recovery = RecoverySecret::make(random);
    let operation = genesis(random, first, &recovery, "phone", &["journal"]);
    let core = CommitCore {
        identity: operation.identity(),
        index: 0,
        previous: None,
        operation: operation.id(),
        term: 0,
        time: 0,
        orderer: first.signing.public(),
    };
    let log = vec![(Commit::make(&first.signing, core), operation)];
    std::fs::create_dir_all(&options.dir)?;
    let store = LogStore::open(&options.dir, true, random)?;
    let (signing, now) = (first.signing.clone(), Arc::new(|| 1));
    let replica = Replica::adopt(store.clone(), log, Vec::new(), signing, now, Limits::default())?;
    let identity = replica.identity();
    for device in &devices[1..] {
        let public = Keys::of(device);
        let agreed = consent(&device.signing, &identity, &public, false);
        replica.propose(first, |by, _, _| {
            add_device(&mut OsRandom, by, public, agreed, "tablet")
        })?;
    }
    store_entries(&replica, victim, options.entries)?;
    let gone = victim.signing.public();
    let before = replica.known().log.len();
    let began = Instant::now();
    let cutoffs = replica.cutoffs(&gone)?;
    replica.propose(first, |by, state, ring| {
        remove_device(&mut OsRandom, by, (state, ring), gone, cutoffs)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let known = replica.known();
    let bytes: usize = known.log[before..]
        .iter()
        .map(|(commit, operation)| commit.encode().len() + operation.encode().len())
        .sum();
    if known.ordered.devices().len() != options.devices || known.ordered.needs_rewrap() {
        return Err("the device was not removed".into());
    }
    let key = [7; 32];
    let began = Instant::now();
    let mut bare_bytes = 0;
    for device in &devices[..options.devices] {
        let wrap = device.agreement.public().wrap(random, b"bench", &key)?;
        bare_bytes += 32 + wrap.2.len();
    }
    let bare = began.elapsed().as_secs_f64();
    store.close();
    Ok(json!({"seconds": seconds, "bytes": bytes, "bare_seconds": bare, "bare_bytes": bare_bytes}))
}

fn store_entries(replica: &Replica, writer: &DeviceKeys, count: usize) -> Result<(), Failure> {
    let random: &mut dyn Random = &mut OsRandom;
    let ring = replica.known().key_ring(writer);
    let (stream, _) = ring.stream("journal").ok_or("no stream")?;
    let epoch = ring.streams()[&stream].current;
    let key = ring.epoch(&epoch).ok_or("no key")?;
    let identity = replica.identity();
    let start = Start::make(random, &writer.signing, stream, identity, identity);
    let mut after = Position::start(&start.id());
    for run in meter::events(7, count, 32).chunks(RANGE) {
        let mut range = Range {
            start: (after.seq == 1).then(|| start.encode().to_vec()),
            author: start.id(),
            after,
            entries: Vec::new(),
        };
        for event in run {
            let next = Writer {
                signing: &writer.signing,
                author: start.id(),
                after,
                epoch,
                key,
                head: None,
            };
            let entry = make_entry(random, &next, Time::from_millis(1), &[vec![event.clone()]])?;
            after = entry.position();
            range.entries.push(entry.into_entry());
        }
        replica.take_range(range)?;
    }
    Ok(())
}
