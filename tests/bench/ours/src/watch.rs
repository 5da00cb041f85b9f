//! A page of a journal that is watched: from an edit here, and from the arrival of one that another device wrote, to the difference.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::Args;
use rhizome::{
    DocumentId, NetOptions, Pod, PodOptions, Query, QueryWatch, Value as Field,
    net::{Direction, Observer},
    path,
};
use serde_json::{Value, json};

use crate::{
    Failure, beside, diary,
    journal::{JOURNAL, PAGE, fill},
    meter, people,
};

#[derive(Args)]
pub struct Making {
    /// A folder for `phone`, `tablet` and `cloud`.
    #[arg(long)]
    dir: PathBuf,
    /// Entries that each has.
    #[arg(long)]
    count: usize,
}

#[derive(Args)]
pub struct Options {
    /// What was made.
    #[arg(long)]
    dir: PathBuf,
    /// Entries that each has.
    #[arg(long)]
    count: usize,
    /// The port of the cloud peer.
    #[arg(long)]
    port: u16,
    /// Edits here, and as many there.
    #[arg(long, default_value_t = 100)]
    times: usize,
}

/// When the first frame came in since it was asked to note one.
#[derive(Default)]
struct Arrival(Mutex<Option<Option<Instant>>>);

impl Arrival {
    fn note(&self) {
        *self.0.lock().expect("nothing panics while it is held") = Some(None);
    }

    fn noted(&self) -> Option<Instant> {
        self.0.lock().expect("nothing panics while it is held").take().flatten()
    }
}

impl Observer for Arrival {
    fn frame(&self, direction: Direction, _: &[u8]) {
        let mut noted = self.0.lock().expect("nothing panics while it is held");
        if direction == Direction::Received
            && let Some(first @ None) = &mut *noted
        {
            *first = Some(Instant::now());
        }
    }
}

/// The newest entries.
fn newest() -> Query {
    Query::new().sort("date").descending().limit(PAGE)
}

pub async fn make(making: Making) -> Result<Value, Failure> {
    let cloud = people::cloud(&beside(&making.dir, "cloud"), 0).await?;
    let phone = people::create(&beside(&making.dir, "phone"), "phone").await?;
    phone.link(&cloud.code(people::LONG).to_string(), people::yes()).await?;
    let tablet = people::join(&phone, &beside(&making.dir, "tablet"), "tablet").await?;
    fill(&phone, making.count, 2000, false).await?;
    tablet
        .declare(JOURNAL, rhizome::Schema::new().index(rhizome::Index::on("date")))
        .await?;
    for pod in [&phone, &tablet, &phone] {
        people::sync(pod).await?;
    }
    let count = tablet.count(JOURNAL).await?;
    let port = people::port(&cloud).await?;
    for pod in [phone, tablet] {
        pod.shutdown().await;
    }
    cloud.stop().await;
    match count == making.count as u64 {
        true => Ok(json!({"port": port, "documents": count})),
        false => Err(format!("{count} documents, and {} were written", making.count).into()),
    }
}

/// Makes an entry the newest.
async fn touch(pod: &Pod, id: DocumentId, date: i64) -> Result<(), Failure> {
    let edit = move |edit: &mut rhizome::Edit<'_>| edit.set(&path(["date"]), Field::Date(date));
    pod.edit_document(JOURNAL, id, edit).await?;
    Ok(())
}

/// Waits for the difference that puts an entry first.
async fn comes_first(watch: &mut QueryWatch, id: DocumentId) -> Result<(), Failure> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), watch.next()).await??;
        let diff = next.ok_or("the watch ended")?;
        if diff
            .placed
            .iter()
            .any(|placed| placed.index == 0 && placed.row.document == id)
        {
            return Ok(());
        }
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub async fn watch(options: Options) -> Result<Value, Failure> {
    let cloud = people::cloud(&beside(&options.dir, "cloud"), options.port).await?;
    let arrival = Arc::new(Arrival::default());
    let folder = beside(&options.dir, "phone");
    let phone_options = PodOptions {
        net: NetOptions {
            observer: Some(arrival.clone()),
            ..people::loopback(0)
        },
        ..people::options(&folder)
    };
    let phone = Pod::open(&folder, phone_options).await?;
    let tablet = people::open(&beside(&options.dir, "tablet")).await?;
    for pod in [&phone, &tablet] {
        people::sync(pod).await?;
    }
    let live = [phone.go_live().await?, tablet.go_live().await?];
    let mut watch = phone.watch_query(JOURNAL, newest());
    let first = watch.next().await?.ok_or("the watch ended")?;
    let ids: Vec<DocumentId> = first.placed.iter().map(|placed| placed.row.document).collect();
    let mut date = diary::date(options.count);
    let mut next = || {
        date += diary::APART;
        date
    };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    // The first of each is not counted.
    for number in 0..=options.times {
        // Never the one that is first already.
        let id = ids[number % ids.len()];
        let date = next();
        let began = Instant::now();
        touch(&phone, id, date).await?;
        comes_first(&mut watch, id).await?;
        here.push(began.elapsed().as_secs_f64() * 1e6);
        // What was pushed comes back as a receipt: that is not to be taken for what is waited for now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let id = ids[(number + ids.len() / 2) % ids.len()];
        let date = next();
        arrival.note();
        touch(&tablet, id, date).await?;
        comes_first(&mut watch, id).await?;
        let arrived = arrival.noted().ok_or("nothing arrived")?;
        there.push(arrived.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for handle in live {
        handle.stop().await;
    }
    for pod in [phone, tablet] {
        pod.shutdown().await;
    }
    cloud.stop().await;
    Ok(json!({"local": median(here.split_off(1)), "remote": median(there.split_off(1)), "peak_kb": meter::peak()}))
}
