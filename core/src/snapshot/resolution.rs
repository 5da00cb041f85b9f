//! An identity log as a file that anybody can resolve the DID from (docs/formats.md, section 8; docs/did-method.md).

use cid::Cid;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use super::car::{Car, CarError, link, write};
use crate::{
    crypto::{Hash, Signature, decode_canonical, encode},
    identity::{Commit, IdentityError, Operation, State, cid_of, did_document, parse_did},
};

/// The most commits that are read.
const MAX_COMMITS: u64 = 100_000;

/// Why a DID cannot be resolved from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Not a DID of this method.
    #[error("this is not a did:rhizome")]
    InvalidDid,
    /// The file holds the log of another DID.
    #[error("the file holds the log of another DID")]
    OtherDid,
    /// The file is not a good CAR file.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The blocks are not those of an identity log, in its order.
    #[error("the blocks of the file are not those of an identity log, in its order")]
    NotALog,
    /// The log does not verify.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no such version in the file.
    #[error("the file holds no such version: it may be older")]
    NoSuchVersion,
}

impl ResolveError {
    /// The word for `error` in resolution metadata (DID Core 1.0, section 7.1.2; DID Resolution, Errors).
    pub fn word(&self) -> &'static str {
        match self {
            Self::InvalidDid => "invalidDid",
            Self::OtherDid | Self::NoSuchVersion => "notFound",
            Self::Car(_) | Self::NotALog | Self::Identity(_) => "invalidDidDocument",
        }
    }
}

/// Which version of a document is meant (DID Core 1.0, section 3.2.1: `versionId`, `versionTime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest that the file has.
    Latest,
    /// The one after the commit with this hash.
    Id(Hash),
    /// The one at this time, in seconds since 1970.
    Time(u64),
}

impl Version {
    /// Whether `state` is the version, seeing that `next` comes after it.
    fn is(self, state: &State, next: &Commit) -> bool {
        match self {
            Self::Latest => false,
            Self::Id(id) => state.head() == Some(id),
            Self::Time(time) => next.core().time / 1000 > time,
        }
    }
}

/// What is known of a version of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// When the identity began, by its first commit: milliseconds since 1970.
    pub created: u64,
    /// The hash and time of the commit that made this version; the time is `None` for the first version.
    pub version: (Hash, Option<u64>),
    /// The hash and time of the commit after it, if the file has one.
    pub next: Option<(Hash, u64)>,
}

/// A DID resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The DID document.
    pub document: Value,
    /// Of the document.
    pub metadata: Metadata,
    /// The identity at this version: who may write and who orders.
    pub state: State,
}

impl Resolved {
    /// The result as DID Resolution gives it: document, metadata of the resolution, metadata of the document.
    pub fn to_json(&self) -> Value {
        let (version, updated) = self.metadata.version;
        let mut metadata = json!({
            "created": datetime(self.metadata.created),
            "versionId": version.to_string(),
        });
        if let Some(updated) = updated {
            metadata["updated"] = datetime(updated).into();
        }
        if let Some((next, at)) = self.metadata.next {
            metadata["nextVersionId"] = next.to_string().into();
            metadata["nextUpdate"] = datetime(at).into();
        }
        json!({
            "didDocument": self.document,
            "didResolutionMetadata": {"contentType": "application/did+ld+json"},
            "didDocumentMetadata": metadata,
        })
    }
}

/// After an operation's core: the step before, the core, the operation's signature, and the commit.
#[derive(Serialize, Deserialize)]
struct Step(Option<Cid>, Cid, Signature, ByteBuf);

/// The public part of an identity log as a CAR file. The parts for peers and members stay at home: they are not needed to verify.
pub fn export_identity(log: &[(Commit, Operation)]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(2 * log.len());
    let mut roots = Vec::new();
    let mut before = None;
    for (commit, operation) in log {
        let (core, signature) = operation.public();
        let of = link(core);
        let step = encode(&Step(before, of, signature, ByteBuf::from(commit.encode())));
        if roots.is_empty() {
            roots.push(of);
        }
        before = Some(link(&step));
        blocks.extend([core.to_vec(), step]);
    }
    roots.extend(before);
    write(roots, &blocks)
}

/// Resolves `did` from the CAR file of its log. Everything in the file is verified, whichever version is asked for.
///
/// What it cannot know is whether the file is the newest one, and whether an orderer signed another story as well: two files of one DID, of
/// which neither continues the other, prove that.
pub fn resolve(did: &str, file: &[u8], version: Version) -> Result<Resolved, ResolveError> {
    let identity = parse_did(did).ok_or(ResolveError::InvalidDid)?;
    let mut car = Car::read(file)?;
    if car.roots.first() != Some(&cid_of(&identity.0)) {
        return Err(ResolveError::OtherDid);
    }
    let (mut newest, mut last, mut wanted) = (None::<Resolving>, None, None);
    while let Some((of, core)) = car.block()? {
        let (step, bytes) = car.block()?.ok_or(ResolveError::NotALog)?;
        let Step(before, operation, signature, commit) = decode_canonical(bytes).map_err(|_| ResolveError::NotALog)?;
        if (before, operation) != (last, of) {
            return Err(ResolveError::NotALog);
        }
        let commit = Commit::decode(&commit)?;
        let operation = Operation::decode_public(core, signature)?;
        match &mut newest {
            None => newest = Some(Resolving::begin(&commit, &operation)?),
            Some(now) => {
                if wanted.is_none() && version.is(&now.state, &commit) {
                    wanted = Some(now.clone().resolved(Some((commit.hash(), commit.core().time))));
                }
                now.apply(&commit, &operation)?;
            }
        }
        last = Some(step);
    }
    let newest = newest.ok_or(ResolveError::NotALog)?;
    // The roots are the DID and the newest step, from which all others can be reached.
    if newest.state.identity() != identity || car.roots.get(1) != last.as_ref() {
        return Err(ResolveError::NotALog);
    }
    let is_there = match version {
        Version::Latest => true,
        Version::Id(id) => wanted.is_some() || newest.version.0 == id,
        Version::Time(time) => newest.created / 1000 <= time,
    };
    if !is_there {
        return Err(ResolveError::NoSuchVersion);
    }
    Ok(wanted.unwrap_or_else(|| newest.resolved(None)))
}

/// A log, as far as it was read.
#[derive(Clone)]
struct Resolving {
    state: State,
    created: u64,
    version: (Hash, Option<u64>),
}

impl Resolving {
    fn begin(commit: &Commit, genesis: &Operation) -> Result<Self, IdentityError> {
        Ok(Self {
            state: State::open(commit, genesis)?,
            created: commit.core().time,
            version: (commit.hash(), None),
        })
    }

    fn apply(&mut self, commit: &Commit, operation: &Operation) -> Result<(), IdentityError> {
        if self.state.count() >= MAX_COMMITS {
            return Err(IdentityError::LogFull);
        }
        self.state.apply(commit, operation)?;
        self.version = (commit.hash(), Some(commit.core().time));
        Ok(())
    }

    fn resolved(self, next: Option<(Hash, u64)>) -> Resolved {
        Resolved {
            document: did_document(&self.state),
            metadata: Metadata {
                created: self.created,
                version: self.version,
                next,
            },
            state: self.state,
        }
    }
}

/// Milliseconds since 1970 as an XML dateTime in UTC with whole seconds (DID Core 1.0, section 7.1.3). The date is found as Howard Hinnant's
/// `civil_from_days` does, by years that begin in March.
fn datetime(millis: u64) -> String {
    let (days, seconds) = (millis / 86_400_000, millis / 1000 % 86_400);
    let since_0000 = days + 719_468;
    let (era, day) = (since_0000 / 146_097, since_0000 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let (year, day) = (
        400 * era + year + u64::from(month <= 2),
        day - (153 * from_march + 2) / 5 + 1,
    );
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::datetime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_608_491_867, "2020-12-20T19:17:47Z"),
            (1_760_000_000, "2025-10-09T08:53:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(datetime(seconds * 1000 + 999), text);
        }
    }
}
