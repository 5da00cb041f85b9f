//! Where async calls run, and how they are cancelled.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::Poll,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::{JoinError, JoinHandle},
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

/// Work that gives a value of any type, or an error. All calls are of this one type to the runtime and to what waits for them: the code
/// for a task, and for waiting with a cancel handle, would otherwise be in a phone's library once for each call.
type Call = Pin<Box<dyn Future<Output = Result<Given, RhizomeError>> + Send>>;
type Given = Box<dyn Any + Send>;

fn call<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Call
where
    T: Send + 'static,
    E: Into<RhizomeError>,
{
    Box::pin(async move {
        match work.await {
            Ok(value) => Ok(Box::new(value) as Given),
            Err(error) => Err(error.into()),
        }
    })
}

fn given<T: 'static>(result: Result<Given, RhizomeError>) -> Result<T, RhizomeError> {
    Ok(*result?.downcast().expect("it is what the call gives"))
}

/// Ends the task with whoever waits for it.
struct Owned(JoinHandle<Result<Given, RhizomeError>>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` on the runtime until it ends, or its caller or `cancel` ends it.
pub(crate) fn run<T, E>(
    cancel: Option<Arc<CancelHandle>>,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> impl Future<Output = Result<T, RhizomeError>> + Send
where
    T: Send + 'static,
    E: Into<RhizomeError> + Send + 'static,
{
    let work = call(work);
    async move { given(run_call(cancel, work).await) }
}

async fn run_call(cancel: Option<Arc<CancelHandle>>, work: Call) -> Result<Given, RhizomeError> {
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
    ended(joined)
}

fn ended(joined: Result<Result<Given, RhizomeError>, JoinError>) -> Result<Given, RhizomeError> {
    match joined {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(RhizomeError::cancelled()),
        Err(error) => Err(RhizomeError::panicked(error.into_panic())),
    }
}

/// Runs what must not be left half-way, even if nobody waits for it any more.
pub(crate) fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, rhizome::Error>> + Send + 'static,
) -> impl Future<Output = Result<T, RhizomeError>> + Send {
    let work = call(work);
    async move { given(ended(RUNTIME.spawn(work).await)) }
}

/// Polls `work` wherever its caller does, with the runtime at hand, until it ends, or its caller or `cancel` ends it: for work that waits for
/// the store's threads alone and does nothing long by itself. It saves two changes of thread, which cost more than most questions to a store.
pub(crate) fn ask<T, E>(
    cancel: Option<Arc<CancelHandle>>,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> impl Future<Output = Result<T, RhizomeError>> + Send
where
    T: Send + 'static,
    E: Into<RhizomeError>,
{
    let work = call(work);
    async move { given(ask_call(cancel, work).await) }
}

async fn ask_call(cancel: Option<Arc<CancelHandle>>, mut work: Call) -> Result<Given, RhizomeError> {
    let here = poll_fn(move |context| {
        let _entered = RUNTIME.enter();
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(polled) => polled,
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
