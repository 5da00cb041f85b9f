//! Schemas, queries, search, marks, history, attachments and deletion, each across the boundary.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{TestKeeper, cloud_peer, loopback};
use rhizome_ffi::{
    ChangeKind, Changed, CollectionHandle, DocumentWrite, EditOp, Expand, FieldRange, FieldValue, Index, IndexField,
    Lean, NewAttachment, PathKey, PlacedAs, PodHandle, ProgressHandle, Query, QueryRow, RhizomeError, Schema, Search,
    SearchField, TextPiece, Value, attachment_ref, create_pod, join_pod,
};

async fn new_pod(dir: &Path) -> (Arc<PodHandle>, String) {
    let created = create_pod(loopback(dir, "phone"), TestKeeper::new(), "phone".to_owned(), None)
        .await
        .unwrap();
    (created.pod, created.words.join(" "))
}

fn field(name: &str) -> Vec<PathKey> {
    vec![PathKey::Field { name: name.to_owned() }]
}

fn set(name: &str, value: Value) -> EditOp {
    EditOp::Set {
        path: field(name),
        value,
    }
}

fn string(value: &str) -> Value {
    Value::Str {
        value: value.to_owned(),
    }
}

fn text(text: &str) -> EditOp {
    EditOp::SetText {
        path: field("text"),
        text: text.to_owned(),
    }
}

async fn write(to: &CollectionHandle, id: Option<&str>, edits: Vec<EditOp>) -> String {
    let id = id.map(str::to_owned);
    let written = to.write(vec![DocumentWrite { id, edits }], None).await.unwrap();
    written[0].id.clone()
}

fn code<T>(result: Result<T, RhizomeError>) -> (&'static str, String) {
    match result.err().unwrap() {
        RhizomeError::NotFound { code, .. } => ("NotFound", code),
        RhizomeError::InvalidInput { code, .. } => ("InvalidInput", code),
        RhizomeError::Refused { code, .. } => ("Refused", code),
        RhizomeError::Storage { code, .. } => ("Storage", code),
        other => panic!("{other:?}"),
    }
}

fn by_date(kind: &str) -> Query {
    Query {
        equal: vec![FieldValue {
            path: vec!["kind".to_owned()],
            value: string(kind),
        }],
        contains: None,
        range: None,
        sort: vec![vec!["date".to_owned()]],
        descending: true,
        limit: Some(3),
        after: None,
    }
}

fn schema() -> Schema {
    let indexed = |name: &str, each| IndexField {
        path: vec![name.to_owned()],
        each,
    };
    Schema {
        indexes: vec![
            Index {
                fields: vec![indexed("kind", false), indexed("date", false)],
            },
            Index {
                fields: vec![indexed("tags", true), indexed("date", false)],
            },
            Index {
                fields: vec![indexed("kind", false)],
            },
        ],
        search: vec![SearchField {
            path: vec!["text".to_owned()],
            weight: 2,
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_searches_cross() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = new_pod(dir.path()).await;
    let journal = pod.collection("journal".to_owned());
    assert_eq!(
        code(journal.query(by_date("note"), None).await),
        ("InvalidInput", "not-indexed".to_owned())
    );
    journal.declare(schema(), None).await.unwrap();
    assert_eq!(journal.index_progress(None).await.unwrap(), None);
    let mut ids = Vec::new();
    for n in 0..5 {
        let edits = vec![
            set("kind", string(if n == 4 { "note" } else { "entry" })),
            set("date", Value::Date { millis: n }),
            set(
                "tags",
                Value::List {
                    values: vec![string("a"), string(&format!("{n}"))],
                },
            ),
            text(&format!("über 🦔 hedgehog {n}")),
        ];
        ids.push(write(&journal, None, edits).await);
    }
    let found = |rows: &[QueryRow]| -> Vec<usize> {
        let place = |row: &QueryRow| ids.iter().position(|id| *id == row.id).unwrap();
        rows.iter().map(place).collect()
    };
    let page = journal.query(by_date("entry"), None).await.unwrap();
    assert_eq!(found(&page.rows), [3, 2, 1]);
    assert_eq!(page.rows[0].fields["date"], Value::Int { value: 3 });
    let next = Query {
        after: page.next,
        ..by_date("entry")
    };
    let last = journal.query(next, None).await.unwrap();
    assert_eq!((found(&last.rows), last.next), (vec![0], None));
    assert_eq!(journal.count_query(by_date("entry"), None).await.unwrap(), 4);
    let range = |from, until, above_from, to_until| Query {
        range: Some(FieldRange {
            path: vec!["date".to_owned()],
            from: Some(Value::Int { value: from }),
            until: Some(Value::Int { value: until }),
            above_from,
            to_until,
            prefix: None,
        }),
        ..by_date("entry")
    };
    let between = async |range| found(&journal.query(range, None).await.unwrap().rows);
    assert_eq!(between(range(0, 2, false, false)).await, [1, 0]);
    assert_eq!(between(range(0, 2, true, true)).await, [2, 1]);
    let tagged = Query {
        equal: vec![],
        contains: Some(FieldValue {
            path: vec!["tags".to_owned()],
            value: string("a"),
        }),
        limit: None,
        ..by_date("")
    };
    assert_eq!(between(tagged).await, [4, 3, 2, 1, 0]);
    let mut prefix = Query {
        equal: vec![],
        range: Some(FieldRange {
            path: vec!["kind".to_owned()],
            from: None,
            until: None,
            above_from: false,
            to_until: false,
            prefix: Some("no".to_owned()),
        }),
        sort: vec![],
        ..by_date("")
    };
    assert_eq!(between(prefix.clone()).await, [4]);
    prefix.range.as_mut().unwrap().from = Some(Value::Null);
    assert_eq!(code(journal.query(prefix, None).await).1, "query");
    let wrong = Query {
        after: Some("zz".to_owned()),
        ..by_date("entry")
    };
    assert_eq!(code(journal.query(wrong, None).await).1, "query");

    let mut search = Search {
        text: "hedgeh".to_owned(),
        typing: true,
        excerpts: true,
        within: None,
        limit: Some(4),
        after: None,
    };
    let hits = journal.search(search.clone(), None).await.unwrap();
    assert_eq!(hits.hits.len(), 4);
    let excerpt = &hits.hits[0].excerpts[0];
    let (start, end) = (excerpt.ranges[0].start as usize, excerpt.ranges[0].end as usize);
    let units: Vec<u16> = excerpt.text.encode_utf16().collect();
    assert_eq!(String::from_utf16(&units[start..end]).unwrap(), "hedgehog");
    assert_eq!(excerpt.path, ["text"]);
    search.after = hits.next;
    let rest = journal.search(search.clone(), None).await.unwrap();
    assert_eq!((rest.hits.len(), rest.next), (1, None));
    search.typing = false;
    search.after = None;
    assert!(journal.search(search, None).await.unwrap().hits.is_empty());
    let all = journal.documents(None).await.unwrap();
    assert_eq!(all.len(), 5);
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_tells_what_changed_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = new_pod(dir.path()).await;
    let journal = pod.collection("journal".to_owned());
    journal.declare(schema(), None).await.unwrap();
    let watch = journal.watch_query(by_date("entry")).unwrap();
    let entry = |date| {
        vec![
            set("kind", string("entry")),
            set("date", Value::Date { millis: date }),
            set("mood", string("calm")),
        ]
    };
    let (a, b) = (
        write(&journal, None, entry(1)).await,
        write(&journal, None, entry(2)).await,
    );
    // What happened before the first look is in it.
    let first = watch.next(None).await.unwrap().unwrap();
    let placed: Vec<_> = first
        .placed
        .iter()
        .map(|row| (row.index, row.row.id.clone(), row.placed))
        .collect();
    assert_eq!(
        placed,
        [(0, b.clone(), PlacedAs::Inserted), (1, a.clone(), PlacedAs::Inserted)]
    );
    write(&journal, Some(&a), vec![set("mood", string("glad"))]).await;
    let diff = watch.next(None).await.unwrap().unwrap();
    assert_eq!((diff.placed[0].index, diff.placed[0].placed), (1, PlacedAs::Updated));
    write(&journal, Some(&a), vec![set("date", Value::Date { millis: 3 })]).await;
    let diff = watch.next(None).await.unwrap().unwrap();
    assert_eq!((diff.placed[0].index, diff.placed[0].placed), (0, PlacedAs::Moved));
    write(&journal, Some(&b), vec![set("kind", string("note"))]).await;
    assert_eq!(watch.next(None).await.unwrap().unwrap().removed, [b]);
    watch.cancel();
    assert!(watch.next(None).await.unwrap().is_none());
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_cursors_and_history_cross() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = new_pod(dir.path()).await;
    let journal = pod.collection("journal".to_owned());
    let document = journal.new_document();
    let id = document.id();
    document.edit(vec![text("a 🦔 runs")]).unwrap();
    document.save(None).await.unwrap();
    let cursor = document.cursor(field("text"), 5, Lean::Before).unwrap();
    let bold = |start, end| EditOp::Mark {
        path: field("text"),
        start,
        end,
        name: "bold".to_owned(),
        value: Value::Bool { value: true },
        expand: Expand::After,
    };
    let insert = EditOp::SpliceText {
        path: field("text"),
        at: 0,
        delete: 0,
        insert: "so ".to_owned(),
    };
    document.edit(vec![insert, bold(5, 7)]).unwrap();
    assert_eq!(document.position(field("text"), cursor.clone()).unwrap(), Some(8));
    assert_eq!(
        code(document.position(field("text"), "nonsense".to_owned())).0,
        "InvalidInput"
    );
    let unmark = EditOp::Unmark {
        path: field("text"),
        start: 0,
        end: 2,
        name: "bold".to_owned(),
        expand: Expand::None,
    };
    document.edit(vec![unmark]).unwrap();
    document.save(None).await.unwrap();
    let spans = document.spans(field("text")).unwrap().unwrap();
    let shown: Vec<(&str, usize)> = spans
        .iter()
        .map(|span| (span.text.as_str(), span.marks.len()))
        .collect();
    assert_eq!(shown, [("so a ", 0), ("🦔", 1), (" runs", 0)]);
    assert_eq!(
        journal
            .spans(id.clone(), field("text"), None, None)
            .await
            .unwrap()
            .unwrap(),
        spans
    );

    let page = journal.history(id.clone(), None, 1, None).await.unwrap();
    let first = journal.history(id.clone(), page.next.clone(), 1, None).await.unwrap();
    let (later, earlier) = (&page.versions[0], &first.versions[0]);
    assert_eq!(
        (later.kind.clone(), earlier.kind.clone()),
        (ChangeKind::Edit, ChangeKind::Create)
    );
    assert!(later.this_device && later.device == pod.device().unwrap());
    assert_eq!(
        code(journal.history(id.clone(), Some("00".to_owned()), 1, None).await).1,
        "query"
    );
    let before = journal
        .document_at(id.clone(), earlier.change.clone(), None)
        .await
        .unwrap();
    let Value::Map { fields } = before else { panic!("a map") };
    assert_eq!(
        fields["text"],
        Value::Text {
            value: "a 🦔 runs".to_owned()
        }
    );
    let then = journal
        .spans(id.clone(), field("text"), Some(earlier.change.clone()), None)
        .await
        .unwrap();
    assert_eq!(then.unwrap().len(), 1);
    let differences = journal
        .differences(id.clone(), Some(earlier.change.clone()), later.change.clone(), None)
        .await
        .unwrap();
    let Changed::Text { pieces } = &differences[0].change else {
        panic!("a text was edited")
    };
    assert!(matches!(&pieces[0], TextPiece::Added { text } if text == "so "));
    assert!(pieces.iter().any(
        |piece| matches!(piece, TextPiece::Marked { text, after, .. } if text == "🦔" && after.contains_key("bold"))
    ));
    assert_eq!(differences[0].path, field("text"));
    let blame = journal.blame(id.clone(), field("text"), None).await.unwrap();
    assert_eq!(
        (blame[0].text.as_str(), &blame[0].version.change),
        ("so ", &later.change)
    );

    assert!(document.undo(None).await.unwrap());
    assert_eq!(
        document.get(field("text")).unwrap(),
        Some(Value::Text {
            value: "a 🦔 runs".to_owned()
        })
    );
    assert!(document.redo(None).await.unwrap() && !document.redo(None).await.unwrap());
    assert!(journal.undo(id.clone(), None).await.unwrap().is_some());
    assert!(journal.redo(id.clone(), None).await.unwrap().is_some());
    let written = journal.restore(id.clone(), earlier.change.clone(), None).await.unwrap();
    assert!(written.entry.is_some());
    let newest = journal
        .history(id.clone(), None, 1, None)
        .await
        .unwrap()
        .versions
        .remove(0);
    assert_eq!(
        newest.kind,
        ChangeKind::Restore {
            change: earlier.change.clone()
        }
    );
    assert!(
        journal
            .export_document(id.clone(), None)
            .await
            .unwrap()
            .starts_with(&[0x85, 0x6f, 0x4a, 0x83])
    );
    assert_eq!(code(journal.document_at(id, "0".repeat(64), None).await).1, "document");
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_disagree_and_a_transaction_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, _) = new_pod(dir.path()).await;
    let here = phone.invite(60, None).await.unwrap();
    let there = join_pod(
        loopback(dir.path(), "tablet"),
        TestKeeper::new(),
        "tablet".to_owned(),
        here.code().unwrap(),
    );
    let there = there.unwrap();
    let _ = tokio::join!(here.number(None), there.number(None));
    here.answer(true);
    there.answer(true);
    let tablet = there.pod(None).await.unwrap();
    let (ours, theirs) = (
        phone.collection("journal".to_owned()),
        tablet.collection("journal".to_owned()),
    );
    let id = write(&ours, None, vec![set("mood", string("calm"))]).await;
    tablet.sync_once(20_000, None, None).await.unwrap();
    write(&ours, Some(&id), vec![set("mood", string("glad"))]).await;
    write(&theirs, Some(&id), vec![set("mood", string("sad"))]).await;
    tablet.sync_once(20_000, None, None).await.unwrap();
    let conflicts = theirs.conflicts(id.clone(), field("mood"), None).await.unwrap();
    let mut values: Vec<Option<String>> = Vec::new();
    for conflict in &conflicts {
        let Value::Str { value } = &conflict.value else {
            panic!("a string")
        };
        values.push(Some(format!(
            "{value} by {}",
            conflict.version.device_name.as_deref().unwrap()
        )));
    }
    values.sort();
    assert_eq!(
        values,
        [Some("glad by phone".to_owned()), Some("sad by tablet".to_owned())]
    );
    let written = theirs
        .transaction(
            vec![
                DocumentWrite {
                    id: Some(id.clone()),
                    edits: vec![set("mood", string("both"))],
                },
                DocumentWrite {
                    id: None,
                    edits: vec![set("mood", string("new"))],
                },
            ],
            None,
        )
        .await
        .unwrap();
    assert_eq!(written[0].entry, written[1].entry);
    assert_eq!(theirs.conflicts(id, field("mood"), None).await.unwrap().len(), 1);
    tablet.shutdown().await.unwrap();
    phone.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_cross() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = new_pod(dir.path()).await;
    let cloud = cloud_peer(dir.path()).await;
    let linking = pod.link_cloud_peer(cloud.code(Duration::from_secs(60)).to_string());
    linking.number(None).await.unwrap();
    linking.answer(true);
    linking.finished(None).await.unwrap();
    let journal = pod.collection("journal".to_owned());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let file = dir.path().join("photo.jpg");
    std::fs::write(&file, &bytes).unwrap();
    let what = NewAttachment {
        media_type: "image/jpeg".to_owned(),
        name: Some("photo.jpg".to_owned()),
        thumbnail: Some(vec![7; 100]),
        thumbnail_type: "image/png".to_owned(),
    };
    let progress = ProgressHandle::new();
    let path = file.to_str().unwrap().to_owned();
    let photo = pod
        .attach_file(path, what.clone(), Some(progress.clone()), None)
        .await
        .unwrap();
    assert_eq!((photo.size, progress.now().done), (3_000_000, 3_000_000));
    assert_eq!(progress.next(None).await.unwrap(), None, "the call has ended");
    assert_eq!(attachment_ref(photo.value.clone()), Some(photo.clone()));
    assert_eq!(attachment_ref(string("none")), None);
    let small = attachment_ref(photo.thumbnail.clone().unwrap()).unwrap();
    assert_eq!((small.size, small.media_type.as_str()), (100, "image/png"));
    assert_eq!(
        code(
            pod.attach_file("no/such/file".to_owned(), what.clone(), None, None)
                .await
        ),
        ("Storage", "attachment-source".to_owned())
    );
    let nameless = NewAttachment {
        media_type: String::new(),
        ..what
    };
    assert_eq!(
        code(pod.attach_bytes(vec![], nameless, None, None).await).1,
        "attachment-description"
    );

    let id = write(&journal, None, vec![set("photo", photo.value.clone())]).await;
    assert_eq!(
        journal.attachments_of(id, None).await.unwrap(),
        std::slice::from_ref(&photo)
    );
    let part = pod
        .read_attachment(photo.value.clone(), 1_999_999, 2_000_009, 1000, None)
        .await
        .unwrap();
    assert_eq!(part, bytes[1_999_999..2_000_009]);
    assert_eq!(pod.attachments_status(None).await.unwrap().only_here, 2);
    assert_eq!(
        code(pod.evict_attachment(photo.id.clone(), None).await),
        ("Refused", "attachment-only-here".to_owned())
    );
    let report = pod.sync_once(60_000, None, None).await.unwrap();
    assert!(report.peers.iter().all(|peer| peer.error.is_none()), "{report:?}");
    let status = pod.attachment_status(photo.id.clone(), None).await.unwrap();
    assert!(status.holders.iter().any(|holder| holder.cloud) && Some(status.here) == status.size);
    pod.evict_attachment(photo.id.clone(), None).await.unwrap();
    assert_eq!(pod.attachment_status(photo.id.clone(), None).await.unwrap().here, 0);
    // It comes back, and whoever listens hears of it until it is here.
    let progress = ProgressHandle::new();
    let heard = tokio::spawn({
        let progress = progress.clone();
        async move {
            let mut heard = Vec::new();
            while let Some(told) = progress.next(None).await.unwrap() {
                heard.push(told.done);
            }
            heard
        }
    });
    pod.fetch_attachment(photo.id.clone(), 60_000, Some(progress), None)
        .await
        .unwrap();
    let heard = heard.await.unwrap();
    assert!(!heard.is_empty() && heard.is_sorted(), "{heard:?}");
    let copy = dir.path().join("copy.jpg");
    let path = copy.to_str().unwrap().to_owned();
    let size = pod
        .export_attachment(photo.value.clone(), path, 1000, None, None)
        .await
        .unwrap();
    assert_eq!((size, std::fs::read(&copy).unwrap() == bytes), (3_000_000, true));
    assert_eq!(
        code(
            pod.export_attachment(photo.value.clone(), "no/such/folder".to_owned(), 1000, None, None)
                .await
        ),
        ("Storage", "attachment-target".to_owned())
    );
    pod.pin_attachment(photo.id.clone(), true, None).await.unwrap();
    pod.set_attachment_quota(Some(1), None).await.unwrap();
    let status = pod.attachments_status(None).await.unwrap();
    assert_eq!((status.quota, status.only_here), (Some(1), 0));
    assert!(status.here > 3_000_000, "what is pinned stays");
    pod.pin_attachment(photo.id.clone(), false, None).await.unwrap();
    assert_eq!(pod.tidy_attachments(None).await.unwrap().evicted, 1);
    assert_eq!(
        code(pod.fetch_attachment("0".repeat(64), 1000, None, None).await),
        ("NotFound", "attachment-not-here".to_owned())
    );
    assert_eq!(
        code(pod.read_attachment(Value::Null, 0, 1, 1000, None).await).1,
        "attachment-reference"
    );
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_crosses() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, words) = new_pod(dir.path()).await;
    let journal = pod.collection("journal".to_owned());
    let (a, b) = (
        write(&journal, None, vec![text("first")]).await,
        write(&journal, None, vec![text("second")]).await,
    );
    assert_eq!(
        code(pod.erase_documents(vec![a.clone(), "0".repeat(32)], None).await),
        ("NotFound", "no-document".to_owned())
    );
    assert_eq!(
        pod.erase_documents(vec![a.clone(), b.clone()], None)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        (
            journal.get(a.clone(), None).await.unwrap(),
            journal.count(None).await.unwrap()
        ),
        (None, 0)
    );
    let trash = pod.trash(None).await.unwrap();
    assert_eq!(trash.len(), 2);
    assert!(
        trash
            .iter()
            .all(|trashed| trashed.collection == "journal" && trashed.by == pod.device().unwrap())
    );
    pod.cancel_erase(a.clone(), None).await.unwrap();
    assert!(journal.get(a.clone(), None).await.unwrap().is_some());
    assert_eq!(code(pod.cancel_erase(a.clone(), None).await).0, "NotFound");
    assert_eq!(pod.trash(None).await.unwrap()[0].id, b);
    assert_eq!(
        code(pod.erase_document_at_once(b.clone(), "no words".to_owned(), None).await).1,
        "wrong-words"
    );
    pod.erase_document_at_once(b, words, None).await.unwrap();
    assert_eq!(pod.trash(None).await.unwrap(), []);
    assert_eq!(journal.documents(None).await.unwrap(), [a]);
    pod.shutdown().await.unwrap();
}
