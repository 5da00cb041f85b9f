//! What the tests of the platform layers need and no app should see.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::{
    CancelHandle, PodHandle, RhizomeError,
    runtime::{ask, instant, run, runtime},
};

/// What is alive in the library.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Alive {
    /// Tasks of the runtime.
    pub tasks: u64,
    /// Bytes allocated and not freed.
    pub bytes: i64,
    /// Handles of the pod that anybody holds, here or there.
    pub pod_handles: u64,
}

/// Counts what is allocated.
struct Counting;

static BYTES: AtomicI64 = AtomicI64::new(0);

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(size(layout), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(size(layout), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[uniffi::export]
impl PodHandle {
    /// What is alive. Instant.
    pub fn alive(self: Arc<Self>) -> Alive {
        Alive {
            tasks: runtime().metrics().num_alive_tasks() as u64,
            bytes: BYTES.load(Ordering::Relaxed),
            // Without the one of this call.
            pod_handles: Arc::strong_count(&self) as u64 - 1,
        }
    }

    /// Panics in an instant call.
    pub fn panic_now(&self) -> Result<(), RhizomeError> {
        instant(|| panic!("a test asked for it"))
    }

    /// Panics in an async call that is polled by its caller.
    pub async fn panic_here(&self, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        ask(cancel, async {
            if true {
                panic!("a test asked for it");
            }
            Ok::<(), RhizomeError>(())
        })
        .await
    }

    /// Panics in an async call.
    pub async fn panic_later(&self, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        run(cancel, async {
            if true {
                panic!("a test asked for it");
            }
            Ok::<(), RhizomeError>(())
        })
        .await
    }
}
