//! What the committed corpus reaches: edges of the code that the compiler instrumented, by file of the core.

use std::collections::BTreeMap;

use rhizome_fuzz::{TARGETS, corpus};
use serde_json::{Value, json};

/// Marks of the compiler's counters and of the places they count, put around their sections by the linker.
mod sections {
    unsafe extern "C" {
        #[link_name = "__start___sancov_cntrs"]
        pub static FIRST_COUNTER: u8;
        #[link_name = "__stop___sancov_cntrs"]
        pub static LAST_COUNTER: u8;
        #[link_name = "__start___sancov_pcs"]
        pub static FIRST_PLACE: [usize; 2];
    }
}

fn counters() -> &'static mut [u8] {
    // SAFETY: the linker lays one byte for each edge between the two marks, and instrumented code is the only other writer: it does not run
    // on any thread while this is read. No other slice is made of it, as the only caller is `sweep`.
    unsafe {
        let (first, last) = (&raw const sections::FIRST_COUNTER, &raw const sections::LAST_COUNTER);
        std::slice::from_raw_parts_mut(first.cast_mut(), last.offset_from(first).unsigned_abs())
    }
}

/// Where edge `number` begins in memory.
fn place(number: usize) -> usize {
    // SAFETY: there is a pair (address, flags) for each counter, in the same order.
    unsafe { (*(&raw const sections::FIRST_PLACE).add(number))[0] }
}

/// Notes which edges were passed since the last time, and forgets them.
fn sweep(reached: &mut [bool]) {
    for (counter, reached) in counters().iter_mut().zip(reached) {
        *reached |= std::mem::take(counter) != 0;
    }
}

/// The file of the core that an edge belongs to, as `identity/state.rs`; for code of a library that was made for the core's types, its name.
fn file(address: usize) -> Option<String> {
    let mut found = None;
    // One byte on: addresses are looked up as those that calls return to.
    backtrace::resolve((address + 1) as *mut std::ffi::c_void, |symbol| {
        let Some(path) = symbol.filename().map(|path| path.to_string_lossy().replace('\\', "/")) else {
            return;
        };
        let Some((_, inner)) = path.split_once("/core/src/").filter(|_| !path.contains("/library/")) else {
            return;
        };
        found.get_or_insert_with(|| inner.to_owned());
    });
    found
}

/// Runs the corpus of every target, and counts.
pub fn report() -> std::io::Result<Value> {
    let mut all = vec![false; counters().len()];
    let mut of_target = Vec::new();
    for target in TARGETS {
        let mut reached = vec![false; all.len()];
        rhizome_fuzz::world::prepare();
        sweep(&mut vec![false; all.len()]);
        let inputs = corpus::read(target.name)?;
        let mut peak = 0;
        for input in &inputs {
            peak = peak.max(rhizome_fuzz::run(target, input).map_err(std::io::Error::other)?);
            sweep(&mut reached);
        }
        all.iter_mut().zip(&reached).for_each(|(all, reached)| *all |= reached);
        of_target.push((target.name, inputs.len(), reached, peak));
    }
    let files: Vec<Option<String>> = (0..all.len()).map(|number| file(place(number))).collect();
    let count = |reached: &[bool]| {
        let mut of_file: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (file, reached) in files.iter().zip(reached) {
            let Some(file) = file else { continue };
            let (hit, total) = of_file.entry(file).or_default();
            *hit += u64::from(*reached);
            *total += 1;
        }
        of_file
    };
    let by_file: BTreeMap<&str, Value> = count(&all)
        .into_iter()
        .map(|(file, (hit, total))| (file, json!([hit, total])))
        .collect();
    let by_target: BTreeMap<&str, Value> = of_target
        .iter()
        .map(|(name, inputs, reached, peak)| {
            let edges: u64 = count(reached).values().map(|(hit, _)| hit).sum();
            (*name, json!({"inputs": inputs, "edges": edges, "memory": peak}))
        })
        .collect();
    Ok(json!({"files": by_file, "targets": by_target}))
}
