//! Devices and cloud peers of one identity in simulated time: every operation of the product, against a reference model. Connections that break
//! within a frame, messages lost, repeated and swapped, processes that are suspended and killed, folders put back from a backup and copied, peers
//! that are wiped, clocks of 1970 and 9999, quotas, orderers that are away, documents that are deleted and brought back. In the end all agree,
//! nothing acknowledged is missing, and nothing that was erased is there.
//!
//! A schedule is a list of steps, drawn from a seed. One that fails is made as short as it can be while it still fails in the same way, and
//! written to `kept/`, where it is a test from then on.
//!
//! `RHIZOME_SIM_SCHEDULES=n` runs more schedules, `RHIZOME_SIM_FIRST=s` begins at another seed, `RHIZOME_SIM_SEED=s` runs one,
//! `RHIZOME_SIM_FILE=path` one from a file.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod check;
mod disk;
mod erasing;
mod failure;
mod generate;
mod minimise;
mod model;
mod newer;
mod node;
mod settle;
mod step;
mod totals;
mod wire;
mod world;

#[path = "../common/mod.rs"]
mod common;

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use failure::Failure;
use step::{Schedule, Step};
use totals::Totals;
use world::{Fault, World};

const SCHEDULES: u64 = 600;
/// Runs that the search for a short schedule may take.
const TRIES: usize = 3_000;

thread_local! {
    /// Where the last panic of this thread was.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic is a failure like others: noted, with its place, and not printed each time a schedule is made shorter.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let name = std::thread::current().name().map(str::to_owned);
            if name.is_some_and(|name| name.starts_with("schedules")) {
                PANICKED.set(Some(panic.to_string()));
            } else {
                before(panic);
            }
        }));
    });
}

/// Runs a schedule from its beginning to agreement.
fn run(schedule: &Schedule, fault: Option<Fault>) -> Result<Totals, Failure> {
    note_panics();
    let whole = || {
        let mut world = World::new(schedule)?;
        world.fault = fault;
        for (place, step) in schedule.steps.iter().enumerate() {
            world.step(step).map_err(|failure| Failure {
                step: Some(place + 1),
                ..failure
            })?;
        }
        world.settle()?;
        world.totals.schedules = 1;
        Ok(std::mem::take(&mut world.totals))
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(whole)).unwrap_or_else(|_| {
        let place = PANICKED.take().unwrap_or_default();
        Err(Failure::new(
            format!("panic {}", place.lines().next().unwrap_or_default()),
            place,
        ))
    })
}

/// Runs `work` in a thread whose panics are noted.
fn in_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("schedules".to_owned());
        thread.spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

/// The shortest schedule found that fails as this one does.
fn shorten(schedule: &Schedule, failure: &Failure, fault: Option<Fault>) -> (Schedule, Failure) {
    let mut last = failure.clone();
    let with = |steps: &[Step]| Schedule {
        steps: steps.to_vec(),
        ..schedule.clone()
    };
    let steps = minimise::minimise(&schedule.steps, TRIES, |steps| match run(&with(steps), fault) {
        Err(other) if other.kind == failure.kind => {
            last = other;
            true
        }
        _ => false,
    });
    (with(&steps), last)
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/kept")
}

/// Makes a failing schedule short, and keeps it.
fn report(schedule: &Schedule, failure: &Failure) -> String {
    eprintln!("seed {}: {failure}\nmaking the schedule shorter", schedule.seed);
    let (short, failure) = shorten(schedule, failure, None);
    let text = format!("# {failure}\n{short}");
    let file = kept().join(format!("seed-{}.txt", schedule.seed));
    let place = match fs::write(&file, &text) {
        Ok(()) => file.display().to_string(),
        Err(error) => format!("nowhere: {error}"),
    };
    format!(
        "replay with RHIZOME_SIM_SEED={}; kept in {place}\n{text}",
        schedule.seed
    )
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn devices_agree_and_lose_nothing_whatever_happens_to_them() {
    if let Ok(file) = std::env::var("RHIZOME_SIM_FILE") {
        let schedule: Schedule = fs::read_to_string(file).unwrap().parse().unwrap();
        println!(
            "{}",
            in_thread(|| run(&schedule, None)).unwrap_or_else(|failure| panic!("{failure}"))
        );
        return;
    }
    let one = number("RHIZOME_SIM_SEED");
    let first = one.or_else(|| number("RHIZOME_SIM_FIRST")).unwrap_or(0);
    let schedules = match one {
        Some(_) => 1,
        None => number("RHIZOME_SIM_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let work = || {
                while failed.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + schedules {
                        return;
                    }
                    let schedule = generate::schedule(seed);
                    match run(&schedule, None) {
                        Ok(done) => {
                            let mut totals = totals.lock().unwrap();
                            totals.add(&done);
                            if totals.schedules % 1_000 == 0 {
                                eprintln!("{} schedules", totals.schedules);
                            }
                        }
                        Err(failure) => {
                            let mut failed = failed.lock().unwrap();
                            if failed.is_none() {
                                *failed = Some(report(&schedule, &failure));
                            }
                        }
                    }
                }
            };
            let thread = std::thread::Builder::new().name("schedules".to_owned());
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    if let Some(report) = failed.into_inner().unwrap() {
        panic!("{report}");
    }
    let totals = totals.into_inner().unwrap();
    println!("{totals}");
    if schedules >= 500 {
        let never: Vec<&&str> = Step::WORDS.iter().filter(|word| totals.of(word) == 0).collect();
        assert!(never.is_empty(), "never done: {never:?}");
        assert!(totals.holes > 0, "nothing was erased for good");
    }
}

/// What once failed: see the first line of each.
#[test]
fn every_kept_schedule_passes() {
    let mut files: Vec<PathBuf> = fs::read_dir(kept())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut totals = Totals::default();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "txt"))
    {
        let schedule: Schedule = fs::read_to_string(file).unwrap().parse().unwrap();
        match in_thread(|| run(&schedule, None)) {
            Ok(done) => totals.add(&done),
            Err(failure) => panic!("{}: {failure}", file.display()),
        }
    }
    println!("kept: {totals}");
    assert!(totals.schedules > 0, "none in {}", kept().display());
}

#[test]
fn a_planted_fault_comes_out_as_a_short_schedule() {
    let fault = Some(Fault::KillForgets);
    let found = in_thread(|| {
        (0..2_000).map(generate::schedule).find_map(|schedule| {
            let failure = run(&schedule, fault).err().filter(|failure| failure.kind == "lost")?;
            Some((shorten(&schedule, &failure, fault), schedule.steps.len()))
        })
    });
    let ((short, failure), before) = found.expect("no schedule found the fault");
    println!("of {before} steps these stay:\n# {failure}\n{short}");
    assert_eq!(failure.kind, "lost");
    // A backup, a write, a kill; and whatever brought the device there.
    assert!(short.steps.len() <= 5, "{short}");
    assert!(matches!(short.steps.last(), Some(Step::Kill { .. })), "{short}");
    let again: Schedule = short.to_string().parse().unwrap();
    let failed = in_thread(|| run(&again, fault)).expect_err("it fails from its text too");
    assert_eq!(failed.kind, "lost");
    in_thread(|| run(&again, None)).unwrap();
}
