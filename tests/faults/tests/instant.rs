//! A disk that takes for ever: what is called instant answers all the same, and nothing that was edited meanwhile is lost.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rhizome::{Conditions, EditOp, Error, Network, OpenDocument, Pod, Value, path};
use rhizome_faults::{disk::Disk, person::options, scratch::folder, vfs};

const EDITS: usize = 1000;

fn splice(at: usize, insert: &str) -> EditOp {
    EditOp::SpliceText {
        path: path(["text"]).into(),
        at,
        delete: 0,
        insert: insert.to_owned(),
    }
}

/// Every instant call there is, again and again.
fn edit(pod: &Pod, document: &OpenDocument) {
    for n in 0..EDITS {
        document.edit(vec![splice(n, "x")]).unwrap();
        assert!(document.get(&path(["text"])).is_some() && !document.is_saved());
        if n % 50 == 0 {
            assert!(matches!(document.value(), Value::Map(_)));
            pod.did().unwrap();
            pod.did_document().unwrap();
            pod.device().unwrap();
            let other = pod.new_document("journal");
            drop((
                pod.watch_list("journal", "date", 20),
                pod.watch_document(other.id()),
                pod.watch_status(),
            ));
            let network = if n % 100 == 0 {
                Network::None
            } else {
                Network::Unmetered
            };
            pod.set_conditions(Conditions {
                network,
                ..Conditions::default()
            });
        }
    }
}

#[test]
fn instant_calls_answer_while_the_disk_does_not() {
    vfs::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let dir = folder();
    let (pod_dir, options) = (dir.path().join("pod"), options());
    let disk = Disk::new(&pod_dir);
    let pod = runtime
        .block_on(Pod::create(&pod_dir, options.clone(), "phone"))
        .unwrap()
        .0;
    let document = pod.new_document("journal");
    document
        .edit(vec![EditOp::SetText {
            path: path(["text"]).into(),
            text: String::new(),
        }])
        .unwrap();
    runtime.block_on(document.save()).unwrap();

    let held = disk.hold();
    document.edit(vec![splice(0, "|")]).unwrap();
    let stuck = |what: &'static str| {
        let (pod, document) = (pod.clone(), document.clone());
        runtime.spawn(async move {
            match what {
                "save" => document.save().await.map(drop),
                "refresh" => document.refresh().await.map(drop),
                "list" => pod.list("journal", "date", None, 20).await.map(drop),
                "status" => pod.status().await.map(drop),
                "write" => pod
                    .create_document("journal", |edit| edit.set(&path(["date"]), Value::Date(1)))
                    .await
                    .map(drop),
                other => panic!("{other}"),
            }
        })
    };
    let calls = ["save", "refresh", "list", "status", "write"].map(stuck);
    let end = Instant::now() + Duration::from_secs(60);
    while disk.waiting() < 2 {
        assert!(Instant::now() < end, "nothing came to the disk");
        std::thread::sleep(Duration::from_millis(5));
    }
    // A thread as an app's is; were it to wait, this would be the end.
    let ui = std::thread::spawn({
        let (pod, document) = (pod.clone(), document.clone());
        move || edit(&pod, &document)
    });
    while !ui.is_finished() {
        assert!(Instant::now() < end, "an instant call waits for the disk");
        std::thread::sleep(Duration::from_millis(5));
    }
    ui.join().unwrap();
    assert!(
        calls.iter().all(|call| !call.is_finished()),
        "the disk was held all the time"
    );

    drop(held);
    for call in calls {
        let ended: Result<(), Error> = runtime.block_on(call).unwrap();
        ended.unwrap();
    }
    runtime.block_on(document.save()).unwrap();
    let id = document.id();
    runtime.block_on(pod.shutdown());
    let pod = runtime.block_on(Pod::open(&pod_dir, options)).unwrap();
    let kept = runtime.block_on(pod.get(id)).unwrap();
    assert_eq!(kept, Some(document.value()));
    assert_eq!(
        document.get(&path(["text"])),
        Some(Value::Text("x".repeat(EDITS) + "|"))
    );
    runtime.block_on(pod.shutdown());
    disk.remove();
}
