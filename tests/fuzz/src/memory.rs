//! Counts every byte of Rust's heap, so that a decoder which takes more than it should is caught however little its input was.
//!
//! SQLite allocates in C and is not counted; its caches are bounded by its own settings.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What an input may take beyond its own size.
pub const ALLOWED: usize = 64 << 20;
/// At this much the allocator gives nothing more: a machine that other work shares must not be drowned to make the point.
const CEILING: usize = 1 << 30;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static INPUT: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(size: usize) -> bool {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(live, Relaxed);
    if live > CEILING {
        LIVE.fetch_sub(size, Relaxed);
        return false;
    }
    true
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !add(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !add(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Counted as both at once: a block that moves is there twice for a moment.
        if !add(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        let moved = unsafe { System.realloc(block, layout, size) };
        LIVE.fetch_sub(if moved.is_null() { size } else { layout.size() }, Relaxed);
        moved
    }
}

/// Bytes that a target made out of its input before the decoder saw them (repeated, sealed, compressed): they are input too.
pub fn note_input(bytes: usize) {
    INPUT.fetch_add(bytes, Relaxed);
}

/// Measures from here.
pub(crate) struct Watch {
    before: usize,
}

impl Watch {
    pub(crate) fn begin(input: usize) -> Self {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        INPUT.store(input, Relaxed);
        Self { before }
    }

    /// The most that was live at once since then, beyond what was live before and the input: the figure that [`ALLOWED`] bounds.
    pub(crate) fn taken(&self) -> usize {
        PEAK.load(Relaxed)
            .saturating_sub(self.before)
            .saturating_sub(INPUT.load(Relaxed))
    }
}
