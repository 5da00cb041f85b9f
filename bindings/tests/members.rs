//! Devices that go, and words that bring an identity back, across the boundary and against a real cloud peer.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{Answers, TestKeeper, cloud_peer, loopback};
use rhizome_cloud::Peer;
use rhizome_ffi::{
    DocumentWrite, EditOp, PathKey, PodHandle, ProposalState, QuizHandle, RhizomeError, Value, create_pod, join_pod,
    new_words, open_pod, peer_address, recover_folder, recover_pod,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn create(dir: &Path, name: &str, keeper: Arc<TestKeeper>) -> (Arc<PodHandle>, Vec<String>) {
    let created = create_pod(loopback(dir, name), keeper, name.to_owned(), None)
        .await
        .unwrap();
    (created.pod, created.words)
}

async fn link(pod: &PodHandle, cloud: &Peer) {
    let linking = pod.link_cloud_peer(cloud.code(MINUTE).to_string());
    linking.number(None).await.unwrap();
    linking.answer(true);
    linking.finished(None).await.unwrap();
}

async fn join(dir: &Path, name: &str, host: &PodHandle) -> Arc<PodHandle> {
    let here = host.invite(60, None).await.unwrap();
    let there = join_pod(
        loopback(dir, name),
        TestKeeper::new(),
        name.to_owned(),
        here.code().unwrap(),
    )
    .unwrap();
    let _ = tokio::join!(here.number(None), there.number(None));
    here.answer(true);
    there.answer(true);
    let (pod, linked) = tokio::join!(there.pod(None), here.finished(None));
    linked.unwrap();
    pod.unwrap()
}

async fn write(pod: &PodHandle) -> String {
    let path = vec![PathKey::Field {
        name: "date".to_owned(),
    }];
    let value = Value::Date { millis: 1 };
    let edits = vec![EditOp::Set { path, value }];
    let journal = pod.collection("journal".to_owned());
    let written = journal
        .write(vec![DocumentWrite { id: None, edits }], None)
        .await
        .unwrap();
    written[0].id.clone()
}

async fn has(pod: &PodHandle, document: &str) -> bool {
    let journal = pod.collection("journal".to_owned());
    journal.get(document.to_owned(), None).await.unwrap().is_some()
}

async fn sync(pod: &PodHandle) {
    let report = pod.sync_once(20_000, None, None).await.unwrap();
    assert!(report.peers.iter().all(|peer| peer.error.is_none()), "{report:?}");
}

async fn names(pod: &PodHandle) -> Vec<String> {
    let members = pod.members(None).await.unwrap().members;
    let mut names: Vec<String> = members.into_iter().filter_map(|member| member.name).collect();
    names.sort();
    names
}

fn code<T>(result: Result<T, RhizomeError>) -> Option<String> {
    match result {
        Err(RhizomeError::InvalidInput { code, .. }) => Some(code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_and_the_cloud_peer_bring_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = cloud_peer(dir.path()).await;
    let (phone, words) = create(dir.path(), "phone", TestKeeper::new()).await;
    let words = words.join(" ");
    link(&phone, &cloud).await;
    let document = write(&phone).await;
    sync(&phone).await;
    let (did, lost) = (phone.did().unwrap(), phone.device().unwrap());
    phone.shutdown().await.unwrap();

    let peer = peer_address(cloud.code(MINUTE).to_string()).unwrap();
    assert_eq!(peer_address(peer.clone()).unwrap(), peer);
    let recover = async |words: &str, peer: &str| {
        let (options, keeper) = (loopback(dir.path(), "new"), TestKeeper::new());
        recover_pod(
            options,
            keeper,
            "new".to_owned(),
            words.to_owned(),
            peer.to_owned(),
            None,
        )
        .await
    };
    assert_eq!(code(recover(&words, "somewhere").await).as_deref(), Some("address"));
    assert_eq!(
        code(recover("abandon ability", &peer).await).as_deref(),
        Some("wrong-words")
    );
    let new = recover(&words, &peer).await.unwrap();
    assert_eq!(new.did().unwrap(), did);
    sync(&new).await;
    assert!(has(&new, &document).await);

    let removal = new.remove_device(lost.clone(), None).await.unwrap();
    assert_eq!(new.proposal(removal.clone()).unwrap(), ProposalState::Tentative);
    sync(&new).await;
    assert_eq!(new.proposal(removal).unwrap(), ProposalState::Ordered);
    assert_eq!(new.proposal("00".repeat(32)).unwrap(), ProposalState::Unknown);
    let members = new.members(None).await.unwrap();
    assert_eq!(
        (members.removed[0].key.as_str(), members.removed[0].kept),
        (lost.as_str(), 0)
    );
    let again = new.readmit_entries(lost, None).await.unwrap();
    assert_ne!(again.map(|id| new.proposal(id).unwrap()), Some(ProposalState::Void));

    // The words change at once, by themselves; the old ones are nobody's.
    let fresh = new_words();
    assert_eq!(fresh.len(), 24);
    new.change_words_at_once(words.clone(), fresh.clone(), None)
        .await
        .unwrap();
    assert_eq!(
        code(new.change_words_at_once(words.clone(), new_words(), None).await).as_deref(),
        Some("wrong-words")
    );
    assert_eq!(
        code(
            new.change_words_at_once(fresh.join(" "), vec!["word".to_owned()], None)
                .await
        )
        .as_deref(),
        Some("wrong-words")
    );
    new.change_words(new_words(), None).await.unwrap();
    sync(&new).await;
    assert!(new.members(None).await.unwrap().words_change_at.is_some());
    assert_eq!(
        code(new.take_back(words, vec![], None).await).as_deref(),
        Some("wrong-words")
    );
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_peers_are_renamed_removed_and_taken_back_from() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = cloud_peer(dir.path()).await;
    let (phone, words) = create(dir.path(), "phone", TestKeeper::new()).await;
    link(&phone, &cloud).await;
    let tablet = join(dir.path(), "tablet", &phone).await;
    for pod in [&phone, &tablet] {
        sync(pod).await;
    }
    phone
        .rename(tablet.device().unwrap(), "my tablet".to_owned(), None)
        .await
        .unwrap();
    let itself = phone.remove_device(phone.device().unwrap(), None).await;
    assert!(matches!(itself, Err(RhizomeError::Refused { .. })), "{itself:?}");
    assert_eq!(
        code(phone.remove_device("tablet".to_owned(), None).await).as_deref(),
        Some("id")
    );
    // The tablet is stolen, and its thief quick.
    tablet.remove_device(phone.device().unwrap(), None).await.unwrap();
    sync(&tablet).await;
    let (words, peer) = (words.join(" "), cloud.code(MINUTE).to_string());
    let options = loopback(dir.path(), "new");
    let new = recover_pod(options, TestKeeper::new(), "new".to_owned(), words.clone(), peer, None);
    let new = new.await.unwrap();
    new.take_back(words, vec![tablet.device().unwrap()], None)
        .await
        .unwrap();
    for pod in [&new, &phone] {
        sync(pod).await;
        assert_eq!(names(pod).await, ["cloud", "new", "phone"]);
    }
    let members = phone.members(None).await.unwrap().members;
    let peer = members.iter().find(|member| member.cloud).unwrap();
    assert!(peer.orders && peer.ordered);
    phone.hand_over(phone.device().unwrap(), None).await.unwrap();
    sync(&phone).await;
    phone.remove_peer(peer.key.clone(), None).await.unwrap();
    assert_eq!(names(&phone).await, ["new", "phone"]);
    phone.vote_for_orderer(phone.device().unwrap(), None).await.unwrap();
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_open_a_folder_whose_secret_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = TestKeeper::new();
    let (pod, words) = create(dir.path(), "phone", keeper).await;
    let document = write(&pod).await;
    pod.shutdown().await.unwrap();
    let keeper = TestKeeper::new();
    let open = async || open_pod(loopback(dir.path(), "phone"), keeper.clone(), None).await;
    assert!(matches!(open().await, Err(RhizomeError::NeedsRecovery { .. })));
    let (_, others) = create(dir.path(), "other", TestKeeper::new()).await;
    let recover = async |words: &[String]| {
        recover_folder(loopback(dir.path(), "phone"), keeper.clone(), words.join(" "), None).await
    };
    assert_eq!(code(recover(&others).await).as_deref(), Some("wrong-words"));
    keeper.answer(Answers::Locked);
    assert!(matches!(recover(&words).await, Err(RhizomeError::Locked { .. })));
    keeper.answer(Answers::Well);
    let pod = recover(&words).await.unwrap();
    assert!(has(&pod, &document).await);
    pod.shutdown().await.unwrap();
    assert!(open().await.is_ok());
}

#[test]
fn three_of_the_words_are_asked_for() {
    let words: Vec<String> = (1..=24).map(|place| format!("word{place}")).collect();
    let quiz = QuizHandle::new(words);
    let answers: Vec<String> = quiz.places().iter().map(|place| format!("WORD{place} ")).collect();
    assert_eq!(answers.len(), 3);
    assert!(quiz.is_right(answers.clone()));
    assert!(!quiz.is_right(answers[..2].to_vec()) && !quiz.is_right(vec![String::new(); 3]));
}
