//! Verifying and storing: what a cloud peer does with each range that a phone pushes, without the network.

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::Args;
use rhizome::{
    Event,
    crypto::{DeviceSecret, OsRandom, Random},
    identity::{Commit, CommitCore, RecoverySecret, genesis},
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
    /// Entries to verify and store.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
    /// Entries in one range, which is signed and stored as one.
    #[arg(long, default_value_t = 512)]
    range: usize,
    /// Bytes of each entry's event.
    #[arg(long, default_value_t = 256)]
    size: usize,
}

/// Ranges after the first that are not counted.
const WARM_UP: usize = 8;

pub fn verify(options: Options) -> Result<Value, Failure> {
    let random: &mut dyn Random = &mut OsRandom;
    let (device, peer) = (DeviceSecret::make(random).keys(), DeviceSecret::make(random).keys());
    let recovery = RecoverySecret::make(random);
    let operation = genesis(random, &device, &recovery, "phone", &["journal"]);
    let core = CommitCore {
        identity: operation.identity(),
        index: 0,
        previous: None,
        operation: operation.id(),
        term: 0,
        time: 0,
        orderer: device.signing.public(),
    };
    let log = vec![(Commit::make(&device.signing, core), operation)];
    std::fs::create_dir_all(&options.dir)?;
    let store = LogStore::open(&options.dir, true, random)?;
    let replica = Replica::adopt(
        store.clone(),
        log,
        Vec::new(),
        peer.signing,
        Arc::new(|| 1),
        Limits::default(),
    )?;
    let ring = replica.known().key_ring(&device);
    let (stream, _) = ring.stream("journal").ok_or("no stream")?;
    let epoch = ring.streams()[&stream].current;
    let key = ring.epoch(&epoch).ok_or("no key")?;
    let identity = replica.identity();
    let start = Start::make(random, &device.signing, stream, identity, identity);
    let mut after = Position::start(&start.id());
    let mut head = replica.known().ordered.head();
    let events = meter::events(7, options.count + WARM_UP * options.range, options.size);
    let mut ranges = Vec::new();
    for run in events.chunks(options.range) {
        let mut range = Range {
            start: (after.seq == 1).then(|| start.encode().to_vec()),
            author: start.id(),
            after,
            entries: Vec::new(),
        };
        for event in run {
            let writer = Writer {
                signing: &device.signing,
                author: start.id(),
                after,
                epoch,
                key,
                head: head.take(),
            };
            let sections: [Vec<Event>; 1] = [vec![event.clone()]];
            let entry = make_entry(random, &writer, Time::from_millis(1), &sections)?;
            after = entry.position();
            range.entries.push(entry.entry().clone());
        }
        ranges.push(range.encode());
    }
    let mut stored = 0;
    for frame in &ranges[..WARM_UP] {
        replica.take_range(Range::decode(frame)?)?;
    }
    let (began, cpu) = (Instant::now(), meter::cpu());
    for frame in &ranges[WARM_UP..] {
        stored += replica.take_range(Range::decode(frame)?)?.new;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = meter::cpu().zip(cpu).map(|(after, before)| after - before);
    store.close();
    if stored != options.count {
        return Err(format!("{stored} entries were stored of {}", options.count).into());
    }
    Ok(json!({"entries": stored, "seconds": seconds, "cpu": cpu, "peak_kb": meter::peak()}))
}
