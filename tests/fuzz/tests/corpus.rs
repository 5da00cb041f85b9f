//! The committed corpus, fed to every target without a fuzzer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rhizome_fuzz::{TARGETS, corpus, run, seeds, targets};

/// One test at a time: memory is counted for the whole process, and what one reads must not count for the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn nothing_that_fuzzing_found_breaks_a_promise() {
    let _alone = alone();
    let (mut inputs, mut most, mut failures) = (0, 0, Vec::new());
    // Megabytes, read by code without optimisation, take minutes: the bombs are for the fuzzing binary, which runs all of them first.
    for target in TARGETS.iter().filter(|target| target.name != "bomb") {
        let began = Instant::now();
        let of_target = corpus::read(target.name).unwrap_or_else(|error| panic!("corpus/{}.txt: {error}", target.name));
        assert!(!of_target.is_empty(), "{} has no corpus", target.name);
        let mut peak = 0;
        let seeds = seeds::seeds(target.name);
        for input in of_target.iter().chain(&seeds) {
            match run(target, input) {
                Ok(taken) => peak = peak.max(taken),
                Err(broken) => failures.push(format!("{}: {broken}\n  {}", target.name, hex(input))),
            }
        }
        inputs += of_target.len() + seeds.len();
        most = most.max(peak);
        println!(
            "{:10} {:5} inputs, {:4} ms, {:8} bytes of memory beyond the input",
            target.name,
            of_target.len() + seeds.len(),
            began.elapsed().as_millis(),
            peak
        );
    }
    println!(
        "{inputs} inputs, {} broken promises, {} panics of Automerge caught by the core, at most {most} bytes beyond an input",
        failures.len(),
        rhizome_fuzz::caught()
    );
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(2_000).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_breaks_a_promise_is_noticed() {
    let _alone = alone();
    let broken = |run: fn(&[u8])| {
        let target = targets::Target {
            name: "broken",
            what: "nothing",
            longest: 0,
            run,
        };
        rhizome_fuzz::run(&target, b"input")
    };
    assert!(broken(|_| panic!("a decoder")).is_err_and(|said| said.contains("a decoder")));
    assert!(broken(|_| drop(vec![1u8; (64 << 20) + 6])).is_err_and(|said| said.contains("memory")));
    assert!(broken(|_| drop(vec![1u8; 64 << 20])).is_ok());
    let elsewhere = broken(|_| drop(std::thread::spawn(|| panic!("a writer")).join()));
    assert!(elsewhere.is_err_and(|said| said.contains("a writer")));
}
