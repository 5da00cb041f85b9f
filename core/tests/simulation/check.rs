//! What must hold: after a session, of what a device shows, of what it was told that others hold.

use std::collections::BTreeMap;

use rhizome::{
    DocumentId, Event, Value,
    crypto::{Hash, PublicKey},
    document::Documents,
    identity::IdentityError,
    log::{AuthorId, Position},
    store::{AlarmKind, BranchHead, StoreError},
    sync::{Known, RefuseReason, ReplicaError, SessionError},
};

use super::{
    failure::{Failure, broken, ensure},
    model::Expected,
    node::{LABELS, Node},
    wire::Link,
    world::{Meeting, World},
};

/// Rows of one page: few, so that pages are turned.
const PAGE: u32 = 2;

/// Receipts, each of a node's store about another, that the other contradicts before they meet: the node must notice.
pub struct Contradicted(Vec<(u64, u64)>);

impl World {
    fn node(&self, name: u64) -> &Node {
        &self.nodes[&name]
    }

    /// Every branch that a node has.
    pub fn heads(&self, name: u64) -> Result<BTreeMap<AuthorId, Vec<BranchHead>>, Failure> {
        let running = self.node(name).running().expect("only of running nodes");
        let identity = running.replica.identity();
        let heads = running.store.read(|read| read.heads(&identity));
        heads.map_err(broken("a log that cannot be read"))
    }

    /// The heads of which `name` has receipts of `of`.
    fn receipts(&self, name: u64, of: &PublicKey) -> Result<Vec<(AuthorId, Position)>, Failure> {
        let store = &self.node(name).running().expect("only of running nodes").store;
        let mut receipts = Vec::new();
        for (author, branches) in self.heads(name)? {
            for branch in branches {
                let receipt = store.read(|read| read.receipt_at(&author, branch.branch, of));
                let receipt = receipt.map_err(broken("a log that cannot be read"))?;
                receipts.extend(receipt.map(|position| (author, position)));
            }
        }
        Ok(receipts)
    }

    fn holds(&self, name: u64, author: &AuthorId, position: Position) -> Result<bool, Failure> {
        let store = &self.node(name).running().expect("only of running nodes").store;
        store
            .read(|read| read.holds(author, position))
            .map_err(broken("a log that cannot be read"))
    }

    pub fn has_alarm(&self, name: u64, kind: AlarmKind, subject: Hash) -> Result<bool, Failure> {
        let store = &self.node(name).running().expect("only of running nodes").store;
        let alarms = store
            .read(|read| read.alarms())
            .map_err(broken("a log that cannot be read"))?;
        Ok(alarms
            .iter()
            .any(|alarm| alarm.kind == kind && alarm.subject == subject))
    }

    /// Between honest nodes a session ends in an error only if one has not heard of the other.
    pub fn may_fail(&mut self, link: &Link, side: usize, error: &SessionError) -> Result<(), Failure> {
        let [mine, theirs] = [side, 1 - side].map(|side| self.node(link.ends[side]).known().expect("both run"));
        match error {
            SessionError::NotAMember if side == 1 => {
                // What the other side could show: whatever it knows of itself, and of who let it in.
                let mut pending = mine.pending.clone();
                if link.proving {
                    pending.extend(theirs.log.iter().map(|(_, operation)| operation.clone()));
                }
                pending.extend(theirs.pending.iter().cloned());
                let together = Known::from_log(mine.log.clone(), pending).map_err(broken("logs that do not fit"))?;
                let stranger = self.key(link.ends[0]);
                ensure!(
                    !together.tentative.devices().contains_key(&stranger),
                    "turned away",
                    "{} does not let {} in, which could prove its membership",
                    link.ends[1],
                    link.ends[0]
                );
                self.totals.strangers += 1;
                Ok(())
            }
            SessionError::Replica(ReplicaError::Identity(
                IdentityError::Equivocation { .. } | IdentityError::BadCommit { .. },
            )) if self.schedule.may_split => Ok(()),
            other => Err(Failure::new(
                "session failed",
                format!("between {:?}, at {}: {other:?}", link.ends, link.ends[side]),
            )),
        }
    }

    /// Which of the two has receipts that the other contradicts.
    pub fn before_meeting(&self, ends: [u64; 2]) -> Result<Contradicted, Failure> {
        let mut found = Vec::new();
        for (name, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let theirs = self.heads(other)?;
            for (author, position) in self.receipts(name, &self.key(other))? {
                if self.holds(other, &author, position)? {
                    continue;
                }
                // A later head that `name` has not seen could come after the position, for all it knows.
                let mut could = false;
                for branch in theirs.get(&author).into_iter().flatten() {
                    could |= branch.head.seq > position.seq && !self.holds(name, &author, branch.head)?;
                }
                if !could {
                    found.push((name, other));
                    break;
                }
            }
        }
        Ok(Contradicted(found))
    }

    /// What must hold after a whole session.
    pub fn after_meeting(&mut self, link: &Link, before: Contradicted) -> Result<Meeting, Failure> {
        let outcomes = [0, 1].map(|side| link.sessions[side].outcome().clone());
        for (side, outcome) in outcomes.iter().enumerate() {
            ensure!(
                link.sessions[side].is_synced(),
                "not synced",
                "{} of {:?} is not at the end",
                link.ends[side],
                link.ends
            );
            // What a side reports as refused is what the other did not take.
            for (reason, _) in &outcome.refused {
                self.may_refuse(link.ends[1 - side], *reason)?;
            }
        }
        link.ends.into_iter().try_for_each(|name| self.look_at_disk(name))?;
        for (name, of) in before.0 {
            let key = self.key(of);
            let told = self.has_alarm(name, AlarmKind::PeerLoss, Hash(key.0))?;
            ensure!(
                told,
                "unreported loss",
                "{name} was not told that {of} lost what it had confirmed"
            );
            self.totals.losses += 1;
        }
        let refused = outcomes.iter().any(|outcome| !outcome.refused.is_empty());
        for (side, outcome) in outcomes.iter().enumerate() {
            let (name, other) = (link.ends[side], link.ends[1 - side]);
            // With entries of a cloud peer comes its receipt; another device is asked for its own at the next meeting.
            let told = outcome.received == 0 || self.node(other).peer;
            self.check_receipts(name, other, told && !refused)?;
        }
        if refused {
            self.totals.refusals += 1;
        } else {
            let digests = link.ends.map(|name| self.digest(name));
            ensure!(
                digests[0].clone()? == digests[1].clone()?,
                "state differs",
                "they met, and do not hold the same: {} and {}",
                self.describe(link.ends[0]),
                self.describe(link.ends[1])
            );
        }
        Ok(Meeting::Whole {
            moved: outcomes.iter().any(|outcome| outcome.sent + outcome.received > 0),
            refused,
        })
    }

    pub fn digest(&self, name: u64) -> Result<Hash, Failure> {
        let replica = &self.node(name).running().expect("only of running nodes").replica;
        Ok(replica.state().map_err(broken("a log that cannot be read"))?.2)
    }

    /// What a node holds, in short.
    pub fn describe(&self, name: u64) -> String {
        let Some(known) = self.node(name).known() else {
            return format!("{name}");
        };
        let pending: Vec<String> = known.pending.iter().map(|op| format!("{op:?}")).collect();
        let entries = self.held[&name].entries.len();
        let (count, orderers) = (known.ordered.count(), known.ordered.orderers());
        format!("{name} ({count} commits, orderers {orderers:?}, pending {pending:?}, {entries} entries)")
    }

    /// After a whole session `name` believes of `other` what is so; a device knows all of it.
    fn check_receipts(&self, name: u64, other: u64, complete: bool) -> Result<(), Failure> {
        let key = self.key(other);
        let receipts = self.receipts(name, &key)?;
        for (author, position) in &receipts {
            let holds = self.holds(other, author, *position)?;
            ensure!(
                holds,
                "false receipt",
                "{name} met {other} and still believes that it holds {position:?}"
            );
        }
        if complete && !self.node(name).peer {
            for (author, branches) in self.heads(name)? {
                for branch in branches {
                    let known = receipts.contains(&(author, branch.head));
                    ensure!(
                        known,
                        "missing receipt",
                        "{name} does not know that {other} holds {:?}",
                        branch.head
                    );
                }
            }
        }
        Ok(())
    }

    fn may_refuse(&self, name: u64, reason: RefuseReason) -> Result<(), Failure> {
        let running = self.node(name).running().expect("only of running nodes");
        let identity = running.replica.identity();
        let fine = match reason {
            RefuseReason::QuotaBytes | RefuseReason::QuotaEntries => {
                let quota = running.store.read(|read| read.quota(&identity));
                let (quota, _) = quota.map_err(broken("a log that cannot be read"))?.unwrap_or_default();
                match reason {
                    RefuseReason::QuotaBytes => quota.bytes.is_some(),
                    _ => quota.entries.is_some(),
                }
            }
            // A cloud peer stores what a device wrote once the device is ordered.
            RefuseReason::Retry => {
                let known = running.replica.known();
                self.node(name).peer && known.tentative.devices().len() > known.ordered.devices().len()
            }
            _ => false,
        };
        ensure!(fine, "refused", "{name} refused: {reason}");
        Ok(())
    }

    /// Nothing that a node was told by receipts is something that the other never had.
    pub fn check_all_receipts(&self, name: u64) -> Result<(), Failure> {
        for other in self.nodes.keys().filter(|other| **other != name) {
            let key = self.key(*other);
            for (author, position) in self.receipts(name, &key)? {
                ensure!(
                    self.model.ever_had(&key, &position.hash),
                    "false receipt",
                    "{name} believes that {other} holds {position:?} of {author:?}, which it never had"
                );
            }
        }
        Ok(())
    }

    /// A device folds, and shows what the model says.
    pub fn look(&mut self, name: u64) -> Result<(), Failure> {
        self.look_at_disk(name)?;
        let node = self.nodes.get_mut(&name).expect("it was asked for");
        // Views that turn out to be damaged are dropped while they are read: then they are folded again.
        for _ in 0..4 {
            node.fold()?;
            let documents = node
                .running()
                .and_then(|running| running.documents.as_ref())
                .expect("a device");
            // Every question that is asked below: each may be the one that meets the damaged page.
            let read_all = || {
                for label in LABELS {
                    let mut after = documents.list(label, "date", None, PAGE)?.next;
                    while after.is_some() {
                        after = documents.list(label, "date", after, PAGE)?.next;
                    }
                    documents.count(label)?;
                    for document in documents.ids(label)? {
                        documents.get(&document)?;
                    }
                }
                documents.behind()
            };
            match read_all() {
                Ok(0) => break,
                Ok(_) | Err(StoreError::Damaged { file: "views.db", .. }) => {}
                Err(error) => return Err(broken("views that cannot be read")(error)),
            }
        }
        let ring = node.ring();
        let documents = node
            .running()
            .and_then(|running| running.documents.clone())
            .expect("a device");
        let held = &self.held[&name];
        let behind = documents.behind().map_err(broken("views that cannot be read"))?;
        ensure!(
            behind == 0,
            "behind",
            "{name} folded, and {behind} entries are not shown"
        );
        for label in LABELS {
            let shown = documents
                .events(label, &ring)
                .map_err(broken("events that cannot be read"))?;
            let shown: Vec<Vec<u8>> = shown.into_iter().map(payload).collect();
            ensure!(
                shown == self.model.events(held, &ring, label),
                "events differ",
                "{name} shows other events of {label}, or in another order"
            );
        }
        let expected = self.model.documents(held, &ring);
        for (document, expected) in &expected {
            let shown = documents
                .get(document)
                .map_err(broken("a document that cannot be read"))?;
            compare(name, document, shown.as_ref(), expected)?;
        }
        for document in self.model.erased_by(ring.erasing().keys()) {
            let shown = documents.get(&document);
            let shown = shown.map_err(broken("a document that cannot be read"))?;
            ensure!(
                shown.is_none(),
                "shown",
                "{name} shows {}, which is deleted",
                document.short()
            );
        }
        for label in LABELS {
            compare_lists(name, label, &documents, &expected)?;
        }
        self.totals.looks += 1;
        self.check_all_receipts(name)
    }
}

fn payload(event: Event) -> Vec<u8> {
    match event {
        Event::App { payload, .. } => payload,
        _ => Vec::new(),
    }
}

fn compare(name: u64, document: &DocumentId, shown: Option<&Value>, expected: &Expected) -> Result<(), Failure> {
    let short = document.short();
    let Some(shown) = shown else {
        return Err(Failure::new(
            "document missing",
            format!("{name} does not show {short}"),
        ));
    };
    let json = shown.to_json();
    ensure!(
        json == expected.json,
        "document differs",
        "{name} shows {json} of {short}, and Automerge {}",
        expected.json
    );
    let fields = json.as_object().into_iter().flat_map(|map| map.keys());
    let marks: Vec<&String> = fields.filter(|field| field.starts_with('#')).collect();
    ensure!(
        marks.iter().copied().eq(&expected.fields),
        "document differs",
        "{name} shows {marks:?} of {short}, and the edits made {:?}",
        expected.fields
    );
    if let Some(edits) = expected.edits {
        let count = json["count"].as_u64();
        let items = json["list"].as_array().map(|items| items.len() as u64);
        let texts = json["text"].as_str().map(|text| text.matches('<').count() as u64);
        ensure!(
            [count, items, texts] == [Some(edits); 3],
            "document differs",
            "{name} counts {count:?}, {items:?} and {texts:?} edits of {short}: there were {edits}"
        );
    }
    Ok(())
}

/// Lists, page by page, are the model's documents by date, newest first.
fn compare_lists(
    name: u64,
    label: &str,
    documents: &Documents,
    expected: &BTreeMap<DocumentId, std::rc::Rc<Expected>>,
) -> Result<(), Failure> {
    let here = || expected.iter().filter(|(_, expected)| expected.collection == label);
    let dated = here().filter_map(|(id, expected)| Some((expected.json["date"].as_i64()?, *id)));
    let mut wanted: Vec<(i64, DocumentId)> = dated.collect();
    wanted.sort_by(|a, b| b.cmp(a));
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = documents
            .list(label, "date", after, PAGE)
            .map_err(broken("a list that cannot be read"))?;
        listed.extend(page.rows.iter().map(|row| (row.millis, row.document)));
        for row in &page.rows {
            let title = expected.get(&row.document).map(|expected| &expected.json["title"]);
            ensure!(
                title == row.fields.get("title"),
                "list differs",
                "{name} lists another title"
            );
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    ensure!(
        listed == wanted,
        "list differs",
        "{name} lists {listed:?} in {label}, not {wanted:?}"
    );
    let ids = documents.ids(label).map_err(broken("a list that cannot be read"))?;
    ensure!(
        ids.iter().eq(here().map(|(id, _)| id)),
        "list differs",
        "{name} has other documents in {label}"
    );
    let count = documents.count(label).map_err(broken("a list that cannot be read"))?;
    ensure!(
        count == ids.len() as u64,
        "list differs",
        "{name} counts {count} documents in {label}"
    );
    Ok(())
}
