//! Fuzzes one target with libFuzzer, or works on the corpus. `tests/fuzz/run.py` calls it.
//!
//! ```text
//! fuzz list                       the targets
//! fuzz seeds TARGET DIR           the seeds made from the vectors, as files
//! fuzz unpack TARGET DIR          the committed corpus, as files
//! fuzz pack TARGET DIR            the other way round
//! fuzz coverage                   what the committed corpus reaches, as JSON
//! fuzz run TARGET [libFuzzer's arguments]
//! ```

mod coverage;

use std::{
    ffi::{CString, c_char, c_int},
    path::Path,
    process::exit,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rhizome_fuzz::{TARGETS, Target, corpus, seeds, targets};

/// Names the target for the processes that libFuzzer starts itself, with its own arguments.
const CHILD: &str = "RHIZOME_FUZZ_TARGET";

static PEAK: AtomicUsize = AtomicUsize::new(0);

type Callback = extern "C" fn(*const u8, usize) -> c_int;

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(argc: *mut c_int, argv: *mut *mut *mut c_char, run: Callback) -> c_int;
    fn atexit(last: extern "C" fn()) -> c_int;
}

fn chosen(name: &str) -> &'static Target {
    targets::named(name).unwrap_or_else(|| {
        eprintln!("there is no target {name}");
        exit(2)
    })
}

fn one(data: &[u8]) -> c_int {
    static TARGET: std::sync::OnceLock<&'static Target> = std::sync::OnceLock::new();
    let target = TARGET.get_or_init(|| chosen(&std::env::var(CHILD).expect("set before libFuzzer began")));
    match rhizome_fuzz::run(target, data) {
        Ok(taken) => {
            PEAK.fetch_max(taken, Relaxed);
            0
        }
        Err(broken) => {
            eprintln!("FOUND by {}: {broken}", target.name);
            // libFuzzer keeps the input of a process that dies.
            std::process::abort()
        }
    }
}

extern "C" fn one_input(data: *const u8, size: usize) -> c_int {
    let data = if size == 0 {
        &[]
    } else {
        // SAFETY: libFuzzer gives `size` bytes that live as long as this call.
        unsafe { std::slice::from_raw_parts(data, size) }
    };
    one(data)
}

extern "C" fn say_figures() {
    eprintln!("figures: peak {} caught {}", PEAK.load(Relaxed), rhizome_fuzz::caught());
}

fn fuzz(arguments: Vec<String>) -> ! {
    let arguments: Vec<CString> = arguments
        .into_iter()
        .map(|argument| CString::new(argument).expect("an argument holds no zero"))
        .collect();
    let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let mut count = c_int::try_from(pointers.len()).expect("few arguments");
    pointers.push(std::ptr::null_mut());
    let mut list = pointers.as_mut_ptr();
    // SAFETY: `count` strings that end in zero and live until the end, then null; the callbacks are plain functions.
    let code = unsafe {
        atexit(say_figures);
        LLVMFuzzerRunDriver(&mut count, &mut list, one_input)
    };
    exit(code)
}

fn main() -> std::io::Result<()> {
    let mut arguments: Vec<String> = std::env::args().collect();
    if std::env::var_os(CHILD).is_some() {
        fuzz(arguments);
    }
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["list"] => TARGETS
            .iter()
            .for_each(|target| println!("{}\t{}\t{}", target.name, target.longest, target.what)),
        ["seeds", target, dir] => corpus::unpack(Path::new(dir), seeds::seeds(chosen(target).name))?,
        ["unpack", target, dir] => corpus::unpack(Path::new(dir), corpus::read(chosen(target).name)?)?,
        ["pack", target, dir] => corpus::write(chosen(target).name, corpus::gather(Path::new(dir))?)?,
        ["coverage"] => println!("{}", coverage::report()?),
        ["run", target, ..] => {
            // SAFETY: no other thread runs yet.
            unsafe { std::env::set_var(CHILD, chosen(target).name) };
            arguments.drain(1..3);
            fuzz(arguments)
        }
        _ => {
            eprintln!("fuzz list | seeds TARGET DIR | unpack TARGET DIR | pack TARGET DIR | coverage | run TARGET …");
            exit(2)
        }
    }
    Ok(())
}
