//! What a person does when a phone is lost, stolen or found again: pods and a cloud peer on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhizome::{
    Confirm, Error, FileKeeper, NetOptions, PeerAddress, Pod, PodOptions, ProposalState, Value, WordsError, WordsQuiz,
    Zeroizing,
    crypto::PublicKey,
    identity::{IdentityError, VoidReason},
    path,
};
use rhizome_cloud::{Peer, PeerOptions};

const MINUTE: Duration = Duration::from_secs(60);

fn loopback() -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], 0).into()],
        ..NetOptions::default()
    }
}

async fn start(dir: &Path, name: &str) -> Peer {
    let options = PeerOptions {
        net: loopback(),
        ..PeerOptions::new(dir.join(name))
    };
    Peer::start(options).await.unwrap()
}

fn options(dir: &Path, name: &str) -> PodOptions {
    let keeper = Arc::new(FileKeeper::new(dir.join(format!("{name}.keys"))));
    PodOptions {
        net: loopback(),
        ..PodOptions::new(keeper)
    }
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

async fn create(dir: &Path, name: &str) -> (Pod, Zeroizing<String>) {
    Pod::create(dir.join(name), options(dir, name), name).await.unwrap()
}

async fn join(dir: &Path, name: &str, host: &Pod) -> Pod {
    let invite = host.invite(MINUTE, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let pod = Pod::join(dir.join(name), options(dir, name), name, &code, yes());
    let pod = pod.await.unwrap();
    invite.finished().await.unwrap();
    pod
}

fn address(peer: &Peer) -> PeerAddress {
    PeerAddress::parse(&peer.code(MINUTE).to_string()).unwrap()
}

async fn recover(dir: &Path, name: &str, words: &str, peer: &Peer) -> Result<Pod, Error> {
    Pod::recover(dir.join(name), options(dir, name), name, words, &address(peer)).await
}

async fn write(pod: &Pod, text: &str) -> rhizome::DocumentId {
    let text = text.to_owned();
    let written = pod.create_document("journal", move |edit| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set_text(&path(["text"]), &text)
    });
    written.await.unwrap().document
}

async fn sync(pod: &Pod) {
    let report = pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    for peer in &report.peers {
        peer.result.as_ref().unwrap();
    }
}

async fn has(pod: &Pod, document: rhizome::DocumentId) -> bool {
    pod.get(document).await.unwrap().is_some()
}

async fn names(pod: &Pod) -> Vec<String> {
    let members = pod.members().await.unwrap().members;
    let mut names: Vec<String> = members.into_iter().filter_map(|member| member.name).collect();
    names.sort();
    names
}

fn key(pod: &Pod) -> PublicKey {
    pod.device().unwrap()
}

/// The only phone is lost. A new device, the words and the cloud peer bring everything back.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_and_the_cloud_peer_bring_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), "cloud").await;
    let (phone, words) = create(dir.path(), "phone").await;
    let early = write(&phone, "before the cloud").await;
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let late = write(&phone, "after it").await;
    sync(&phone).await;
    let did = phone.did().unwrap();
    let lost = key(&phone);
    phone.shutdown().await;

    // Words of nobody's, and words that are none.
    let at = address(&peer);
    let none = Pod::recover(
        dir.path().join("none"),
        options(dir.path(), "none"),
        "new",
        "abandon ability",
        &at,
    );
    assert!(matches!(none.await, Err(Error::Words(WordsError::NotWords))));
    let (other, others_words) = create(dir.path(), "other").await;
    let none = Pod::recover(
        dir.path().join("none"),
        options(dir.path(), "none"),
        "new",
        &others_words,
        &at,
    );
    assert!(matches!(none.await, Err(Error::Words(WordsError::NotThese))));
    other.shutdown().await;

    let typed = format!("  {}\n", words.to_uppercase().replace(' ', "\n "));
    let new = Pod::recover(
        dir.path().join("new"),
        options(dir.path(), "new"),
        "new phone",
        &typed,
        &at,
    );
    let new = new.await.unwrap();
    assert_eq!(new.did().unwrap(), did);
    sync(&new).await;
    assert!(has(&new, early).await && has(&new, late).await);
    assert_eq!(names(&new).await, ["cloud", "new phone", "phone"]);
    // And it writes on, and the lost one is put out.
    let after = write(&new, "on the new phone").await;
    let removal = new.remove_device(lost).await.unwrap();
    assert_eq!(new.proposal(removal).unwrap(), ProposalState::Tentative);
    sync(&new).await;
    assert_eq!(new.proposal(removal).unwrap(), ProposalState::Ordered);
    assert_eq!(new.status().await.unwrap().only_here, 0);
    assert_eq!(names(&new).await, ["cloud", "new phone"]);
    assert!(has(&new, after).await);
    // The phone turns up: nobody talks to it, and it loses nothing that it has.
    let phone = Pod::open(dir.path().join("phone"), options(dir.path(), "phone"))
        .await
        .unwrap();
    let own = write(&phone, "by whoever has it").await;
    let report = phone.sync_once(Duration::from_secs(10), None).await.unwrap();
    assert!(report.peers[0].result.is_err());
    assert!(has(&phone, own).await && !has(&phone, after).await);
    peer.stop().await;
}

/// The keeper lost the device secret, and the folder is there: the words open it, with what was never sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_open_a_folder_whose_secret_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, words) = create(dir.path(), "phone").await;
    let document = write(&pod, "never sent").await;
    pod.shutdown().await;
    std::fs::remove_dir_all(dir.path().join("phone.keys")).unwrap();
    let opened = Pod::open(dir.path().join("phone"), options(dir.path(), "phone")).await;
    assert!(matches!(opened, Err(Error::NeedsRecovery)));
    let (_, other) = create(dir.path(), "other").await;
    let wrong = Pod::recover_folder(dir.path().join("phone"), options(dir.path(), "phone"), &other).await;
    assert!(matches!(wrong, Err(Error::Words(WordsError::NotThese))));
    let opened = Pod::open(dir.path().join("phone"), options(dir.path(), "phone")).await;
    assert!(
        matches!(opened, Err(Error::NeedsRecovery)),
        "wrong words change nothing"
    );
    let pod = Pod::recover_folder(dir.path().join("phone"), options(dir.path(), "phone"), &words);
    let pod = pod.await.unwrap();
    assert!(has(&pod, document).await);
    write(&pod, "and on").await;
    pod.shutdown().await;
    // The keeper has it again.
    let pod = Pod::open(dir.path().join("phone"), options(dir.path(), "phone"))
        .await
        .unwrap();
    assert_eq!(pod.count("journal").await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_are_renamed_and_removed_are_so_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), "cloud").await;
    let (phone, _) = create(dir.path(), "phone").await;
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let tablet = join(dir.path(), "tablet", &phone).await;
    let stolen = join(dir.path(), "stolen", &phone).await;
    for pod in [&phone, &tablet, &stolen, &phone] {
        sync(pod).await;
    }
    tablet.rename(key(&phone), "my phone").await.unwrap();
    let itself = phone.remove_device(key(&phone)).await;
    let alone = IdentityError::Void(VoidReason::RemovesItself);
    assert!(matches!(itself, Err(Error::Identity(error)) if error == alone));
    // The tablet has folded what the phone has not seen when it removes the device: it was built on, and stays.
    let built_on = write(&stolen, "seen by the tablet").await;
    sync(&stolen).await;
    sync(&tablet).await;
    let tablet_has = has(&tablet, built_on).await;
    assert!(tablet_has);
    phone.remove_device(key(&stolen)).await.unwrap();
    let secret = write(&phone, "nothing for thieves").await;
    for pod in [&phone, &tablet, &phone] {
        sync(pod).await;
    }
    assert_eq!(names(&phone).await, ["cloud", "my phone", "tablet"]);
    assert!(has(&tablet, secret).await && has(&tablet, built_on).await && has(&phone, built_on).await);
    assert_eq!(
        phone.members().await.unwrap().removed[0].name.as_deref(),
        Some("stolen")
    );
    // What it still writes goes nowhere.
    let late = write(&stolen, "from the thief").await;
    let report = stolen.sync_once(Duration::from_secs(10), None).await.unwrap();
    assert!(report.peers[0].result.is_err());
    sync(&tablet).await;
    assert!(!has(&tablet, late).await);
    assert_eq!(peer.identities().await.unwrap()[0].devices, 2);
    // A second cloud peer, and the first one goes.
    let other = start(dir.path(), "other-cloud").await;
    phone.link(&other.code(MINUTE).to_string(), yes()).await.unwrap();
    sync(&phone).await;
    let members = phone.members().await.unwrap().members;
    let old = members.iter().find(|member| member.cloud && member.orders).unwrap().key;
    let next = members
        .iter()
        .find(|member| member.cloud && !member.orders)
        .unwrap()
        .key;
    phone.hand_over(next).await.unwrap();
    sync(&phone).await;
    phone.remove_peer(old).await.unwrap();
    sync(&phone).await;
    let members = phone.members().await.unwrap().members;
    assert!(members.iter().any(|member| member.key == next && member.orders));
    assert!(!members.iter().any(|member| member.key == old));
    other.stop().await;
    peer.stop().await;
}

/// A thief with the unlocked phone removes everyone and changes the words.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_take_an_identity_back_from_a_thief() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), "cloud").await;
    let (laptop, words) = create(dir.path(), "laptop").await;
    laptop.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let phone = join(dir.path(), "phone", &laptop).await;
    let kept = write(&laptop, "mine").await;
    for pod in [&laptop, &phone, &laptop] {
        sync(pod).await;
    }
    phone.remove_device(key(&laptop)).await.unwrap();
    let stolen_words = Pod::new_words();
    phone.change_words(&stolen_words).await.unwrap();
    let accomplice = join(dir.path(), "accomplice", &phone).await;
    for pod in [&phone, &accomplice] {
        sync(pod).await;
    }
    assert_eq!(names(&phone).await, ["accomplice", "cloud", "phone"]);
    assert!(phone.members().await.unwrap().words_change_at.is_some());

    let new = recover(dir.path(), "new", &words, &peer).await.unwrap();
    sync(&new).await;
    assert!(has(&new, kept).await);
    let wrong = new.take_back(&stolen_words, &[key(&phone)]).await;
    assert!(matches!(wrong, Err(Error::Words(WordsError::NotThese))));
    new.take_back(&words, &[key(&phone)]).await.unwrap();
    assert_eq!(new.members().await.unwrap().words_change_at, None);
    sync(&new).await;
    assert_eq!(names(&new).await, ["cloud", "laptop", "new"]);
    let secret = write(&new, "mine again").await;
    sync(&new).await;
    // The laptop is let in again, with what it has.
    sync(&laptop).await;
    assert!(has(&laptop, secret).await);
    assert_eq!(names(&laptop).await, ["cloud", "laptop", "new"]);
    // Those words are nobody's, and the thief is out.
    let again = recover(dir.path(), "x", &stolen_words, &peer).await;
    assert!(matches!(again, Err(Error::Words(WordsError::NotThese))));
    let report = phone.sync_once(Duration::from_secs(10), None).await.unwrap();
    assert!(report.peers[0].result.is_err());
    // The words change at once by themselves, and the old ones are nobody's.
    let fresh = Pod::new_words();
    new.change_words_at_once(&words, &fresh).await.unwrap();
    sync(&new).await;
    let old = recover(dir.path(), "y", &words, &peer).await;
    assert!(matches!(old, Err(Error::Words(WordsError::NotThese))));
    recover(dir.path(), "z", &fresh, &peer).await.unwrap();
    peer.stop().await;
}

/// The first device orders, and is lost before there was a cloud peer that does: the words let the peer do it.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_that_is_lost_for_good_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), "first-cloud").await;
    let second = start(dir.path(), "second-cloud").await;
    let (phone, words) = create(dir.path(), "phone").await;
    phone.link(&first.code(MINUTE).to_string(), yes()).await.unwrap();
    phone.link(&second.code(MINUTE).to_string(), yes()).await.unwrap();
    let tablet = join(dir.path(), "tablet", &phone).await;
    for pod in [&phone, &tablet, &phone] {
        sync(pod).await;
    }
    let document = write(&tablet, "seen by the second peer only").await;
    let asked = tablet.rename(key(&tablet), "my tablet").await.unwrap();
    first.stop().await;
    let _ = tablet.sync_once(Duration::from_secs(20), None).await.unwrap();
    assert_eq!(tablet.proposal(asked).unwrap(), ProposalState::Tentative);
    // Both devices want the second one to order.
    let second_key = {
        let members = tablet.members().await.unwrap().members;
        members
            .iter()
            .find(|member| member.cloud && !member.orders)
            .unwrap()
            .key
    };
    tablet.vote_for_orderer(second_key).await.unwrap();
    let _ = tablet.sync_once(Duration::from_secs(20), None).await.unwrap();
    let _ = phone.sync_once(Duration::from_secs(20), None).await.unwrap();
    phone.vote_for_orderer(second_key).await.unwrap();
    let _ = phone.sync_once(Duration::from_secs(20), None).await.unwrap();
    let _ = tablet.sync_once(Duration::from_secs(20), None).await.unwrap();
    assert_eq!(tablet.proposal(asked).unwrap(), ProposalState::Ordered);
    assert!(has(&phone, document).await);
    phone.shutdown().await;
    tablet.shutdown().await;
    second.stop().await;

    // Now all of them are lost but one peer that never ordered: it has the log, and the words do the rest.
    let third = Peer::start(PeerOptions {
        net: loopback(),
        ..PeerOptions::new(dir.path().join("first-cloud"))
    })
    .await
    .unwrap();
    let new = recover(dir.path(), "new", &words, &third).await.unwrap();
    let _ = new.sync_once(Duration::from_secs(20), None).await.unwrap();
    let renamed = new.rename(key(&new), "newest").await.unwrap();
    let _ = new.sync_once(Duration::from_secs(20), None).await.unwrap();
    assert_eq!(new.proposal(renamed).unwrap(), ProposalState::Ordered);
    third.stop().await;
}

#[test]
fn three_of_the_words_are_asked_for() {
    let words = "a b c d e f g h i j k l m n o p q r s t u v w x";
    let all: Vec<&str> = words.split(' ').collect();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let quiz = WordsQuiz::new(words);
        let [one, two, three] = quiz.places();
        assert!(1 <= one && one < two && two < three && three <= 24);
        seen.extend([one, two, three]);
        assert!(quiz.is_right([
            all[one - 1],
            &all[two - 1].to_uppercase(),
            &format!(" {} ", all[three - 1])
        ]));
        assert!(!quiz.is_right([all[one - 1], all[two - 1], all[two - 1]]));
        assert!(!format!("{quiz:?}").contains(all[one - 1]) || all[one - 1].len() == 1);
    }
    assert_eq!(seen.len(), 24);
}

/// The words that a device proposed are the words three days later, though nothing happened since: the phone may be lost by then.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_were_changed_work_once_their_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicU64::new(0));
    let clock: rhizome::sync::WallClock = {
        let ahead = ahead.clone();
        Arc::new(move || 1_800_000_000_000 + ahead.load(Ordering::SeqCst))
    };
    let options = |name: &str| PodOptions {
        clock: clock.clone(),
        ..options(dir.path(), name)
    };
    let peer = Peer::start(PeerOptions {
        net: loopback(),
        clock: clock.clone(),
        ..PeerOptions::new(dir.path().join("cloud"))
    })
    .await
    .unwrap();
    let (phone, old) = Pod::create(dir.path().join("phone"), options("phone"), "phone")
        .await
        .unwrap();
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let kept = write(&phone, "kept").await;
    let new = Pod::new_words();
    phone.change_words(&new).await.unwrap();
    sync(&phone).await;
    let due = phone.members().await.unwrap().words_change_at.unwrap();
    phone.shutdown().await;
    let recover = |name: &'static str, words: String| {
        let (at, options, dir) = (address(&peer), options(name), dir.path().join(name));
        async move { Pod::recover(dir, options, name, &words, &at).await }
    };
    // A moment before, the old ones are the words.
    ahead.store(due - 1_800_000_000_000 - 1, Ordering::SeqCst);
    let early = recover("early", new.to_string()).await;
    assert!(matches!(early, Err(Error::Words(WordsError::NotThese))));
    ahead.store(due - 1_800_000_000_000, Ordering::SeqCst);
    let late = recover("late", old.to_string()).await;
    assert!(matches!(late, Err(Error::Words(WordsError::NotThese))));
    let pod = recover("new", new.to_string()).await.unwrap();
    sync(&pod).await;
    assert!(has(&pod, kept).await);
    assert_eq!(pod.members().await.unwrap().words_change_at, None);
    // The folder follows: what opens it is wrapped for the new words.
    pod.shutdown().await;
    let pod = Pod::open(dir.path().join("new"), options("new")).await.unwrap();
    pod.shutdown().await;
    std::fs::remove_dir_all(dir.path().join("new.keys")).unwrap();
    let wrong = Pod::recover_folder(dir.path().join("new"), options("new"), &old).await;
    assert!(matches!(wrong, Err(Error::Words(WordsError::NotThese))));
    let pod = Pod::recover_folder(dir.path().join("new"), options("new"), &new)
        .await
        .unwrap();
    assert!(has(&pod, kept).await);
    peer.stop().await;
}

/// Somebody wrote first, and linked the device to their others later: what was written moves in, under the ids it had.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_joining_an_identity_moves_in() {
    let dir = tempfile::tempdir().unwrap();
    let (before, _) = create(dir.path(), "before").await;
    let text = write(&before, "from before").await;
    let rich = before.create_document("letters", |edit| {
        edit.set(&path(["date"]), Value::Date(7))?;
        edit.set(
            &path(["tags"]),
            Value::List(vec![Value::String("a".into()), Value::Int(2)]),
        )?;
        edit.set(
            &path(["meta"]),
            Value::Map([("seen".to_owned(), Value::Bool(true))].into()),
        )?;
        edit.set(&path(["count"]), Value::Counter(3))
    });
    let rich = rich.await.unwrap().document;
    let event = |n: u8| rhizome::Event::App {
        kind: "n".into(),
        payload: vec![n],
    };
    for n in 0..100 {
        before.append("steps", vec![event(n)]).await.unwrap();
    }
    let (host, _) = create(dir.path(), "host").await;
    let own = write(&host, "of the others").await;
    let joined = join(dir.path(), "joined", &host).await;
    let taken = joined.take_in(&before).await.unwrap();
    assert_eq!((taken.documents, taken.events), (2, 100));
    for document in [text, rich] {
        assert_eq!(joined.get(document).await.unwrap(), before.get(document).await.unwrap());
    }
    assert_eq!(
        joined.events("steps").await.unwrap(),
        before.events("steps").await.unwrap()
    );
    // Again nothing moves, and what was edited since stays.
    let edited = joined.edit_document("journal", text, |edit| edit.set_text(&path(["text"]), "edited here"));
    edited.await.unwrap();
    before.append("steps", vec![event(100)]).await.unwrap();
    let taken = joined.take_in(&before).await.unwrap();
    assert_eq!((taken.documents, taken.events), (0, 1));
    assert_ne!(joined.get(text).await.unwrap(), before.get(text).await.unwrap());
    host.listen().await.unwrap();
    sync(&joined).await;
    assert!(has(&host, text).await && has(&host, rich).await && has(&joined, own).await);
    assert_eq!(host.events("steps").await.unwrap().len(), 101);
}

/// The device that the thieves removed has the words typed into it: it is let in again by what they sign.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_thieves_removed_takes_the_identity_back_itself() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), "cloud").await;
    let (laptop, words) = create(dir.path(), "laptop").await;
    laptop.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let phone = join(dir.path(), "phone", &laptop).await;
    for pod in [&laptop, &phone, &laptop] {
        sync(pod).await;
    }
    phone.remove_device(key(&laptop)).await.unwrap();
    sync(&phone).await;
    let report = laptop.sync_once(Duration::from_secs(10), None).await.unwrap();
    assert!(report.peers[0].result.is_err());
    laptop.take_back(&words, &[key(&phone)]).await.unwrap();
    sync(&laptop).await;
    assert_eq!(names(&laptop).await, ["cloud", "laptop"]);
    let report = phone.sync_once(Duration::from_secs(10), None).await.unwrap();
    assert!(report.peers[0].result.is_err());
    assert_eq!(peer.identities().await.unwrap()[0].devices, 1);
    peer.stop().await;
}
