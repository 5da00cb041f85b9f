//! Links, step by step.

use std::sync::Arc;

use rhizome::{Linking, Pod};

use crate::{CancelHandle, PodHandle, RhizomeError, runtime::run};

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LinkOutcome {
    /// The number that both screens showed.
    pub number: String,
    /// Whether the new member is ordered already; if not, it works tentatively.
    pub ordered: bool,
}

impl From<rhizome::LinkOutcome> for LinkOutcome {
    fn from(outcome: rhizome::LinkOutcome) -> Self {
        Self {
            number: outcome.number,
            ordered: outcome.ordered,
        }
    }
}

/// A code as a QR code: dark and light squares.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct CodeMatrix {
    /// How many rows there are, and how many squares in each.
    pub width: u32,
    /// How many squares must be left light on each side of the rows.
    pub quiet_zone: u32,
    /// From the top, each from the left; `true` is dark.
    pub rows: Vec<Vec<bool>>,
}

impl From<rhizome::CodeMatrix> for CodeMatrix {
    fn from(matrix: rhizome::CodeMatrix) -> Self {
        Self {
            width: u32::try_from(matrix.width()).expect("a QR code has at most 177 squares in a row"),
            quiet_zone: u32::try_from(rhizome::CodeMatrix::QUIET_ZONE).expect("it is 4"),
            rows: matrix.rows().to_vec(),
        }
    }
}

#[derive(Clone)]
enum Kind {
    Member(Arc<Linking<rhizome::LinkOutcome>>),
    Newcomer(Arc<Linking<Pod>>),
}

/// A link that is under way: first the number that both screens show, then the person's answer, then how it ended.
#[derive(uniffi::Object)]
pub struct LinkingHandle(Kind);

impl LinkingHandle {
    pub(crate) fn member(linking: Linking<rhizome::LinkOutcome>) -> Arc<Self> {
        Arc::new(Self(Kind::Member(Arc::new(linking))))
    }

    pub(crate) fn newcomer(linking: Linking<Pod>) -> Arc<Self> {
        Arc::new(Self(Kind::Newcomer(Arc::new(linking))))
    }
}

#[uniffi::export]
impl LinkingHandle {
    /// The code to show, if this side shows one. Instant.
    pub fn code(&self) -> Option<String> {
        match &self.0 {
            Kind::Member(linking) => linking.code().map(ToString::to_string),
            Kind::Newcomer(linking) => linking.code().map(ToString::to_string),
        }
    }

    /// The code as a QR code to draw, if this side shows one and it is not too long for that. Instant.
    pub fn matrix(&self) -> Option<CodeMatrix> {
        let ticket = match &self.0 {
            Kind::Member(linking) => linking.code(),
            Kind::Newcomer(linking) => linking.code(),
        };
        Some(ticket?.matrix()?.into())
    }

    /// Six digits, once both sides know them, for the person to compare with the other screen; none if the link ended before. Async.
    pub async fn number(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<String>, RhizomeError> {
        let kind = self.0.clone();
        run(cancel, async move {
            Ok::<_, RhizomeError>(match kind {
                Kind::Member(linking) => linking.number().await,
                Kind::Newcomer(linking) => linking.number().await,
            })
        })
        .await
    }

    /// What the person says: whether the other screen shows the same number. The first answer counts. Instant.
    pub fn answer(&self, same: bool) {
        match &self.0 {
            Kind::Member(linking) => linking.answer(same),
            Kind::Newcomer(linking) => linking.answer(same),
        }
    }

    /// Ends it. Instant.
    pub fn abort(&self) {
        match &self.0 {
            Kind::Member(linking) => linking.abort(),
            Kind::Newcomer(linking) => linking.abort(),
        }
    }

    /// How it ended, on a device that has a pod already; to be asked once. Async.
    pub async fn finished(&self, cancel: Option<Arc<CancelHandle>>) -> Result<LinkOutcome, RhizomeError> {
        let Kind::Member(linking) = self.0.clone() else {
            return Err(RhizomeError::invalid("link", "a new device asks this link for its pod"));
        };
        run(cancel, async move { linking.finished().await.map(LinkOutcome::from) }).await
    }

    /// The pod of the new device, once it is linked; to be asked once. Async.
    pub async fn pod(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Arc<PodHandle>, RhizomeError> {
        let Kind::Newcomer(linking) = self.0.clone() else {
            return Err(RhizomeError::invalid(
                "link",
                "this device has its pod: ask this link how it finished",
            ));
        };
        run(cancel, async move {
            let pod = linking.finished().await?;
            Ok::<_, rhizome::Error>(Arc::new(PodHandle(pod)))
        })
        .await
    }
}
