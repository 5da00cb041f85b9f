//! The scenarios that every binding runs alike (tests/scenarios), run by the Rust side of the boundary.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use common::{Answers, TestKeeper, cloud_peer, loopback};
use data_encoding::HEXLOWER;
use rhizome_cloud::Peer;
use rhizome_ffi::{
    AppEvent, CollectionHandle, Conditions, DocumentHandle, DocumentWrite, EditOp, FieldValue, Index, IndexField,
    LinkingHandle, ListRow, ListSubscription, Network, PathKey, PodHandle, Query, RhizomeError, Schema, Search,
    SearchField, SyncState, Value, create_pod, join_pod, open_pod,
};
use serde_json::Value as Json;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn documents() {
    run("documents").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle() {
    run("lifecycle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices() {
    run("devices").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collections() {
    run("collections").await;
}

#[test]
fn every_scenario_is_run() {
    let mut names: Vec<String> = std::fs::read_dir(scenarios())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["collections.json", "devices.json", "documents.json", "lifecycle.json"],
        "one that is new needs a test above"
    );
}

fn scenarios() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios")
}

async fn run(name: &str) {
    let text = std::fs::read_to_string(scenarios().join(format!("{name}.json"))).unwrap();
    let scenario: Json = serde_json::from_str(&text).unwrap();
    let mut world = World::default();
    for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
        let context = format!("{name}, step {number}: {step}");
        let mut step = Step::new(step, context);
        let wanted = step.maybe("error").cloned();
        let result = tokio::time::timeout(MINUTE * 2, world.step(&mut step))
            .await
            .unwrap_or_else(|_| panic!("{} hangs", step.context));
        match (result, wanted) {
            (Ok(()), None) => step.finish(),
            (Err(error), Some(wanted)) => {
                let (kind, code) = kind(&error);
                assert_eq!(
                    (kind, code),
                    (wanted["kind"].as_str().unwrap(), wanted["code"].as_str().unwrap()),
                    "{}",
                    step.context
                );
            }
            (result, wanted) => panic!("{}: {result:?}, not {wanted:?}", step.context),
        }
    }
}

fn kind(error: &RhizomeError) -> (&'static str, &str) {
    use RhizomeError as E;
    match error {
        E::NotFound { code, .. } => ("NotFound", code),
        E::AlreadyExists { code, .. } => ("AlreadyExists", code),
        E::InUse { code, .. } => ("InUse", code),
        E::Locked { code, .. } => ("Locked", code),
        E::NeedsRecovery { code, .. } => ("NeedsRecovery", code),
        E::Suspended { code, .. } => ("Suspended", code),
        E::Closed { code, .. } => ("Closed", code),
        E::InvalidInput { code, .. } => ("InvalidInput", code),
        E::Storage { code, .. } => ("Storage", code),
        E::Network { code, .. } => ("Network", code),
        E::Refused { code, .. } => ("Refused", code),
        E::UpdateNeeded { code, .. } => ("UpdateNeeded", code),
        E::Cancelled { code, .. } => ("Cancelled", code),
        E::Internal { code, .. } => ("Internal", code),
    }
}

/// A step, which remembers what was asked of it: a field that no runner reads is a mistake.
struct Step<'a> {
    fields: &'a serde_json::Map<String, Json>,
    read: Vec<String>,
    context: String,
}

impl<'a> Step<'a> {
    fn new(step: &'a Json, context: String) -> Self {
        Self {
            fields: step.as_object().unwrap(),
            read: Vec::new(),
            context,
        }
    }

    fn maybe(&mut self, name: &str) -> Option<&'a Json> {
        self.read.push(name.to_owned());
        self.fields.get(name)
    }

    fn json(&mut self, name: &str) -> &'a Json {
        self.maybe(name)
            .unwrap_or_else(|| panic!("{} has no {name}", self.context))
    }

    fn text(&mut self, name: &str) -> String {
        self.json(name).as_str().unwrap().to_owned()
    }

    fn number(&mut self, name: &str) -> u64 {
        self.json(name).as_u64().unwrap()
    }

    fn flag(&mut self, name: &str) -> bool {
        self.json(name).as_bool().unwrap()
    }

    fn list(&mut self, name: &str) -> &'a [Json] {
        self.json(name).as_array().unwrap()
    }

    fn names(&mut self, name: &str) -> Vec<String> {
        names(self.json(name))
    }

    fn finish(&self) {
        for name in self.fields.keys() {
            assert!(self.read.contains(name), "{}: nobody read {name}", self.context);
        }
    }
}

fn names(json: &Json) -> Vec<String> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// A list that is watched, as the differences made it.
struct Watched {
    subscription: Arc<ListSubscription>,
    rows: Vec<ListRow>,
    pulled: bool,
}

#[derive(Default)]
struct World {
    dir: Option<tempfile::TempDir>,
    pods: HashMap<String, Arc<PodHandle>>,
    keepers: HashMap<String, Arc<TestKeeper>>,
    /// Names of documents by id, and ids by name.
    documents: HashMap<String, String>,
    names: HashMap<String, String>,
    handles: HashMap<(String, String), Arc<DocumentHandle>>,
    lists: HashMap<String, Watched>,
    cloud: Option<Peer>,
}

impl World {
    fn dir(&mut self) -> &Path {
        self.dir.get_or_insert_with(|| tempfile::tempdir().unwrap()).path()
    }

    fn keeper(&mut self, pod: &str) -> Arc<TestKeeper> {
        self.keepers
            .entry(pod.to_owned())
            .or_insert_with(TestKeeper::new)
            .clone()
    }

    fn pod(&self, step: &mut Step<'_>) -> Arc<PodHandle> {
        self.pods[&step.text("pod")].clone()
    }

    fn collection(&self, step: &mut Step<'_>) -> Arc<CollectionHandle> {
        self.pod(step).collection(step.text("collection"))
    }

    fn handle(&self, step: &mut Step<'_>) -> Arc<DocumentHandle> {
        self.handles[&(step.text("pod"), step.text("document"))].clone()
    }

    fn name_document(&mut self, name: &str, id: &str) {
        self.documents.insert(name.to_owned(), id.to_owned());
        self.names.insert(id.to_owned(), name.to_owned());
    }

    fn shown(&self, rows: &[ListRow]) -> Vec<String> {
        rows.iter().map(|row| self.names[&row.id].clone()).collect()
    }

    async fn step(&mut self, step: &mut Step<'_>) -> Result<(), RhizomeError> {
        let context = step.context.clone();
        match step.text("do").as_str() {
            "create" => {
                let name = step.text("pod");
                let keeper = self.keeper(&name);
                let created = create_pod(loopback(self.dir(), &name), keeper, name.clone(), None).await?;
                assert_eq!(created.words.len(), 24);
                self.pods.insert(name, created.pod);
            }
            "open" => {
                let name = step.text("pod");
                let keeper = self.keeper(&name);
                let pod = open_pod(loopback(self.dir(), &name), keeper, None).await?;
                self.pods.insert(name, pod);
            }
            "keeper" => {
                let answers = match step.text("state").as_str() {
                    "ok" => Answers::Well,
                    "locked" => Answers::Locked,
                    "absent" => Answers::Absent,
                    "failing" => Answers::Failing,
                    other => panic!("{context}: {other}"),
                };
                self.keeper(&step.text("pod")).answer(answers);
            }
            "suspend" => self.pod(step).suspend().await?,
            "resume" => self.pod(step).resume().await?,
            "shutdown" => self.pod(step).shutdown().await?,
            "write" => {
                let mut writes = Vec::new();
                let mut named = Vec::new();
                for write in step.list("writes") {
                    let name = write["document"].as_str().unwrap();
                    named.push(name);
                    writes.push(DocumentWrite {
                        id: self.documents.get(name).cloned(),
                        edits: edits(&write["edits"]),
                    });
                }
                let written = self.collection(step).write(writes, None).await?;
                for (name, written) in named.into_iter().zip(written) {
                    assert!(written.entry.is_some(), "{context}");
                    self.name_document(name, &written.id);
                }
            }
            "new" => {
                let name = step.text("document");
                let handle = self.collection(step).new_document();
                self.name_document(&name, &handle.id());
                self.handles.insert((step.text("pod"), name), handle);
            }
            "openDocument" => {
                let name = step.text("document");
                let handle = self.collection(step).open(self.documents[&name].clone(), None).await?;
                self.handles.insert((step.text("pod"), name), handle);
            }
            "edit" => self.handle(step).edit(edits(step.json("edits")))?,
            "save" => {
                let entry = self.handle(step).save(None).await?;
                assert_eq!(entry.is_some(), step.flag("written"), "{context}");
            }
            "refresh" => {
                let changed = self.handle(step).refresh(None).await?;
                assert_eq!(changed, step.flag("changed"), "{context}");
            }
            "discard" => self.handle(step).discard(None).await?,
            "handle" => {
                let handle = self.handle(step);
                assert_eq!(handle.is_saved(), step.flag("saved"), "{context}");
                assert!(handle.value()? == value(step.json("value")), "{context}");
            }
            "get" => {
                let id = self.documents[&step.text("document")].clone();
                let found = self.collection(step).get(id, None).await?;
                assert!(found == step.maybe("value").map(value), "{context}");
            }
            "id" => {
                let found = self
                    .pod(step)
                    .collection("journal".to_owned())
                    .get(step.text("text"), None)
                    .await?;
                assert!(found.is_none(), "{context}");
            }
            "list" => {
                let (collection, field, limit) = (self.collection(step), step.text("field"), step.number("limit"));
                let (mut pages, mut after) = (Vec::new(), None);
                loop {
                    let page = collection
                        .list(field.clone(), after, u32::try_from(limit).unwrap(), None)
                        .await?;
                    pages.push(self.shown(&page.rows));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                let wanted: Vec<Vec<String>> = step.list("pages").iter().map(names).collect();
                assert_eq!(pages, wanted, "{context}");
            }
            "rows" => {
                let page = self.collection(step).list(step.text("field"), None, 100, None).await?;
                let wanted: Vec<ListRow> = step
                    .list("rows")
                    .iter()
                    .map(|row| ListRow {
                        id: self.documents[row["document"].as_str().unwrap()].clone(),
                        millis: row["millis"].as_i64().unwrap(),
                        fields: fields(&row["fields"]),
                    })
                    .collect();
                assert!(page.rows == wanted, "{context}");
            }
            "count" => {
                let count = self.collection(step).count(None).await?;
                assert_eq!(count, step.number("count"), "{context}");
            }
            "declare" => {
                let index = |fields: &Json| Index {
                    fields: names(fields)
                        .into_iter()
                        .map(|field| IndexField {
                            path: vec![field],
                            each: false,
                        })
                        .collect(),
                };
                let searched = |field| SearchField {
                    path: vec![field],
                    weight: 1,
                };
                let schema = Schema {
                    indexes: step.list("indexes").iter().map(index).collect(),
                    search: step.names("search").into_iter().map(searched).collect(),
                };
                self.collection(step).declare(schema, None).await?;
            }
            "query" => {
                let equal = fields(step.json("equal")).into_iter();
                let mut query = Query {
                    equal: equal
                        .map(|(field, value)| FieldValue {
                            path: vec![field],
                            value,
                        })
                        .collect(),
                    contains: None,
                    range: None,
                    sort: vec![vec![step.text("sort")]],
                    descending: false,
                    limit: Some(u32::try_from(step.number("limit")).unwrap()),
                    after: None,
                };
                let (collection, mut pages) = (self.collection(step), Vec::<Vec<String>>::new());
                loop {
                    let page = collection.query(query.clone(), None).await?;
                    pages.push(page.rows.iter().map(|row| self.names[&row.id].clone()).collect());
                    query.after = page.next;
                    if query.after.is_none() {
                        break;
                    }
                }
                let wanted: Vec<Vec<String>> = step.list("pages").iter().map(names).collect();
                assert_eq!(pages, wanted, "{context}");
            }
            "search" => {
                let search = Search {
                    text: step.text("text"),
                    typing: false,
                    excerpts: true,
                    within: None,
                    limit: None,
                    after: None,
                };
                let page = self.collection(step).search(search, None).await?;
                let hits: Vec<String> = page.hits.iter().map(|hit| self.names[&hit.id].clone()).collect();
                assert_eq!(hits, step.names("hits"), "{context}");
            }
            what @ ("undo" | "redo") => {
                let (collection, id) = (self.collection(step), self.documents[&step.text("document")].clone());
                let written = match what {
                    "undo" => collection.undo(id, None).await?,
                    _ => collection.redo(id, None).await?,
                };
                assert_eq!(written.is_some(), step.flag("written"), "{context}");
            }
            "versions" => {
                let id = self.documents[&step.text("document")].clone();
                let page = self.collection(step).history(id, None, 100, None).await?;
                assert_eq!(page.versions.len() as u64, step.number("count"), "{context}");
            }
            "restore" => {
                let (collection, id) = (self.collection(step), self.documents[&step.text("document")].clone());
                let page = collection.history(id.clone(), None, 100, None).await?;
                let version = &page.versions[usize::try_from(step.number("version")).unwrap()];
                collection.restore(id, version.change.clone(), None).await?;
            }
            "erase" => {
                let id = self.documents[&step.text("document")].clone();
                self.pod(step).erase_documents(vec![id], None).await?;
            }
            "cancelErase" => {
                let id = self.documents[&step.text("document")].clone();
                self.pod(step).cancel_erase(id, None).await?;
            }
            "trash" => {
                let trash = self.pod(step).trash(None).await?;
                let found: Vec<String> = trash.iter().map(|trashed| self.names[&trashed.id].clone()).collect();
                assert_eq!(found, step.names("documents"), "{context}");
            }
            "append" => {
                let stream = self.pod(step).stream(step.text("stream"));
                stream.append(events(step.json("events")), None).await?;
            }
            "events" => {
                let found = self.pod(step).stream(step.text("stream")).events(None).await?;
                assert!(found == events(step.json("events")), "{context}");
            }
            "watch" => {
                let limit = u32::try_from(step.number("limit")).unwrap();
                let subscription = self.collection(step).watch(step.text("field"), limit);
                let watched = Watched {
                    subscription,
                    rows: Vec::new(),
                    pulled: false,
                };
                self.lists.insert(step.text("list"), watched);
            }
            "next" => self.next(step).await?,
            "cancel" => self.lists[&step.text("list")].subscription.cancel(),
            "cloud" => {
                let cloud = cloud_peer(self.dir()).await;
                self.cloud = Some(cloud);
            }
            "linkCloud" => {
                let code = self.cloud.as_ref().unwrap().code(MINUTE).to_string();
                let linking = self.pod(step).link_cloud_peer(code);
                assert_eq!(
                    linking.number(None).await?.map(|number| number.len()),
                    Some(6),
                    "{context}"
                );
                linking.answer(true);
                linking.finished(None).await?;
            }
            "link" => {
                let name = step.text("newPod");
                let (invite, join) = self.shake(step, &name).await?;
                invite.answer(true);
                join.answer(true);
                invite.finished(None).await?;
                self.pods.insert(name, join.pod(None).await?);
            }
            "declined" => {
                let name = step.text("newPod");
                let (invite, join) = self.shake(step, &name).await?;
                invite.answer(false);
                join.answer(true);
                for error in [invite.finished(None).await.err(), join.pod(None).await.err()] {
                    assert_eq!(error.as_ref().map(kind), Some(("Refused", "link")), "{context}");
                }
            }
            "join" => {
                let name = step.text("pod");
                let keeper = self.keeper(&name);
                let join = join_pod(loopback(self.dir(), &name), keeper, name, step.text("code"))?;
                join.pod(None).await?;
            }
            "sync" => {
                let report = self.pod(step).sync_once(60_000, None, None).await?;
                assert_eq!(state(&report.state), step.text("state"), "{context}");
                assert!(report.peers.iter().all(|peer| peer.error.is_none()), "{context}");
            }
            "conditions" => {
                let network = match step.text("network").as_str() {
                    "unknown" => Network::Unknown,
                    "none" => Network::None,
                    "metered" => Network::Metered,
                    "unmetered" => Network::Unmetered,
                    other => panic!("{context}: {other}"),
                };
                self.pod(step).set_conditions(Conditions {
                    network,
                    data_saver: step.flag("dataSaver"),
                    battery_low: step.flag("batteryLow"),
                    restricted: step.flag("restricted"),
                    local_network_denied: step.flag("localNetworkDenied"),
                });
            }
            "status" => {
                let status = self.pod(step).status(None).await?;
                if let Some(wanted) = step.maybe("state") {
                    assert_eq!(state(&status.sync), wanted.as_str().unwrap(), "{context}");
                }
                let clouds = status.peers.iter().filter(|peer| peer.cloud).count() as u64;
                let devices = status.peers.len() as u64 - clouds;
                for (name, found) in [
                    ("entries", status.entries),
                    ("onlyHere", status.only_here),
                    ("devices", devices),
                    ("clouds", clouds),
                ] {
                    if let Some(wanted) = step.maybe(name) {
                        assert_eq!(found, wanted.as_u64().unwrap(), "{context}: {name}");
                    }
                }
            }
            "holders" => {
                let id = self.documents[&step.text("document")].clone();
                let holders = self.collection(step).holders(id, None).await?;
                let clouds = holders.iter().filter(|holder| holder.cloud).count() as u64;
                assert_eq!(clouds, step.number("clouds"), "{context}");
                assert_eq!(holders.len() as u64 - clouds, step.number("devices"), "{context}");
            }
            other => panic!("{context}: {other} is not known"),
        }
        Ok(())
    }

    async fn next(&mut self, step: &mut Step<'_>) -> Result<(), RhizomeError> {
        let name = step.text("list");
        let ended = step.maybe("ended").is_some();
        let wanted = if ended { Vec::new() } else { step.names("rows") };
        let mut watched = self.lists.remove(&name).unwrap();
        loop {
            if !ended && watched.pulled && self.shown(&watched.rows) == wanted {
                break;
            }
            let next = tokio::time::timeout(MINUTE, watched.subscription.next(None)).await;
            match next.unwrap_or_else(|_| panic!("{}: the list stays {:?}", step.context, self.shown(&watched.rows)))? {
                None if ended => break,
                None => panic!("{}: the list ended", step.context),
                Some(diff) => {
                    watched.pulled = true;
                    watched.rows.retain(|row| {
                        !diff.removed.contains(&row.id) && diff.placed.iter().all(|placed| placed.row.id != row.id)
                    });
                    for placed in diff.placed {
                        watched.rows.insert(usize::try_from(placed.index).unwrap(), placed.row);
                    }
                }
            }
        }
        self.lists.insert(name, watched);
        Ok(())
    }

    /// A link up to the numbers, which are the same on both sides.
    async fn shake(
        &mut self,
        step: &mut Step<'_>,
        name: &str,
    ) -> Result<(Arc<LinkingHandle>, Arc<LinkingHandle>), RhizomeError> {
        let invite = self.pod(step).invite(60, None).await?;
        let keeper = self.keeper(name);
        let join = join_pod(
            loopback(self.dir(), name),
            keeper,
            name.to_owned(),
            invite.code().unwrap(),
        )?;
        let (here, there) = (invite.number(None).await?, join.number(None).await?);
        assert!(here.is_some() && here == there, "{}", step.context);
        Ok((invite, join))
    }
}

fn state(state: &SyncState) -> &str {
    match state {
        SyncState::UpToDate { .. } => "up-to-date",
        SyncState::Syncing { .. } => "syncing",
        SyncState::Waiting { reason } => &reason.kind,
    }
}

fn value(json: &Json) -> Value {
    let (kind, inner) = json.as_object().unwrap().iter().next().unwrap();
    let text = || inner.as_str().unwrap().to_owned();
    let number = || inner.as_i64().unwrap();
    match kind.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool {
            value: inner.as_bool().unwrap(),
        },
        "int" => Value::Int { value: number() },
        "float" => Value::Float {
            value: inner.as_f64().unwrap(),
        },
        "text" => Value::Text { value: text() },
        "str" => Value::Str { value: text() },
        "bytes" => Value::Bytes {
            value: HEXLOWER.decode(text().as_bytes()).unwrap(),
        },
        "date" => Value::Date { millis: number() },
        "counter" => Value::Counter { value: number() },
        "list" => Value::List {
            values: inner.as_array().unwrap().iter().map(value).collect(),
        },
        "map" => Value::Map { fields: fields(inner) },
        other => panic!("{other} is no value"),
    }
}

fn fields(json: &Json) -> HashMap<String, Value> {
    json.as_object()
        .unwrap()
        .iter()
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

fn path(json: &Json) -> Vec<PathKey> {
    let key = |key: &Json| match key {
        Json::String(name) => PathKey::Field { name: name.clone() },
        place => PathKey::Index {
            index: place.as_u64().unwrap(),
        },
    };
    json.as_array().unwrap().iter().map(key).collect()
}

fn edits(json: &Json) -> Vec<EditOp> {
    let edit = |edit: &Json| {
        let number = |name: &str| edit[name].as_u64().unwrap();
        let text = |name: &str| edit[name].as_str().unwrap().to_owned();
        let at = |name: &str| edit.get(name).map(path);
        if let Some(path) = at("set") {
            EditOp::Set {
                path,
                value: value(&edit["value"]),
            }
        } else if let Some(path) = at("delete") {
            EditOp::Delete { path }
        } else if let Some(path) = at("insert") {
            EditOp::Insert {
                path,
                index: number("index"),
                value: value(&edit["value"]),
            }
        } else if let Some(path) = at("splice") {
            EditOp::SpliceText {
                path,
                at: number("at"),
                delete: number("cut"),
                insert: text("with"),
            }
        } else if let Some(path) = at("setText") {
            EditOp::SetText {
                path,
                text: text("text"),
            }
        } else if let Some(path) = at("increment") {
            EditOp::Increment {
                path,
                by: edit["by"].as_i64().unwrap(),
            }
        } else {
            panic!("{edit} is no edit")
        }
    };
    json.as_array().unwrap().iter().map(edit).collect()
}

fn events(json: &Json) -> Vec<AppEvent> {
    let event = |event: &Json| AppEvent {
        kind: event["kind"].as_str().unwrap().to_owned(),
        payload: HEXLOWER.decode(event["hex"].as_str().unwrap().as_bytes()).unwrap(),
    };
    json.as_array().unwrap().iter().map(event).collect()
}
