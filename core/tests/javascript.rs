//! A document of a pod opens with the JavaScript Automerge with the same content, and what that writes opens here. `make javascript` runs it with
//! Node; by itself it says that it does nothing.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::PathBuf, process::Command};

use common::new_pod;
use rhizome::{Document, Expand, Pod, Value, path};
use serde_json::{Value as Json, json};

/// A document of every kind of value, made by two openings of a pod's, with marks.
async fn document(pod: &Pod) -> rhizome::DocumentId {
    let written = pod
        .create_document("journal", |edit| {
            edit.set_text(&path(["text"]), "Grüße, 😀 everyone")?;
            edit.set(&path(["plain"]), Value::String("of one piece".into()))?;
            edit.set(&path(["date"]), Value::Date(1_234_567_890_123))?;
            edit.set(&path(["raw"]), Value::Bytes(vec![0, 255, 7]))?;
            edit.set(&path(["count"]), Value::Counter(7))?;
            edit.set(&path(["gone"]), Value::Null)?;
            edit.set(&path(["half"]), Value::Float(0.5))?;
            edit.set(&path(["map", "deep", "yes"]), Value::Bool(true))?;
            edit.set(
                &path(["list"]),
                Value::List(vec![Value::Int(-3), Value::Text("in".into())]),
            )
        })
        .await
        .unwrap();
    pod.suspend().await.unwrap();
    pod.resume().await.unwrap();
    pod.edit_document("journal", written.document, |edit| {
        let text = path(["text"]);
        edit.mark(&text, 7..18, "bold", &Value::Bool(true), Expand::After)?;
        edit.unmark(&text, 10..15, "bold", Expand::None)?;
        edit.mark(&text, 0..5, "link", &Value::String("there".into()), Expand::None)?;
        edit.increment(&path(["count"]), -2)?;
        edit.insert(&path(["list"]), 0, Value::Null)
    })
    .await
    .unwrap();
    written.document
}

/// As the script tells it.
fn seen(document: &Document) -> Json {
    let spans = document.spans(&path(["text"])).unwrap();
    let spans: Vec<Json> = spans
        .iter()
        .map(|span| {
            let marks: serde_json::Map<String, Json> = span
                .marks
                .iter()
                .map(|(name, value)| (name.clone(), value.to_json()))
                .collect();
            json!([span.text, marks])
        })
        .collect();
    json!({
        "value": document.value().to_tagged_json(), "spans": spans, "changes": document.changes_since(&[]).len(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_goes_to_javascript_and_back() {
    let Some(at) = std::env::var_os("RHIZOME_JAVASCRIPT").map(PathBuf::from) else {
        println!("SKIPPED: `make javascript` opens documents with the JavaScript Automerge");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(&dir.path().join("pod")).await;
    let id = document(&pod).await;
    let (file, back) = (dir.path().join("in.automerge"), dir.path().join("out.automerge"));
    std::fs::write(&file, pod.export_document(id).await.unwrap()).unwrap();
    let ours = Document::load(&std::fs::read(&file).unwrap(), &[1; 32]).unwrap();
    let run = Command::new("node")
        .arg(at.join("check.js"))
        .args([&file, &back])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told: Json = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(told["loaded"], seen(&ours));
    let theirs = Document::load(&std::fs::read(&back).unwrap(), &[2; 32]).unwrap();
    assert_eq!(told["edited"], seen(&theirs));
    assert_eq!(theirs.text(&path(["text"])).unwrap(), "JS 🦔 Grüße, 😀 everyone");
    assert_eq!(theirs.get(&path(["count"])), Some(Value::Counter(10)));
    assert_eq!(theirs.get(&path(["gone"])), None);
    // The change that JavaScript made is taken like a peer's.
    let mut merged = ours.clone();
    let change = theirs.changes_since(&ours.heads());
    assert_eq!(change.len(), 1);
    assert!(merged.apply(&change).unwrap().changed);
    assert_eq!(merged.value(), theirs.value());
    pod.shutdown().await;
}
