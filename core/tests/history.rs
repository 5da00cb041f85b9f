//! The history of documents in a pod: who wrote what and when, versions, undo that survives a restart, transactions, cursors and marks in an
//! open document.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{new_pod, options, second_device, text, write};
use rhizome::{
    ChangeKind, Document, DocumentEdit, DocumentError, DocumentId, DocumentVersion, EditOp, Error, Expand, Lean, Pod,
    TextPiece, Value, document::Changed, path,
};

const SOON: Duration = Duration::from_secs(60);

async fn versions(pod: &Pod, document: DocumentId) -> Vec<DocumentVersion> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = pod.history(document, after, 2).await.unwrap();
        assert!(page.versions.len() <= 2);
        all.extend(page.versions);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn set_text(pod: &Pod, document: DocumentId, text: &str) {
    let text = text.to_owned();
    pod.edit_document("journal", document, move |edit| edit.set_text(&path(["text"]), &text))
        .await
        .unwrap();
}

async fn meet(a: &Pod, b: &Pod) {
    let (one, other) = tokio::join!(a.sync_once(SOON, None), b.sync_once(SOON, None));
    one.unwrap();
    other.unwrap();
    // What went one way while the other had ended already.
    b.sync_once(SOON, None).await.unwrap();
    a.sync_once(SOON, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_has_its_author_and_time_and_reads_as_it_was() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let (tablet, _keeper) = second_device(&phone, tablet_dir.path()).await;
    let document = write(&phone, "one").await;
    set_text(&phone, document, "one two").await;
    meet(&phone, &tablet).await;
    set_text(&tablet, document, "one big two").await;
    meet(&phone, &tablet).await;
    assert_eq!(text(&phone, document).await.unwrap(), "one big two");
    let seen = versions(&phone, document).await;
    assert_eq!(seen.len(), 3);
    let shown: Vec<(Option<&str>, bool, ChangeKind)> = seen
        .iter()
        .map(|v| (v.device_name.as_deref(), v.this_device, v.kind))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("tablet"), false, ChangeKind::Edit),
            (Some("phone"), true, ChangeKind::Edit),
            (Some("phone"), true, ChangeKind::Create),
        ]
    );
    assert!(seen.windows(2).all(|pair| pair[0].millis >= pair[1].millis));
    let texts = [("one big two", 0), ("one two", 1), ("one", 2)];
    for (wanted, version) in texts {
        let Value::Map(value) = phone.document_at(document, seen[version].change).await.unwrap() else {
            panic!("a document is a map")
        };
        assert_eq!(value["text"], Value::Text(wanted.into()));
    }
    let found = phone
        .differences(document, Some(seen[1].change), seen[0].change)
        .await
        .unwrap();
    let [only] = &found[..] else { panic!("{found:?}") };
    let pieces = vec![
        TextPiece::Kept("one ".into()),
        TextPiece::Added("big ".into()),
        TextPiece::Kept("two".into()),
    ];
    assert_eq!(only.change, Changed::Text(pieces));
    let blame = phone.blame(document, &path(["text"])).await.unwrap();
    let shown: Vec<(&str, Option<&str>)> = blame
        .iter()
        .map(|span| (span.text.as_str(), span.version.device_name.as_deref()))
        .collect();
    assert_eq!(
        shown,
        [
            ("one", Some("phone")),
            (" ", Some("phone")),
            ("big ", Some("tablet")),
            ("two", Some("phone"))
        ]
    );
    assert!(!format!("{blame:?}").contains("big"));
    // Restored, it is a version more, and all before stay; the other device sees it too.
    let restored = phone.restore("journal", document, seen[2].change).await.unwrap();
    assert!(restored.entry.is_some());
    assert_eq!(text(&phone, document).await.unwrap(), "one");
    meet(&phone, &tablet).await;
    let after = versions(&tablet, document).await;
    assert_eq!(after.len(), 4);
    assert_eq!(after[0].kind, ChangeKind::Restore(seen[2].change));
    assert_eq!(text(&tablet, document).await.unwrap(), "one");
    // No document, no version.
    let nothing = DocumentId([9; 16]);
    assert!(phone.history(nothing, None, 10).await.unwrap().versions.is_empty());
    assert!(matches!(
        phone.document_at(nothing, [0; 32]).await,
        Err(Error::NoDocument(_))
    ));
    assert!(matches!(
        phone.document_at(document, [0; 32]).await,
        Err(Error::Document(DocumentError::NoVersion))
    ));
    phone.shutdown().await;
    tablet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_folded_again_with_the_views() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = write(&pod, "one").await;
    for word in ["two", "three"] {
        set_text(&pod, document, word).await;
    }
    let before = versions(&pod, document).await;
    pod.shutdown().await;
    for name in ["views.db", "views.db-wal", "views.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let pod = Pod::open(dir.path(), opts).await.unwrap();
    assert_eq!(versions(&pod, document).await, before);
    assert_eq!(before.len(), 3);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_takes_back_its_own_edits_only_also_after_a_restart() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (opts, _keeper) = options();
    let (phone, _) = Pod::create(phone_dir.path(), opts.clone(), "phone").await.unwrap();
    let (tablet, _other) = second_device(&phone, tablet_dir.path()).await;
    let document = write(&phone, "start").await;
    set_text(&phone, document, "start mine").await;
    meet(&phone, &tablet).await;
    set_text(&tablet, document, "theirs start mine").await;
    let elsewhere = write(&tablet, "of the tablet").await;
    meet(&phone, &tablet).await;
    phone.shutdown().await;
    let phone = Pod::open(phone_dir.path(), opts).await.unwrap();
    let undone = phone.undo("journal", document).await.unwrap().unwrap();
    assert!(undone.entry.is_some());
    assert_eq!(text(&phone, document).await.unwrap(), "theirs start");
    // Whoever did not write it has nothing of it to take back.
    assert!(phone.undo("journal", elsewhere).await.unwrap().is_none());
    assert_eq!(text(&phone, elsewhere).await.unwrap(), "of the tablet");
    phone.redo("journal", document).await.unwrap().unwrap();
    assert_eq!(text(&phone, document).await.unwrap(), "theirs start mine");
    assert!(phone.redo("journal", document).await.unwrap().is_none());
    tablet.undo("journal", document).await.unwrap().unwrap();
    assert_eq!(text(&tablet, document).await.unwrap(), "start mine");
    phone.shutdown().await;
    tablet.shutdown().await;
}

fn splice(at: usize, delete: usize, insert: &str) -> EditOp {
    EditOp::SpliceText {
        path: path(["text"]).into(),
        at,
        delete,
        insert: insert.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_document_has_marks_cursors_and_undo() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let (tablet, _keeper) = second_device(&phone, tablet_dir.path()).await;
    let field = path(["text"]);
    let open = phone.new_document("journal");
    open.edit(vec![EditOp::SetText {
        path: field.to_vec(),
        text: "🦔 one".into(),
    }])
    .unwrap();
    // Before the first save nobody has written these letters yet.
    let early = open.cursor(&field, 6, Lean::Before).unwrap();
    open.save().await.unwrap();
    let late = open.cursor(&field, 6, Lean::Before).unwrap();
    assert_ne!(late, early);
    assert_eq!(
        (open.position(&field, &early), open.position(&field, &late)),
        (Some(6), Some(6))
    );
    let bold = EditOp::Mark {
        path: field.to_vec(),
        range: 3..6,
        name: "bold".into(),
        value: Value::Bool(true),
        expand: Expand::After,
    };
    open.edit(vec![splice(6, 0, " two"), bold]).unwrap();
    let spans = open.spans(&field).unwrap();
    let shown: Vec<(&str, usize)> = spans
        .iter()
        .map(|span| (span.text.as_str(), span.marks.len()))
        .collect();
    assert_eq!(shown, [("🦔 ", 0), ("one", 1), (" two", 0)]);
    // In letters that are not saved; they are, and others write before them, and the cursor stays.
    let cursor = open.cursor(&field, 8, Lean::Before).unwrap();
    assert_eq!(open.position(&field, &cursor), Some(8));
    open.save().await.unwrap();
    assert_eq!(open.position(&field, &cursor), Some(8));
    let for_others = open.cursor(&field, 8, Lean::Before).unwrap();
    assert_eq!(for_others, cursor);
    assert_eq!(open.position(&field, &for_others), Some(8));
    meet(&phone, &tablet).await;
    let theirs = tablet.open_document("journal", open.id()).await.unwrap();
    assert_eq!(theirs.spans(&field), Some(spans));
    assert_eq!(theirs.position(&field, &for_others), Some(8));
    theirs.edit(vec![splice(0, 0, "so: ")]).unwrap();
    theirs.save().await.unwrap();
    meet(&phone, &tablet).await;
    assert!(open.refresh().await.unwrap());
    assert_eq!(open.position(&field, &cursor), Some(12));
    assert_eq!(open.position(&field, &early), Some(10));
    assert_eq!(open.position(&field, &for_others), Some(12));
    // What the last save did, and nothing of the other's; unsaved edits first.
    open.edit(vec![splice(0, 2, "")]).unwrap();
    assert!(open.undo().await.unwrap());
    assert_eq!(open.get(&field), Some(Value::Text("so: 🦔 one two".into())));
    assert!(open.undo().await.unwrap());
    let spans = open.spans(&field).unwrap();
    assert_eq!((spans.len(), spans[0].text.as_str()), (1, "so: 🦔 one"));
    assert!(open.redo().await.unwrap());
    assert_eq!(open.get(&field), Some(Value::Text("so: 🦔 one two".into())));
    phone.shutdown().await;
    tablet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_say_who_wrote_each_value() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let (tablet, _keeper) = second_device(&phone, tablet_dir.path()).await;
    let document = write(&phone, "one").await;
    meet(&phone, &tablet).await;
    for (pod, title) in [(&phone, "of the phone"), (&tablet, "of the tablet")] {
        pod.edit_document("journal", document, move |edit| {
            edit.set(&path(["title"]), Value::String(title.into()))
        })
        .await
        .unwrap();
    }
    meet(&phone, &tablet).await;
    let both = phone.conflicts(document, &path(["title"])).await.unwrap();
    let mut shown: Vec<(Value, Option<String>)> = both
        .iter()
        .map(|one| (one.value.clone(), one.version.device_name.clone()))
        .collect();
    let Some(Value::Map(now)) = phone.get(document).await.unwrap() else {
        panic!("a document is a map")
    };
    assert_eq!(shown[1].0, now["title"]);
    shown.sort_by_key(|(_, name)| name.clone());
    assert_eq!(
        shown,
        [
            (Value::String("of the phone".into()), Some("phone".to_owned())),
            (Value::String("of the tablet".into()), Some("tablet".to_owned())),
        ]
    );
    phone.shutdown().await;
    tablet.shutdown().await;
}

fn edit_of(document: Option<DocumentId>, text: String) -> DocumentEdit {
    DocumentEdit {
        document,
        edit: Box::new(move |edit| edit.set_text(&path(["text"]), &text)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_entry_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let known = write(&pod, "old").await;
    let before = pod.status().await.unwrap().entries;
    let mut edits: Vec<DocumentEdit> = (0..20).map(|n| edit_of(None, format!("new {n}"))).collect();
    edits.push(edit_of(Some(known), "changed".into()));
    // The same document once more: on top, and one change with it.
    edits.push(DocumentEdit {
        document: Some(known),
        edit: Box::new(|edit| edit.splice_text(&path(["text"]), 0, 0, "all ")),
    });
    let written = pod.transaction("journal", edits).await.unwrap();
    assert_eq!(written.len(), 22);
    assert!(
        written
            .iter()
            .all(|one| one.entry.is_some() && one.entry == written[0].entry)
    );
    assert_eq!(pod.status().await.unwrap().entries, before + 1);
    assert_eq!(text(&pod, known).await.unwrap(), "all changed");
    assert_eq!(versions(&pod, known).await.len(), 2);
    assert_eq!(text(&pod, written[7].document).await.unwrap(), "new 7");
    // One edit that fails: none of them.
    let failing = DocumentEdit {
        document: Some(known),
        edit: Box::new(|edit| edit.increment(&path(["text"]), 1)),
    };
    let count = pod.count("journal").await.unwrap();
    let failed = pod
        .transaction("journal", vec![edit_of(None, "never".into()), failing])
        .await;
    assert!(matches!(failed, Err(Error::Document(DocumentError::WrongType { .. }))));
    // What does not fit into one entry is not written in two.
    let noise = |n: u64| -> String {
        let mut luck = n;
        let letters = std::iter::repeat_with(|| {
            luck = luck
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from_u32(0x4e00 + (luck >> 33) as u32 % 20_000).unwrap()
        });
        letters.take(60_000).collect()
    };
    let large = || (0..12).map(|n| edit_of(None, noise(n))).collect::<Vec<_>>();
    let refused = pod.transaction("journal", large()).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { size, max }) if size > max),
        "{refused:?}"
    );
    let many = (0..2049).map(|n| edit_of(None, n.to_string())).collect();
    assert!(matches!(
        pod.transaction("journal", many).await,
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(pod.count("journal").await.unwrap(), count);
    assert_eq!(pod.status().await.unwrap().entries, before + 1);
    // A batch takes as many entries as it needs.
    assert_eq!(pod.write("journal", large()).await.unwrap().len(), 12);
    assert!(pod.transaction("journal", Vec::new()).await.unwrap().is_empty());
    // After what failed, this device goes on with the document.
    set_text(&pod, known, "on").await;
    assert_eq!(text(&pod, known).await.unwrap(), "on");
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_document_is_an_automerge_file() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = write(&pod, "one").await;
    set_text(&pod, document, "one two").await;
    let file = pod.export_document(document).await.unwrap();
    let loaded = Document::load(&file, &[1; 32]).unwrap();
    assert_eq!(Some(loaded.value()), pod.get(document).await.unwrap());
    assert_eq!(loaded.changes_since(&[]).len(), 2);
    pod.shutdown().await;
}
