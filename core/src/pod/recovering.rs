//! The 24 words: coming back with nothing but them, changing them, and taking an identity back from a thief.

use std::{path::Path, time::Duration};

use super::{
    Pod, PodOptions, Proposal, blocking,
    opening::{Joining, wrap_info_of},
};
use crate::{
    crypto::{Hash, Kept, OsRandom, PublicKey, Random, Wrap, Zeroizing, decode},
    error::{Error, WordsError},
    identity::{Keys, PeerAddress, RecoverySecret, add_device, consent, rotate_recovery},
    net::{Net, NetError, ask_for_log},
    store::{Folder, LogStore, StoreError},
    sync::{ADMISSION, Known, Regency},
};

/// How long the cloud peer may take to send the identity's log.
const RECOVER_WITHIN: Duration = Duration::from_secs(60);
const DIAL_WITHIN: Duration = Duration::from_secs(30);

/// Three of the words, by their places: whoever wrote them down can say them. Kept in memory only, and wiped.
pub struct WordsQuiz {
    places: [usize; 3],
    words: [Zeroizing<String>; 3],
}

impl WordsQuiz {
    /// Asks for three of `words`.
    pub fn new(words: &str) -> Self {
        let random: &mut dyn Random = &mut OsRandom;
        let all: Vec<&str> = words.split_whitespace().collect();
        let mut places: Vec<usize> = (0..all.len()).collect();
        // The three that come first after a shuffle.
        for place in 0..places.len().min(3) {
            let left = places.len() - place;
            let number = u64::from_be_bytes(random.bytes());
            let other = place + usize::try_from(number % left as u64).expect("less than 24");
            places.swap(place, other);
        }
        places.truncate(3);
        places.sort_unstable();
        let mut asked = [0; 3];
        asked[..places.len()].copy_from_slice(&places);
        let word = |place: usize| Zeroizing::new(all.get(asked[place]).copied().unwrap_or_default().to_owned());
        Self {
            places: asked,
            words: [word(0), word(1), word(2)],
        }
    }

    /// The places asked for, from 1 to 24, lowest first.
    pub fn places(&self) -> [usize; 3] {
        self.places.map(|place| place + 1)
    }

    /// Whether these are the words in those places. Letter case and white space around them do not matter.
    pub fn is_right(&self, answers: [&str; 3]) -> bool {
        let right = |(word, answer): (&Zeroizing<String>, &str)| word.eq_ignore_ascii_case(answer.trim());
        self.words.iter().zip(answers).all(right)
    }
}

impl std::fmt::Debug for WordsQuiz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WordsQuiz({:?})", self.places())
    }
}

pub(super) fn read_words(words: &str) -> Result<RecoverySecret, Error> {
    let words = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    RecoverySecret::from_words(&words).ok_or(Error::Words(WordsError::NotWords))
}

impl Pod {
    /// Brings an identity back on an empty device with nothing but its 24 words and its cloud peer: this becomes a new device, named `name`.
    /// Everything that the cloud peer holds comes with the next sync. Whoever put operations in order may be lost: the words do it then.
    ///
    /// # Errors
    /// [`Error::Words`] if they are no words, or not those of an identity that the peer holds.
    pub async fn recover(
        dir: impl AsRef<Path>,
        options: PodOptions,
        name: &str,
        words: &str,
        peer: &PeerAddress,
    ) -> Result<Self, Error> {
        let (dir, name) = (dir.as_ref().to_owned(), name.to_owned());
        let words = read_words(words)?;
        let found_at = (peer.endpoint, peer.addresses.clone());
        let joining = Joining::begin(&dir, &options, Some(found_at)).await?;
        let net = Net::open(&joining.keys_of().endpoint, options.net.clone()).await?;
        let asked = async {
            let (connection, mut frames) = net.dial(&peer.endpoint, &peer.addresses, DIAL_WITHIN).await?;
            let taken = ask_for_log(&mut frames, &words, &peer.endpoint, &net.id(), (options.clock)()).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
            connection.close(0u32.into(), b"done");
            Ok::<_, Error>(taken?)
        };
        let asked = tokio::time::timeout(RECOVER_WITHIN, asked)
            .await
            .unwrap_or(Err(NetError::Deadline.into()));
        net.close().await;
        let (known, pending) = asked?;
        let (opts, endpoint) = (options.clone(), peer.endpoint);
        blocking(move || {
            let (log, pending) = come_back(&joining, known, pending, &words, &name, &endpoint, (opts.clock)())?;
            joining.write((log, pending), &opts)
        })
        .await?;
        Self::open(&dir, options).await
    }

    /// Opens a folder whose device secret is gone ([`Error::NeedsRecovery`]) with the identity's words: what was written in it and never sent
    /// is there again. The secret is given to the keeper under its old name.
    ///
    /// # Errors
    /// [`Error::Words`] if these words do not open it. The folder is as it was then.
    pub async fn recover_folder(dir: impl AsRef<Path>, options: PodOptions, words: &str) -> Result<Self, Error> {
        let (dir, words) = (dir.as_ref().to_owned(), read_words(words)?);
        let (path, opts) = (dir.clone(), options.clone());
        blocking(move || open_with_words(&path, &opts, &words)).await?;
        Self::open(dir, options).await
    }

    /// New recovery words, for [`Pod::change_words`]. They are nothing to anybody yet: show them, ask for three of them ([`WordsQuiz`]), and
    /// only then let them count, so that words count which somebody has.
    pub fn new_words() -> Zeroizing<String> {
        RecoverySecret::make(&mut OsRandom).words()
    }

    /// Proposes that `new` words (see [`Pod::new_words`]) are the recovery words. They count 72 hours after this is put in order; until then the
    /// present ones do, and can call it off.
    ///
    /// # Errors
    /// [`Error::Words`] if they are no words.
    pub async fn change_words(&self, new: &str) -> Result<Proposal, Error> {
        let public = read_words(new)?.public();
        self.work(move |running| {
            let proposed = running
                .replica
                .propose(&running.keys, |by, _, _| rotate_recovery(&mut OsRandom, by, public));
            Ok(proposed?)
        })
        .await
    }

    /// As [`Pod::change_words`], by the present words: the new ones count at once, and the present ones never again.
    pub async fn change_words_at_once(&self, words: &str, new: &str) -> Result<(), Error> {
        let (words, new) = (read_words(words)?, read_words(new)?);
        self.reign(words, move |regency, _| Ok(regency.change_words(&mut OsRandom, &new)?))
            .await
    }

    /// Takes the identity back from `thieves`, devices of it that are in somebody else's hands: they and every device that they let in are
    /// removed, whom they removed comes back, and other words that a device proposed are called off. It counts wherever it comes, whatever
    /// the thieves do meanwhile, as long as these are still the words.
    pub async fn take_back(&self, words: &str, thieves: &[PublicKey]) -> Result<(), Error> {
        let (words, thieves) = (read_words(words)?, thieves.to_vec());
        self.reign(words, move |regency, replica| {
            let cutoffs = |device: &PublicKey| Ok(replica.cutoffs(device)?);
            Ok(regency.undo(&mut OsRandom, &thieves, cutoffs)?)
        })
        .await
    }

    /// Lets the words put in order what `work` does, then gives the ordering to a cloud peer, or to this device without one.
    async fn reign(
        &self,
        words: RecoverySecret,
        work: impl FnOnce(&mut Regency, &crate::sync::Replica) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.work(move |running| {
            let known = running.replica.known();
            let now = (running.options.clock)();
            let mut regency = Regency::begin(&mut OsRandom, &known, &words, now)?;
            work(&mut regency, &running.replica)?;
            // Others may know that this device was removed, and nothing of what undoes that.
            let admission = regency.admission(&mut OsRandom, Keys::of(&running.keys))?.encode();
            running
                .log
                .write(move |write| write.set_meta(ADMISSION, &admission))
                .wait()?;
            let (log, before) = hand_on(regency, running.keys.signing.public(), None)?;
            let commits: Vec<_> = log[before..]
                .iter()
                .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()))
                .collect();
            running.replica.take_commits(&commits)?;
            Ok(())
        })
        .await
    }
}

type Log = Vec<(crate::identity::Commit, crate::identity::Operation)>;

/// Ends a regency: a cloud peer orders from here on, `wanted` before others; or this device, if there is none.
fn hand_on(regency: Regency, me: PublicKey, wanted: Option<PublicKey>) -> Result<(Log, usize), Error> {
    let peers = regency.state().peers();
    let wanted = wanted.filter(|key| peers.contains_key(key));
    let orderer = wanted.or(peers.keys().next().copied()).unwrap_or(me);
    Ok(regency.end(&mut OsRandom, orderer)?)
}

/// The log with this new device in it, or with the proposal that adds it.
fn come_back(
    joining: &Joining,
    known: Known,
    mut pending: Vec<crate::identity::Operation>,
    words: &RecoverySecret,
    name: &str,
    peer: &PublicKey,
    now: u64,
) -> Result<(Log, Vec<crate::identity::Operation>), Error> {
    let (keys, signing) = (joining.keys(), joining.keys_of().signing);
    let agreed = consent(&signing, &known.ordered.identity(), &keys, false);
    let asked = known.ordered.by_endpoint(peer);
    if asked.is_some_and(|key| known.ordered.orderers().contains(&key)) {
        // It puts in order what the words sign, like everything else.
        let ring = known.key_ring_of(&words.agreement());
        let recovery = words.signing();
        let by = crate::identity::Proposer::of(&known.tentative, &ring, &recovery);
        let mut by = by.ok_or(crate::identity::IdentityError::NoKey)?;
        by.seen = known.ordered.head();
        pending.push(add_device(&mut OsRandom, &by, keys, agreed, name)?);
        return Ok((known.log, pending));
    }
    let mut regency = Regency::begin(&mut OsRandom, &known, words, now)?;
    regency.put(&mut OsRandom, |random, by, _, _| {
        add_device(random, by, keys, agreed, name)
    })?;
    let (log, _) = hand_on(regency, keys.0, asked)?;
    let is_ordered = |id: Hash| log.iter().any(|(_, operation)| operation.id() == id);
    pending.retain(|operation| !is_ordered(operation.id()));
    Ok((log, pending))
}

/// Gives the keeper the secret that `pod.json` holds wrapped for the words.
fn open_with_words(dir: &Path, options: &PodOptions, words: &RecoverySecret) -> Result<(), Error> {
    if !dir.join("pod.json").exists() {
        return Err(Error::NoPod);
    }
    let folder = Folder::open(dir, false)?;
    let file = folder.read()?.ok_or(Error::NoPod)?;
    match options.keeper.load(&file.secret).map_err(Error::Keeper)? {
        // Nothing is lost.
        Kept::Found(_) => return Ok(()),
        Kept::Locked => return Err(Error::Locked),
        Kept::Absent => {}
    }
    let wrap: Wrap = file
        .recovery
        .as_deref()
        .and_then(|wrap| decode(wrap).ok())
        .ok_or(StoreError::Damaged {
            file: "pod.json",
            why: "it holds nothing that words could open".to_owned(),
        })?;
    let log = LogStore::open(dir, false, &mut OsRandom)?;
    let identity = log
        .read(|read| read.meta("identity"))?
        .and_then(|bytes| crate::identity::IdentityId::from_slice(&bytes));
    let identity = identity.ok_or(StoreError::Damaged {
        file: "log.db",
        why: "it does not name an identity".to_owned(),
    })?;
    let stored = log.read(|read| read.identity_log(&identity))?;
    let known = Known::from_log(stored.ordered, stored.pending)?;
    let info = wrap_info_of(&known.ordered.binding(), &file.secret, &words.public().1);
    let opened = words.agreement().unwrap(&info, &wrap);
    let secret = opened
        .ok()
        .and_then(|bytes| crate::crypto::DeviceSecret::from_slice(&bytes))
        .ok_or(Error::Words(WordsError::NotThese))?;
    let check = secret.check_value();
    log.write(move |write| {
        write.check_secret(&check)?;
        // The folder may be a copy or an old one: what is written from here on goes into logs of its own.
        for author in write.own_logs(&identity)? {
            write.retire(&author)?;
        }
        Ok(())
    })
    .wait()?;
    log.close();
    options.keeper.create(&file.secret, &secret).map_err(Error::Keeper)
}
