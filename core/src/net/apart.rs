//! Work that waits for the disk, on threads that may.

use std::{any::Any, future::Future};

use tokio::task::{JoinError, spawn_blocking};

/// Begins `work` on a thread that may wait; the future ends with it. All such work is one type to the runtime, whose code for a task is
/// otherwise there once for each of a hundred closures: 300 kB of a phone's library.
pub(crate) fn apart<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> impl Future<Output = Result<R, JoinError>> + Send {
    let work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> = Box::new(move || Box::new(work()));
    let begun = spawn_blocking(work);
    async move {
        let done = begun.await?;
        Ok(*done.downcast().expect("it is what the work gave"))
    }
}
