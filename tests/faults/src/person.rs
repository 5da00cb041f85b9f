//! Somebody who writes through a pod, and remembers what was acknowledged: the model that the pod is held against.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rhizome::{
    DeviceSecret, DocumentId, Error, Event, Index, Keeper, Kept, NetOptions, Pod, PodOptions, Proposal, ProposalState,
    Query, Schema, Search, SecretId, Value, crypto::PublicKey, path,
};

/// How long a sync may take on a machine that does much else.
pub const SYNC_WITHIN: Duration = Duration::from_secs(30);
/// The stream of the application's own events.
pub const STEPS: &str = "steps";
/// The collection of documents.
pub const JOURNAL: &str = "journal";

/// A keeper in memory.
#[derive(Default)]
pub struct Pocket(Mutex<Vec<(SecretId, DeviceSecret)>>);

impl Pocket {
    /// The first secret.
    pub fn secret(&self) -> Option<DeviceSecret> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.first().map(|(_, secret)| secret.clone())
    }
}

impl Keeper for Pocket {
    fn load(&self, id: &SecretId) -> std::io::Result<Kept> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = secrets.iter().find(|(known, _)| known == id);
        Ok(found.map_or(Kept::Absent, |(_, secret)| Kept::Found(secret.clone())))
    }

    fn create(&self, id: &SecretId, secret: &DeviceSecret) -> std::io::Result<()> {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push((*id, secret.clone()));
        Ok(())
    }
}

/// Options on loopback, with a keeper of their own.
pub fn options() -> PodOptions {
    options_with(Arc::default())
}

/// Options with this keeper.
///
/// # Panics
/// Never.
pub fn options_with(pocket: Arc<Pocket>) -> PodOptions {
    let mut options = PodOptions::new(pocket);
    options.net = NetOptions {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        ..NetOptions::default()
    };
    options
}

/// Something a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Appends an event with so many bytes.
    Append(usize),
    /// Writes a new document.
    Create,
    /// Edits one that was acknowledged.
    Edit(usize),
    /// Reads a list, a document, the events and the status.
    Read,
    /// Goes to the background and comes back.
    Suspend,
    /// Closes the pod and opens it again.
    Reopen,
    /// Syncs with the person's other device.
    Sync,
    /// Keeps a device out that never was in: the identity key and every epoch are made anew.
    Remove,
    /// Changes the recovery words, by those that count.
    Words,
}

#[derive(Debug, Clone, Default)]
struct Text {
    acknowledged: String,
    /// Edits after it that were not.
    perhaps: Vec<String>,
}

/// What was acknowledged, and what was tried.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    next: u64,
    events: BTreeSet<u64>,
    perhaps_events: BTreeSet<u64>,
    documents: BTreeMap<DocumentId, Text>,
    perhaps_documents: BTreeSet<String>,
    proposals: Vec<Proposal>,
    /// The recovery words, the last first: those that were not acknowledged may count too.
    pub words: Vec<String>,
}

/// What an event of this number holds: all of it or none is there.
fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(len as u64).to_le_bytes());
    bytes.extend((0..len).map(|place| (n as u8).wrapping_mul(31).wrapping_add(place as u8)));
    bytes
}

fn number(event: &Event) -> Result<u64, String> {
    let Event::App { payload: found, .. } = event else {
        return Err("an event that nobody wrote".to_owned());
    };
    let (Some(n), Some(len)) = (
        found.first_chunk::<8>(),
        found.get(8..16).and_then(|len| len.first_chunk::<8>()),
    ) else {
        return Err("half an event".to_owned());
    };
    let (n, len) = (u64::from_le_bytes(*n), u64::from_le_bytes(*len));
    if *found != payload(n, len as usize) {
        return Err(format!("event {n} is not what was written"));
    }
    Ok(n)
}

fn text_of(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::Map(map)) => match map.get("text") {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// What the views answer to each question: documents and their short fields.
pub type Answers = BTreeMap<String, Vec<(DocumentId, String)>>;

/// What is searched for. Each is in a text as it stands here or not at all.
const WORDS: [&str; 4] = ["version", "\"edited at\"", "docum*", "nowhere"];

fn schema() -> Schema {
    Schema::new().index(Index::on("date")).search("text", 1)
}

/// A person with one device.
pub struct Person {
    options: PodOptions,
    dir: PathBuf,
    /// The pod, while it is open.
    pub pod: Option<Pod>,
    /// What they remember.
    pub memory: Memory,
    /// What they were told could not be done.
    pub errors: Vec<(Step, Error)>,
    suspended: bool,
}

impl Person {
    /// With the pod in `dir`, closed.
    pub fn new(options: PodOptions, dir: PathBuf, memory: Memory) -> Self {
        Self {
            options,
            dir,
            pod: None,
            memory,
            errors: Vec::new(),
            suspended: false,
        }
    }

    /// Opens the pod.
    pub async fn open(&mut self) -> Result<(), Error> {
        let pod = Pod::open(&self.dir, self.options.clone()).await?;
        // As apps do. Views that cannot be written keep nobody from writing.
        if let Err(error) = pod.declare(JOURNAL, schema()).await {
            self.errors.push((Step::Read, error));
        }
        self.pod = Some(pod);
        self.suspended = false;
        Ok(())
    }

    /// Closes it.
    pub async fn shutdown(&mut self) {
        if let Some(pod) = self.pod.take() {
            pod.shutdown().await;
        }
    }

    /// Does the steps, whatever comes of each. Answers whether the pod is open at the end.
    pub async fn live(&mut self, steps: &[Step]) -> bool {
        if self.pod.is_none()
            && let Err(error) = self.open().await
        {
            self.errors.push((Step::Reopen, error));
            return false;
        }
        for step in steps {
            if self.suspended
                && let Some(pod) = &self.pod
            {
                match pod.resume().await {
                    Ok(()) => self.suspended = false,
                    Err(error) => {
                        self.errors.push((Step::Suspend, error));
                        continue;
                    }
                }
            }
            if let Err(error) = self.step(*step).await {
                self.errors.push((*step, error));
                if self.pod.is_none() {
                    return false;
                }
            }
        }
        true
    }

    /// Takes a suspended pod up again.
    pub async fn resume(&mut self) -> Result<(), Error> {
        if let Some(pod) = &self.pod {
            pod.resume().await?;
            self.suspended = false;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Error> {
        let pod = self.pod.clone().ok_or(Error::Closed)?;
        let n = self.memory.next;
        self.memory.next += 1;
        match step {
            Step::Append(len) => {
                let event = Event::App {
                    kind: "n".into(),
                    payload: payload(n, len),
                };
                self.memory.perhaps_events.insert(n);
                pod.append(STEPS, vec![event]).await?;
                self.memory.perhaps_events.remove(&n);
                self.memory.events.insert(n);
            }
            Step::Create => {
                let text = format!("document {n}, first version");
                self.memory.perhaps_documents.insert(text.clone());
                let written = pod.create_document(JOURNAL, edit(n as i64, &text)).await?;
                self.memory.perhaps_documents.remove(&text);
                let text = Text {
                    acknowledged: text,
                    perhaps: Vec::new(),
                };
                self.memory.documents.insert(written.document, text);
            }
            Step::Edit(which) => {
                let count = self.memory.documents.len().max(1);
                let Some((document, known)) = self.memory.documents.iter_mut().nth(which % count) else {
                    return Ok(());
                };
                let text = format!("edited at {n}");
                known.perhaps.push(text.clone());
                pod.edit_document(JOURNAL, *document, edit(n as i64, &text)).await?;
                *known = Text {
                    acknowledged: text,
                    perhaps: Vec::new(),
                };
            }
            Step::Read => {
                pod.list(JOURNAL, "date", None, 20).await?;
                if let Some(document) = self.memory.documents.keys().next() {
                    pod.get(*document).await?;
                }
                pod.events(STEPS).await?;
                pod.status().await?;
            }
            Step::Suspend => {
                pod.suspend().await?;
                self.suspended = true;
                self.resume().await?;
            }
            // What went wrong with the peer stands in the report; what was moved stays moved.
            Step::Sync => drop(pod.sync_once(SYNC_WITHIN, None).await?),
            Step::Remove => {
                let nobody = PublicKey([n as u8; 32]);
                self.memory.proposals.push(pod.remove_device(nobody).await?);
            }
            Step::Words => {
                let new = Pod::new_words().to_string();
                let mut last = Ok(());
                for words in self.memory.words.clone() {
                    self.memory.words.insert(0, new.clone());
                    last = pod.change_words_at_once(&words, &new).await;
                    match &last {
                        Ok(()) => {
                            self.memory.words = vec![new];
                            break;
                        }
                        // It may have been one before them.
                        Err(Error::Words(_)) => drop(self.memory.words.remove(0)),
                        Err(_) => break,
                    }
                }
                last?;
            }
            Step::Reopen => {
                self.shutdown().await;
                self.open().await?;
            }
        }
        Ok(())
    }

    /// Compares the pod with what is remembered.
    ///
    /// # Errors
    /// What is lost, half, or acknowledged falsely.
    pub async fn check(&mut self) -> Result<(), String> {
        let pod = self.pod.clone().ok_or("the pod is not open")?;
        let said = |what: &'static str| move |error: Error| format!("{what}: {} ({error})", error.kind());
        for _ in 0..1000 {
            if pod.status().await.map_err(said("status"))?.unfolded == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        pod.verify().await.map_err(said("verify"))?;
        for id in &self.memory.proposals {
            let state = pod.proposal(*id).map_err(said("proposal"))?;
            if state != ProposalState::Ordered {
                return Err(format!("a removal was acknowledged and is {state:?}"));
            }
        }
        let events = pod.events(STEPS).await.map_err(said("events"))?;
        let numbers: Vec<u64> = events.iter().map(number).collect::<Result<_, _>>()?;
        let there: BTreeSet<u64> = numbers.iter().copied().collect();
        if there.len() != numbers.len() {
            return Err(format!("an event twice: {numbers:?}"));
        }
        let memory = &mut self.memory;
        if let Some(lost) = memory.events.difference(&there).next() {
            return Err(format!("event {lost} was acknowledged and is lost"));
        }
        let known = |n: &u64| memory.events.contains(n) || memory.perhaps_events.contains(n);
        if let Some(stranger) = there.iter().find(|n| !known(n)) {
            return Err(format!("event {stranger} was never written"));
        }
        let listed = Self::listed(&pod).await?;
        let ids = pod.documents(JOURNAL).await.map_err(said("documents"))?;
        if ids.iter().collect::<BTreeSet<_>>() != listed.keys().collect() {
            return Err("the list and the collection differ".to_owned());
        }
        for (document, text) in &memory.documents {
            let found = text_of(pod.get(*document).await.map_err(said("get"))?);
            let found = found.ok_or_else(|| format!("a document was acknowledged and is lost: {text:?}"))?;
            if found != text.acknowledged && !text.perhaps.contains(&found) {
                return Err(format!("a document reads {found:?}, and was {text:?}"));
            }
        }
        for document in ids.iter().filter(|id| !memory.documents.contains_key(id)) {
            let found = text_of(pod.get(*document).await.map_err(said("get"))?).unwrap_or_default();
            if !memory.perhaps_documents.contains(&found) {
                return Err(format!("a document that nobody wrote: {found:?}"));
            }
        }
        // Indexes and search hold exactly what the documents say.
        let answers = self.answers().await?;
        let mut said: BTreeMap<&str, BTreeSet<DocumentId>> = BTreeMap::new();
        for document in &ids {
            let text = text_of(pod.get(*document).await.map_err(|error| format!("get: {error}"))?).unwrap_or_default();
            for words in WORDS
                .into_iter()
                .filter(|words| text.contains(words.trim_matches(['"', '*'])))
            {
                said.entry(words).or_default().insert(*document);
            }
        }
        for (question, rows) in &answers {
            let found: BTreeSet<DocumentId> = rows.iter().map(|(document, _)| *document).collect();
            let wanted = match question.as_str() {
                "by date" => ids.iter().copied().collect(),
                words => said.remove(words).unwrap_or_default(),
            };
            if found != wanted || found.len() != rows.len() {
                return Err(format!(
                    "{question:?} finds {} documents of {}",
                    rows.len(),
                    wanted.len()
                ));
            }
        }
        Ok(())
    }

    /// What the views answer once they are built: documents by date, and those that each of a few words finds, with their short fields.
    ///
    /// # Errors
    /// What could not be asked, or never came.
    pub async fn answers(&self) -> Result<Answers, String> {
        let pod = self.pod.clone().ok_or("the pod is not open")?;
        let said = |what: &'static str| move |error: Error| format!("{what}: {} ({error})", error.kind());
        // Declared at every open; again here, as the disk may have kept that from being done.
        pod.declare(JOURNAL, schema()).await.map_err(said("declare"))?;
        for _ in 0..5000 {
            let behind = pod.status().await.map_err(said("status"))?.unfolded;
            if behind == 0 && pod.index_progress(JOURNAL).await.map_err(said("progress"))?.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut answers = Answers::new();
        let dated = pod.query(JOURNAL, Query::new().sort("date").limit(10_000)).await;
        let rows = dated.map_err(said("query"))?.rows;
        answers.insert(
            "by date".to_owned(),
            rows.iter().map(|row| (row.document, row.fields.to_string())).collect(),
        );
        for words in WORDS {
            let found = pod
                .search(JOURNAL, Search::new(words).limit(1000))
                .await
                .map_err(said("search"))?;
            let mut found: Vec<_> = found
                .hits
                .iter()
                .map(|hit| (hit.document, hit.fields.to_string()))
                .collect();
            // Of hits that fit as well as each other, each device has its own first.
            found.sort();
            answers.insert(words.to_owned(), found);
        }
        Ok(answers)
    }

    async fn listed(pod: &Pod) -> Result<BTreeMap<DocumentId, i64>, String> {
        let mut listed = BTreeMap::new();
        let mut after = None;
        loop {
            let page = pod.list(JOURNAL, "date", after, 20).await;
            let page = page.map_err(|error| format!("list: {} ({error})", error.kind()))?;
            for row in &page.rows {
                listed.insert(row.document, row.millis);
            }
            after = page.next;
            if after.is_none() {
                return Ok(listed);
            }
        }
    }
}

fn edit(
    date: i64,
    text: &str,
) -> impl Fn(&mut rhizome::Edit<'_>) -> Result<(), rhizome::DocumentError> + Send + 'static + use<> {
    let text = text.to_owned();
    move |edit| {
        edit.set(&path(["date"]), Value::Date(date))?;
        edit.set_text(&path(["text"]), &text)
    }
}
