//! What the system says of this process, and the bytes that the runs write.

use rhizome::{
    Event,
    crypto::{Random, SeededRandom},
};

/// Kilobytes that `/proc/self/status` gives under `name`; `None` where there is no such file.
fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The most memory that was resident so far, in kilobytes.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// The memory that is resident now, in kilobytes.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Seconds of CPU that this process used so far, in the system's ticks of a hundredth.
pub fn cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; times are fields 14 and 15 of all.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// `count` events of `size` bytes that no compression makes smaller. The same for the same seed.
pub fn events(seed: u64, count: usize, size: usize) -> Vec<Event> {
    let mut random = SeededRandom::new(seed);
    let mut event = || {
        let mut payload = vec![0; size];
        random.fill(&mut payload);
        Event::App {
            kind: "note".to_owned(),
            payload,
        }
    };
    (0..count).map(|_| event()).collect()
}
