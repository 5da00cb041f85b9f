//! Where async calls run, and how they are cancelled.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, LazyLock},
    task::Poll,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::JoinHandle,
};

use crate::RhizomeError;

/// The one runtime of the library. It lives as long as the process: a pod that is open uses it, and threads that wait cost next to nothing.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tell_panics_without_their_words();
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("rhizome")
        .enable_all()
        .build()
        .expect("a process that cannot start two threads can do nothing here")
});

/// A panic's words may hold what a person wrote: of those on our threads, and on the app's, only the place is told.
fn tell_panics_without_their_words() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Threads that Rust has not named are the app's; those of a program or a test in Rust have names.
        if std::thread::current()
            .name()
            .is_some_and(|name| !name.starts_with("rhizome"))
        {
            return before(panic);
        }
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault in the library");
    }));
}

/// The runtime.
pub(crate) fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// Ends the async calls it is given to: they throw [`RhizomeError::Cancelled`], and what they had begun ends at a durable point. One handle
/// may be given to many calls.
#[derive(Debug, uniffi::Object)]
pub struct CancelHandle(watch::Sender<bool>);

#[uniffi::export]
impl CancelHandle {
    /// A handle that cancels nothing yet. Instant.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(false)))
    }

    /// Cancels every call that has this handle, now and later. Instant.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was cancelled. Instant.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }
}

impl CancelHandle {
    async fn cancelled(&self) {
        let _ = self.0.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}

/// Ends the task with whoever waits for it.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` on the runtime until it ends, or its caller or `cancel` ends it.
pub(crate) async fn run<T, E>(
    cancel: Option<Arc<CancelHandle>>,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, RhizomeError>
where
    T: Send + 'static,
    E: Into<RhizomeError> + Send + 'static,
{
    let mut task = Owned(RUNTIME.spawn(work));
    let joined = match cancel {
        None => (&mut task.0).await,
        Some(cancel) => tokio::select! {
            biased;
            joined = &mut task.0 => joined,
            () = cancel.cancelled() => {
                task.0.abort();
                // What it held is let go before the caller is told; and what ended in this very moment has ended.
                (&mut task.0).await
            }
        },
    };
    match joined {
        Ok(result) => result.map_err(Into::into),
        Err(error) if error.is_cancelled() => Err(RhizomeError::cancelled()),
        Err(error) => Err(RhizomeError::panicked(error.into_panic())),
    }
}

/// Runs what must not be left half-way, even if nobody waits for it any more.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, rhizome::Error>> + Send + 'static,
) -> Result<T, RhizomeError> {
    match RUNTIME.spawn(work).await {
        Ok(result) => Ok(result?),
        Err(error) if error.is_panic() => Err(RhizomeError::panicked(error.into_panic())),
        Err(_) => Err(RhizomeError::cancelled()),
    }
}

/// Polls `work` wherever its caller does, with the runtime at hand, until it ends, or its caller or `cancel` ends it: for work that waits for
/// the store's threads alone and does nothing long by itself. It saves two changes of thread, which cost more than most questions to a store.
pub(crate) async fn ask<T, E>(
    cancel: Option<Arc<CancelHandle>>,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, RhizomeError>
where
    E: Into<RhizomeError>,
{
    let mut work = pin!(work);
    let here = poll_fn(move |context| {
        let _entered = RUNTIME.enter();
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(polled) => polled.map(|result| result.map_err(Into::into)),
            Err(panic) => Poll::Ready(Err(RhizomeError::panicked(panic))),
        }
    });
    match cancel {
        None => here.await,
        Some(cancel) => tokio::select! {
            biased;
            result = here => result,
            () = cancel.cancelled() => Err(RhizomeError::cancelled()),
        },
    }
}

/// Runs an instant call; a panic in it becomes an error.
pub(crate) fn instant<T>(work: impl FnOnce() -> Result<T, RhizomeError>) -> Result<T, RhizomeError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic: Box<dyn Any + Send>| Err(RhizomeError::panicked(panic)))
}
