//! How a schedule fails.

use std::fmt::{self, Debug};

/// What did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its kind: a minimised schedule must fail in the same way.
    pub kind: String,
    /// What was found.
    pub what: String,
    /// The step after which it showed; counted from 1, or the end.
    pub step: Option<usize>,
}

impl Failure {
    pub fn new(kind: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            what: what.into(),
            step: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "{} (step {step}): {}", self.kind, self.what),
            None => write!(f, "{} (at the end): {}", self.kind, self.what),
        }
    }
}

/// An error of the product's where there must be none.
pub fn broken<E: Debug>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(what, format!("{error:?}"))
}

/// Fails unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $kind:expr, $($what:tt)*) => {
        if !$holds {
            return Err(Failure::new($kind, format!($($what)*)));
        }
    };
}
pub(crate) use ensure;
