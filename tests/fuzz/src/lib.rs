//! What bytes from outside may do to the core: nothing but be read or be refused.
//!
//! Each [`Target`] is a function over bytes that panics when a promise of the core does not hold: a decoder panics or takes more memory than
//! its input and [`memory::ALLOWED`], bytes are accepted in two spellings, a state changes although an error was answered, two orders of the
//! same changes end in two documents. libFuzzer searches for inputs that reach new code (`make fuzz`), the committed corpus keeps what it
//! found, and `tests/corpus.rs` feeds that to the targets in every `cargo test`.
//!
//! Random bytes do not get past a signature. So the targets sign and seal what the fuzzer wrote with keys that the readers know
//! ([`world`]): the code behind the checks is reached with contents that no honest device makes.

pub mod corpus;
pub mod input;
pub mod memory;
pub mod seeds;
pub mod targets;
pub mod world;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub use targets::{TARGETS, Target};

thread_local! {
    static RUNS_TARGETS: Cell<bool> = const { Cell::new(false) };
}

/// Panics that the core caught itself: Automerge's, on changes that [`rhizome::document::chunk`] let pass.
static CAUGHT: AtomicU64 = AtomicU64::new(0);
/// Panics on other threads, such as the writer of a store: nobody catches those.
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<String> = Mutex::new(String::new());

/// Panics so far that the core itself caught.
pub fn caught() -> u64 {
    CAUGHT.load(Relaxed)
}

fn last() -> MutexGuard<'static, String> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            if RUNS_TARGETS.get() {
                CAUGHT.fetch_add(1, Relaxed);
            } else {
                ELSEWHERE.fetch_add(1, Relaxed);
            }
            *last() = panic.to_string();
        }));
    });
}

/// Runs a target on one input.
///
/// Answers the most memory that was live at once beyond the input and what was there before, in bytes.
///
/// # Errors
/// What promise does not hold, in words.
pub fn run(target: &Target, data: &[u8]) -> Result<usize, String> {
    // One at a time: memory is counted for the whole process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    listen_for_panics();
    // What many inputs share is made before memory is counted.
    world::prepare();
    RUNS_TARGETS.set(true);
    let elsewhere = ELSEWHERE.load(Relaxed);
    let watch = memory::Watch::begin(data.len());
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    let taken = watch.taken();
    RUNS_TARGETS.set(false);
    if result.is_err() {
        CAUGHT.fetch_sub(1, Relaxed);
        return Err(last().clone());
    }
    if ELSEWHERE.load(Relaxed) != elsewhere {
        return Err(format!("on another thread: {}", last()));
    }
    if taken > memory::ALLOWED {
        return Err(format!("{taken} bytes of memory beyond the input"));
    }
    Ok(taken)
}
