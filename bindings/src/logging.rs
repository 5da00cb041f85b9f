//! What the library says of itself, to whoever listens: by a bounded channel, in batches, from a thread of its own. A listener that is slow
//! misses records, and is told how many; nobody waits for it.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::{Event, Level, Subscriber, field::Visit, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

/// Records that wait for the sink.
const WAITING: usize = 1024;
/// Records handed over at once.
const BATCH: usize = 64;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, uniffi::Enum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may be wrong.
    Warn,
    /// What a person would want to know.
    Info,
    /// What a developer would.
    Debug,
    /// Everything; in a library that was built for release, as `Debug`.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl From<&Level> for LogLevel {
    fn from(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// One thing that was said. It holds no user data and no keys.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LogRecord {
    /// How grave.
    pub level: LogLevel,
    /// Where from.
    pub target: String,
    /// What.
    pub message: String,
    /// When, in milliseconds since 1970.
    pub millis: u64,
}

/// What a sink could not do. It is not told again.
#[derive(Debug, thiserror::Error, uniffi::Error)]
pub enum LogSinkError {
    /// It failed.
    #[error("the log sink failed")]
    Failed,
}

impl From<uniffi::UnexpectedUniFFICallbackError> for LogSinkError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed
    }
}

/// Takes what the library says.
#[uniffi::export(foreign)]
pub trait LogSink: Send + Sync {
    /// Takes some records, oldest first. Called on a thread of the library that does nothing else.
    fn log(&self, records: Vec<LogRecord>) -> Result<(), LogSinkError>;
}

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Warn as u8);
static SINK: Mutex<Option<SyncSender<LogRecord>>> = Mutex::new(None);
static MISSED: AtomicU64 = AtomicU64::new(0);

fn level() -> LevelFilter {
    const LEVELS: [LevelFilter; 6] = [
        LevelFilter::OFF,
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    LEVELS[usize::from(LEVEL.load(Ordering::Relaxed)).min(5)]
}

/// How much the sink is told from now on; at first what is worth a warning. Instant.
#[uniffi::export]
pub fn set_log_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Who is told from now on; nobody at first, and with none. Instant.
#[uniffi::export]
pub fn set_log_sink(sink: Option<Arc<dyn LogSink>>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // An app of Rust that has a subscriber of its own keeps it.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Forward));
    });
    let sender = sink.and_then(|sink| {
        let (sender, records) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("rhizome-log".to_owned());
        thread.spawn(move || deliver(&*sink, &records)).ok().map(|_| sender)
    });
    // The thread before ends once its channel is empty.
    *SINK.lock().unwrap_or_else(PoisonError::into_inner) = sender;
}

fn deliver(sink: &dyn LogSink, records: &Receiver<LogRecord>) {
    while let Ok(first) = records.recv() {
        let mut batch = vec![first];
        batch.extend(records.try_iter().take(BATCH - 1));
        let missed = MISSED.swap(0, Ordering::Relaxed);
        if missed > 0 {
            batch.push(LogRecord {
                level: LogLevel::Warn,
                target: "rhizome::log".to_owned(),
                message: format!("{missed} records were dropped: the sink is slow"),
                millis: millis(),
            });
        }
        if sink.log(batch).is_err() {
            return;
        }
    }
}

fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Only our own records: nobody has looked whether those of our dependencies hold what a person would not want in a log.
fn is_ours(target: &str) -> bool {
    target == "rhizome" || target.starts_with("rhizome::") || target.starts_with("rhizome_")
}

struct Forward;

impl<S: Subscriber> Layer<S> for Forward {
    fn register_callsite(&self, metadata: &'static tracing::Metadata<'static>) -> Interest {
        if is_ours(metadata.target()) && *metadata.level() <= level() {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata.target()) && *metadata.level() <= level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let record = LogRecord {
            level: event.metadata().level().into(),
            target: event.metadata().target().to_owned(),
            message: message.0,
            millis: millis(),
        };
        let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = &*sink
            && sink.try_send(record).is_err()
        {
            MISSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `message name=value …`.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}={value:?}"),
        };
    }
}
