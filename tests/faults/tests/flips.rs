//! Bits that flip in `log.db` and `views.db`, pages that change places, come back from an older version of the file or were never
//! written: whatever is read afterwards is the right plaintext or an error that says what is wrong, or the views are made again.
//!
//! `RHIZOME_FLIPS=n` spoils n times (from the seed `RHIZOME_FLIPS_FROM` on), `RHIZOME_FLIP_SEED=s` once, as that seed says.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhizome::{
    Confirm, DocumentId, EntryRef, Error, Event, Pod, PodOptions, SyncState, Value,
    crypto::SeededRandom,
    identity::Keys,
    log::{AuthorId, Position},
    path,
    store::LogStore,
    sync::{Limits, Replica, Session},
};
use rhizome_faults::{
    dice::Dice,
    person::{JOURNAL, Pocket, STEPS, options_with},
    scratch::{Image, folder},
};

const PAGE: usize = 4096;
/// Far beyond what any run needs: what has not ended then never would.
const ENDLESS: Duration = Duration::from_secs(300);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// What a device shows.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    did: String,
    documents: BTreeMap<DocumentId, Value>,
    rows: Vec<(DocumentId, i64, String)>,
    events: Vec<Event>,
}

/// A phone that has a tablet, as every run finds it; and as it was earlier.
struct Base {
    pocket: Arc<Pocket>,
    tablet: Arc<Pocket>,
    now: Image,
    earlier: Image,
    shown: Shown,
    shown_earlier: Shown,
    held: BTreeMap<EntryRef, BTreeSet<(String, u64)>>,
    only_here: u64,
    confirmed: u64,
    /// Every entry that was ever made.
    entries: BTreeSet<(AuthorId, Position)>,
}

impl Base {
    /// Whether all of it was true, if not at one time.
    fn once_showed(&self, shown: &Shown) -> bool {
        let of = |id: &DocumentId| [self.shown.documents.get(id), self.shown_earlier.documents.get(id)];
        let rows = || self.shown.rows.iter().chain(&self.shown_earlier.rows);
        shown.did == self.shown.did
            && shown.events == self.shown.events
            && shown.documents.iter().all(|(id, value)| of(id).contains(&Some(value)))
            && shown.rows.iter().all(|row| rows().any(|known| known == row))
    }

    fn options(&self) -> PodOptions {
        options_with(self.pocket.clone())
    }
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(async { true }))
}

async fn write(pod: &Pod, text: &str, date: i64) -> DocumentId {
    let text = text.to_owned();
    let edit = move |edit: &mut rhizome::Edit<'_>| {
        edit.set(&path(["date"]), Value::Date(date))?;
        edit.set(&path(["title"]), Value::String(format!("entry {date}")))?;
        edit.set_text(&path(["text"]), &text)
    };
    pod.create_document(JOURNAL, edit).await.unwrap().document
}

async fn append(pod: &Pod, n: u64, len: usize) -> EntryRef {
    let payload = [&n.to_le_bytes()[..], &vec![n as u8; len]].concat();
    let kind = "n".to_owned();
    pod.append(STEPS, vec![Event::App { kind, payload }]).await.unwrap()
}

async fn edit(pod: &Pod, document: DocumentId, text: &str) {
    let text = text.to_owned();
    pod.edit_document(JOURNAL, document, move |edit| edit.set_text(&path(["text"]), &text))
        .await
        .unwrap();
}

async fn sync(from: &Pod) {
    let report = from.sync_once(Duration::from_secs(30), None).await.unwrap();
    report.peers[0].result.as_ref().unwrap();
}

async fn base() -> Base {
    let (dirs, pockets) = (
        [folder(), folder()],
        [Arc::new(Pocket::default()), Arc::new(Pocket::default())],
    );
    let dir = dirs[0].path().join("pod");
    let opts = options_with(pockets[0].clone());
    let (phone, _) = Pod::create(&dir, opts.clone(), "phone").await.unwrap();
    let invite = phone.invite(Duration::from_secs(60), yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let joining = Pod::join(
        dirs[1].path().join("pod"),
        options_with(pockets[1].clone()),
        "tablet",
        &code,
        yes(),
    );
    let (tablet, invited) = tokio::join!(joining, invite.finished());
    let (tablet, _) = (tablet.unwrap(), invited.unwrap());
    let mut entries = Vec::new();
    let mut documents = Vec::new();
    for n in 0..12u64 {
        entries.push(append(&phone, n, [10, 400, 30, 5000][n as usize % 4]).await);
        if n % 2 == 0 {
            documents.push(
                write(
                    &phone,
                    &format!("what happened on day {n} ").repeat(1 + n as usize * 5),
                    n as i64,
                )
                .await,
            );
        }
    }
    for n in 0..6u64 {
        entries.push(append(&tablet, 100 + n, 200).await);
    }
    documents.push(write(&tablet, "from the tablet", 50).await);
    edit(&tablet, documents[documents.len() - 1], "from the tablet, twice").await;
    sync(&tablet).await;
    sync(&tablet).await;
    tablet.shutdown().await;
    phone.shutdown().await;
    let earlier = Image::of(&dir);
    let phone = Pod::open(&dir, opts.clone()).await.unwrap();
    let shown_earlier = look(&phone).await.unwrap();
    phone.shutdown().await;
    let phone = Pod::open(&dir, opts.clone()).await.unwrap();
    for n in 12..24u64 {
        entries.push(append(&phone, n, [10, 400, 30, 5000][n as usize % 4]).await);
        edit(
            &phone,
            documents[n as usize % documents.len()],
            &format!("edited on day {n}"),
        )
        .await;
        if n % 3 == 0 {
            documents.push(write(&phone, &format!("and on day {n}"), n as i64).await);
        }
    }
    // What is written last is held by nobody.
    entries.push(append(&phone, 24, 100).await);
    phone.shutdown().await;
    let phone = Pod::open(&dir, opts).await.unwrap();
    let shown = look(&phone).await.unwrap();
    assert_eq!(shown.events.len(), 31);
    let mut held = BTreeMap::new();
    for entry in &entries {
        held.insert(*entry, holders(&phone, *entry).await.unwrap());
    }
    assert!(
        held.values().any(|holders| !holders.is_empty()),
        "nobody holds anything"
    );
    assert!(held.values().any(BTreeSet::is_empty), "everything is held");
    let status = phone.status().await.unwrap();
    phone.shutdown().await;
    let log = tokio::task::block_in_place(|| LogStore::open(&dir, false, &mut SeededRandom::new(1))).unwrap();
    let mut all = BTreeSet::new();
    for identity in log.read(|read| read.identities()).unwrap() {
        for (author, branches) in log.read(|read| read.heads(&identity)).unwrap() {
            assert_eq!(branches.len(), 1);
            let found = log
                .read(|read| read.entries_after(&author, 0, 1, u64::MAX, usize::MAX))
                .unwrap();
            all.extend(found.iter().map(|entry| (author, entry.position())));
        }
    }
    log.close();
    Base {
        pocket: pockets[0].clone(),
        tablet: pockets[1].clone(),
        now: Image::of(&dir),
        earlier,
        shown,
        shown_earlier,
        held,
        only_here: status.only_here,
        confirmed: match status.sync {
            SyncState::UpToDate { at } => at,
            _ => 0,
        },
        entries: all,
    }
}

async fn look(pod: &Pod) -> Result<Shown, Error> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = pod.list(JOURNAL, "date", after, 7).await?;
        rows.extend(
            page.rows
                .iter()
                .map(|row| (row.document, row.millis, row.fields.to_string())),
        );
        after = page.next;
        if after.is_none() || rows.len() > 1000 {
            break;
        }
    }
    let mut documents = BTreeMap::new();
    for document in pod.documents(JOURNAL).await? {
        if let Some(value) = pod.get(document).await? {
            documents.insert(document, value);
        }
    }
    Ok(Shown {
        did: pod.did()?,
        documents,
        rows,
        events: pod.events(STEPS).await?,
    })
}

async fn holders(pod: &Pod, entry: EntryRef) -> Result<BTreeSet<(String, u64)>, Error> {
    let holders = pod.holders(entry).await?;
    Ok(holders
        .iter()
        .map(|holder| (holder.key.to_string(), holder.since))
        .collect())
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// One bit.
    Flip { byte: usize, bit: u8 },
    /// Two pages change places.
    Swap(usize, usize),
    /// A page is as it was in the older version of the file.
    Older(usize),
    /// A page was never written.
    Blank(usize),
    /// The file ends early.
    Cut(usize),
}

impl Harm {
    fn name(self) -> &'static str {
        match self {
            Self::Flip { .. } => "flips",
            Self::Swap(..) => "swaps",
            Self::Older(_) => "older pages",
            Self::Blank(_) => "blank pages",
            Self::Cut(_) => "cuts",
        }
    }

    fn to(self, bytes: &mut Vec<u8>, earlier: &[u8]) {
        let page = |n: usize| n * PAGE..(n + 1) * PAGE;
        match self {
            Self::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
            Self::Swap(one, other) => {
                let kept = bytes[page(one)].to_vec();
                bytes.copy_within(page(other), one * PAGE);
                bytes[page(other)].copy_from_slice(&kept);
            }
            Self::Older(n) => bytes[page(n)].copy_from_slice(&earlier[page(n)]),
            Self::Blank(n) => bytes[page(n)].fill(0),
            Self::Cut(len) => bytes.truncate(len),
        }
    }
}

/// What a seed does, and to which file; whether the views are there at all.
fn harm(base: &Base, seed: u64) -> (&'static str, Harm, bool) {
    let mut dice = Dice::new(seed);
    let file = dice.pick(&["log.db", "log.db", "views.db"]);
    let bytes = &base.now.0[Path::new(file)];
    let earlier = &base.earlier.0[Path::new(file)];
    let pages = bytes.len() / PAGE;
    let any = |dice: &mut Dice| dice.below(pages as u64) as usize;
    let harm = match dice.below(20) {
        0..=12 => Harm::Flip {
            byte: dice.below(bytes.len() as u64) as usize,
            bit: dice.below(8) as u8,
        },
        13..=15 => {
            let one = any(&mut dice);
            Harm::Swap(one, (one + 1 + dice.below(pages as u64 - 1) as usize) % pages)
        }
        16..=17 => {
            let differs = |n: &usize| bytes[n * PAGE..(n + 1) * PAGE] != earlier[n * PAGE..(n + 1) * PAGE];
            let stale: Vec<usize> = (0..earlier.len().min(bytes.len()) / PAGE).filter(differs).collect();
            Harm::Older(dice.pick(&stale))
        }
        18 => Harm::Blank(any(&mut dice)),
        _ => Harm::Cut(dice.below(bytes.len() as u64) as usize),
    };
    (file, harm, file == "log.db" && dice.below(2) == 0)
}

/// What came of one harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// The pod did not open, and said why.
    Refused,
    /// It opened, and some call said what is wrong.
    Told,
    /// Everything reads as if nothing had happened; the views may have been made again.
    Right,
    /// Views with a page of their past show a part of it. Each page is sealed for its place and not for its time, so only what was once
    /// true can be shown; that nothing else is, is checked.
    Past,
}

fn typed(error: &Error) -> Result<(), String> {
    // What is damaged is not busy, full, locked or away, and no reason to try again for ever.
    match error.kind() {
        "damaged" => Ok(()),
        kind => Err(format!("says {kind}: {error}")),
    }
}

async fn spoil(base: &Base, dir: &Path, seed: u64) -> Result<(Came, bool), String> {
    let (file, harm, without_views) = harm(base, seed);
    let mut image = base.now.clone();
    let earlier = &base.earlier.0[Path::new(file)];
    harm.to(image.0.get_mut(Path::new(file)).unwrap(), earlier);
    if without_views {
        image.0.remove(Path::new("views.db"));
    }
    image.put(dir);
    if seed.is_multiple_of(8) && file == "log.db" {
        tokio::task::block_in_place(|| talk(base, dir))?;
        image.put(dir);
    }
    let pod = match Pod::open(dir, base.options()).await {
        Ok(pod) => pod,
        Err(error) => return typed(&error).map(|()| (Came::Refused, false)),
    };
    let past = file == "views.db" && matches!(harm, Harm::Older(_));
    let result = live(base, &pod, past, seed).await;
    pod.shutdown().await;
    let rebuilt = !without_views
        && file == "views.db"
        && std::fs::read(dir.join(file)).unwrap()[..16] != image.0[Path::new(file)].get(..16).unwrap_or_default()[..];
    Ok((result?, rebuilt))
}

async fn live(base: &Base, pod: &Pod, past: bool, seed: u64) -> Result<Came, String> {
    let mut came = Came::Right;
    let mut was = false;
    let mut tell = |error: Error| {
        came = Came::Told;
        typed(&error)
    };
    for _ in 0..20 {
        match pod.status().await {
            Ok(status) if status.unfolded > 0 => tokio::time::sleep(Duration::from_millis(2)).await,
            Ok(status) => {
                if status.only_here < base.only_here {
                    return Err(format!(
                        "says that all but {} are held, and {} are not",
                        status.only_here, base.only_here
                    ));
                }
                if let SyncState::UpToDate { at } = status.sync
                    && at != base.confirmed
                {
                    return Err(format!("says that all was held at {at}"));
                }
                break;
            }
            Err(error) => {
                tell(error)?;
                break;
            }
        }
    }
    match look(pod).await {
        Ok(shown) if shown == base.shown => {}
        Ok(shown) if past && base.once_showed(&shown) => was = true,
        Ok(shown) => return Err(format!("shows what is not so: {}", difference(&shown, &base.shown))),
        Err(error) => tell(error)?,
    }
    for (entry, truth) in base.held.iter().skip(seed as usize % 6).step_by(6) {
        match holders(pod, *entry).await {
            Ok(holders) if holders.is_subset(truth) => {}
            Ok(holders) => return Err(format!("says that {holders:?} hold what {truth:?} do")),
            Err(error) => tell(error)?,
        }
    }
    if !seed.is_multiple_of(3) {
        return Ok(if was { Came::Past } else { came });
    }
    if let Err(error) = pod.verify().await {
        tell(error)?;
    }
    // Whatever is acknowledged now is there, or said to be damaged.
    let payload = b"written afterwards".to_vec();
    let kind = "n".to_owned();
    match pod
        .append(
            STEPS,
            vec![Event::App {
                kind,
                payload: payload.clone(),
            }],
        )
        .await
    {
        Err(error) => tell(error)?,
        Ok(_) => match pod.events(STEPS).await {
            Err(error) => tell(error)?,
            Ok(events) => {
                let is_new = |event: &Event| matches!(event, Event::App { payload: found, .. } if *found == payload);
                if !events.iter().any(is_new) {
                    return Err("lost what it acknowledged".to_owned());
                }
                let others: Vec<Event> = events.iter().filter(|event| !is_new(event)).cloned().collect();
                if others != base.shown.events {
                    return Err("lost other events when it wrote one".to_owned());
                }
            }
        },
    }
    Ok(if was { Came::Past } else { came })
}

fn difference(shown: &Shown, truth: &Shown) -> String {
    format!(
        "did {}, documents {} of {} and {} of them otherwise, rows {} of {} and {} of them otherwise, events {} of {}",
        shown.did == truth.did,
        shown.documents.len(),
        truth.documents.len(),
        shown
            .documents
            .iter()
            .filter(|(id, value)| truth.documents.get(id) != Some(value))
            .count(),
        shown.rows.len(),
        truth.rows.len(),
        shown.rows.iter().filter(|row| !truth.rows.contains(row)).count(),
        shown.events.len(),
        truth.events.len(),
    )
}

/// The phone's log, opened as a cloud peer opens one, talks to a tablet that has nothing: what the tablet takes is what was written.
fn talk(base: &Base, dir: &Path) -> Result<(), String> {
    let mut random = SeededRandom::new(1);
    let Ok(log) = LogStore::open(dir, false, &mut random) else {
        return Ok(());
    };
    let said = (|| -> Result<(), String> {
        let phone = base.pocket.secret().unwrap().keys();
        let tablet = base.tablet.secret().unwrap().keys();
        for identity in log.read(|read| read.identities()).unwrap_or_default() {
            let now: rhizome::sync::WallClock = Arc::new(|| 1_000);
            let loaded = Replica::load(
                log.clone(),
                identity,
                phone.signing.clone(),
                now.clone(),
                Limits::default(),
            );
            let Ok(ours) = loaded else { continue };
            let known = ours.known();
            let store = LogStore::in_memory(&mut random).unwrap();
            let theirs = Replica::adopt(
                store.clone(),
                known.log.clone(),
                known.pending.clone(),
                tablet.signing.clone(),
                now,
                Limits::default(),
            );
            let Ok(theirs) = theirs else { continue };
            let Ok(dialler) = Session::dial(&ours, theirs.signer()) else {
                continue;
            };
            converse([dialler, Session::listen(Keys::of(&phone).2)], [&ours, &theirs])?;
            for (author, _) in store.read(|read| read.heads(&identity)).unwrap() {
                let taken = store.read(|read| read.entries_after(&author, 0, 1, u64::MAX, usize::MAX));
                for entry in taken.map_err(|error| format!("the tablet's own log: {error}"))? {
                    if !base.entries.contains(&(author, entry.position())) {
                        return Err("the tablet took an entry that nobody wrote".to_owned());
                    }
                }
            }
        }
        Ok(())
    })();
    log.close();
    said
}

fn converse(mut sessions: [Session; 2], replicas: [&Replica; 2]) -> Result<(), String> {
    let mut quiet = 0;
    for turn in 0..20_000 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        match sessions[from].next(replicas[from]) {
            Ok(Some(message)) => {
                if sessions[to].receive(message, replicas[to]).is_err() {
                    return Ok(());
                }
                quiet = 0;
            }
            Ok(None) => quiet += 1,
            Err(_) => return Ok(()),
        }
        if quiet == 2 {
            return Ok(());
        }
    }
    Err("they talk for ever".to_owned())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("a number"))
}

type Counts = BTreeMap<(&'static str, &'static str, Came), u64>;

#[derive(Default)]
struct Tally {
    counts: Counts,
    rebuilt: u64,
    failures: Vec<String>,
}

#[test]
fn what_the_disk_spoils_is_said_or_made_again_and_never_shown() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    let seeds: Vec<u64> = match number("RHIZOME_FLIP_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("RHIZOME_FLIPS_FROM").unwrap_or(0);
            (first..first + number("RHIZOME_FLIPS").unwrap_or(1_500)).collect()
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let base = Arc::new(runtime.block_on(async { tokio::spawn(base()).await }).unwrap());
    let seeds = Arc::new(seeds);
    let next = Arc::new(AtomicU64::new(0));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (base, seeds, next, tally) = (base.clone(), seeds.clone(), next.clone(), tally.clone());
            runtime.spawn(async move {
                let dir = folder();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(place as usize) else { return };
                    let (file, harm, _) = harm(&base, seed);
                    let path: PathBuf = dir.path().join(format!("{seed}"));
                    std::fs::create_dir(&path).unwrap();
                    let came = tokio::time::timeout(ENDLESS, spoil(&base, &path, seed)).await;
                    std::fs::remove_dir_all(&path).unwrap();
                    let mut tally = tally.lock().unwrap();
                    match came.unwrap_or_else(|_| Err("does not end".to_owned())) {
                        Ok((came, rebuilt)) => {
                            *tally.counts.entry((file, harm.name(), came)).or_default() += 1;
                            tally.rebuilt += u64::from(rebuilt);
                        }
                        Err(what) => {
                            let what = format!("RHIZOME_FLIP_SEED={seed}: {file}, {harm:?}: {what}");
                            println!("{what}");
                            tally.failures.push(what);
                        }
                    }
                    if place % 5_000 == 4_999 {
                        println!("{} of {}", place + 1, seeds.len());
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        runtime.block_on(worker).unwrap();
    }
    let tally = tally.lock().unwrap();
    for ((file, harm, came), count) in &tally.counts {
        println!("{file:9} {harm:12} {:8} {count}", format!("{came:?}"));
    }
    println!(
        "{} harms, {} views made again, {} wrong, {} panics",
        seeds.len(),
        tally.rebuilt,
        tally.failures.len(),
        PANICS.load(Ordering::Relaxed)
    );
    assert!(
        tally.failures.is_empty(),
        "{} harms were not noticed",
        tally.failures.len()
    );
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics");
}
