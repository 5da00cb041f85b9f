//! What a person does with an identity, on a disk that fails: joining, coming back with the words, ordering operations. At calls of the disk
//! all through each of them: the power goes, a write fails, the disk is full.
//!
//! After each: nobody is locked out, nothing is there by half. What was asked for can be asked for again in the same folder and works;
//! what was acknowledged has happened. `RHIZOME_FAULTS=n` strikes every call.

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rhizome::{Confirm, DocumentId, Error, PeerAddress, Pod, PodOptions, Proposal, ProposalState, Value, path};
use rhizome_cloud::{Peer, PeerOptions};
use rhizome_faults::{
    dice::Dice,
    disk::{Disk, Fault, Plan},
    person::{Pocket, SYNC_WITHIN, options, options_with},
    scratch::folder,
    vfs,
};

const FAULTS: [Fault; 3] = [Fault::PowerCut, Fault::Write, Fault::Full];
/// A code that nobody used is worth nothing after this, so that whoever waits for a device whose disk failed does not wait long.
const CODE_FOR: Duration = Duration::from_secs(4);

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(async { true }))
}

/// A folder for a pod whose disk is ours.
fn home(dir: &Path, name: &str) -> PathBuf {
    let path = dir.canonicalize().unwrap().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

async fn write(pod: &Pod, text: &'static str) -> Result<DocumentId, Error> {
    let edit = move |edit: &mut rhizome::Edit<'_>| edit.set(&path(["text"]), Value::from(text));
    Ok(pod.create_document("journal", edit).await?.document)
}

async fn sync(pod: &Pod) -> Result<(), String> {
    let report = pod
        .sync_once(SYNC_WITHIN, None)
        .await
        .map_err(|error| error.to_string())?;
    let failed = report.peers.iter().find(|peer| peer.result.is_err());
    match failed {
        None if report.peers.is_empty() => Err("nobody to sync with".to_owned()),
        None => Ok(()),
        Some(peer) => Err(format!("{:?}", peer.result)),
    }
}

/// Whether the pod has the document, once what just came to it is folded.
async fn has(pod: &Pod, document: DocumentId) -> Result<bool, String> {
    for _ in 0..1000 {
        let status = pod.status().await.map_err(|error| error.to_string())?;
        if status.unfolded == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(pod.get(document).await.map_err(|error| error.to_string())?.is_some())
}

async fn members(pod: &Pod) -> Vec<String> {
    let members = pod.members().await.unwrap().members;
    let mut names: Vec<String> = members
        .into_iter()
        .map(|member| member.name.unwrap_or_default())
        .collect();
    names.sort();
    names
}

/// What a fault strikes, and what must hold afterwards.
trait Deed {
    /// Makes what is there before, on a disk that is well; answers the folder whose disk is to fail.
    async fn prepare(dir: &Path) -> (Self, PathBuf)
    where
        Self: Sized;
    /// Does it; the disk may fail.
    async fn attempt(&mut self);
    /// On a disk that is well again: does it anew if it did not happen, and looks whether all is as it must be.
    async fn settle(&mut self) -> Result<(), String>;
    /// Whether what is open may still be when the disk comes back; with the power everything is gone.
    async fn stop(&mut self);
}

/// One deed with one fault. Whether the fault struck.
async fn once<D: Deed>(plan: Plan, seed: u64) -> Result<bool, String> {
    let dir = folder();
    let (mut deed, path) = D::prepare(dir.path()).await;
    let disk = Disk::new(&path);
    disk.plan(&[plan]);
    deed.attempt().await;
    let struck = disk.struck() > 0;
    deed.stop().await;
    if disk.is_cut() {
        disk.reboot(seed);
    } else {
        disk.heal();
    }
    let settled = deed.settle().await;
    deed.stop().await;
    disk.remove();
    settled.map(|()| struck)
}

fn at_every_call<D: Deed>() {
    vfs::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let stride = if std::env::var_os("RHIZOME_FAULTS").is_some() {
        1
    } else {
        40
    };
    let mut dice = Dice::new(7);
    let (mut runs, mut failures) = (0, Vec::new());
    for fault in FAULTS {
        let mut at = 0;
        loop {
            at += 1 + dice.below(stride);
            let plan = Plan {
                fault,
                at,
                times: u64::MAX,
                file: "",
            };
            runs += 1;
            match runtime.block_on(once::<D>(plan, at)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(what) => failures.push(format!("{fault:?} at {at}: {what}")),
            }
            assert!(at < 5_000, "it has no end");
        }
    }
    println!("{runs} runs");
    failures.iter().for_each(|failure| println!("{failure}"));
    assert!(failures.is_empty(), "{} of {runs} runs", failures.len());
    assert!(runs > 2 * FAULTS.len(), "no call failed");
}

/// A phone, whose disk is well, and a tablet on its way into the identity.
struct Join {
    phone: Pod,
    kept: DocumentId,
    dir: PathBuf,
    options: PodOptions,
    tablet: Option<Pod>,
}

impl Join {
    async fn join(&self) -> Result<Pod, Error> {
        let invite = self.phone.invite(CODE_FOR, yes()).await?;
        let code = invite.ticket.to_string();
        let joined = Pod::join(&self.dir, self.options.clone(), "tablet", &code, yes()).await?;
        invite.finished().await?;
        Ok(joined)
    }
}

impl Deed for Join {
    async fn prepare(dir: &Path) -> (Self, PathBuf) {
        let (phone, _) = Pod::create(dir.join("phone"), options(), "phone").await.unwrap();
        let kept = write(&phone, "kept").await.unwrap();
        let tablet = home(dir, "tablet");
        let join = Self {
            phone,
            kept,
            dir: tablet.clone(),
            options: options(),
            tablet: None,
        };
        (join, tablet)
    }

    async fn attempt(&mut self) {
        self.tablet = self.join().await.ok();
        if let Some(tablet) = &self.tablet {
            let _ = sync(tablet).await;
        }
    }

    async fn stop(&mut self) {
        if let Some(tablet) = self.tablet.take() {
            tablet.shutdown().await;
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let tablet = match Pod::open(&self.dir, self.options.clone()).await {
            Ok(tablet) => tablet,
            Err(Error::NoPod) => self.join().await.map_err(|error| format!("joined again: {error}"))?,
            Err(error) => return Err(format!("opened again: {error}")),
        };
        self.tablet = Some(tablet.clone());
        sync(&tablet).await?;
        if !has(&tablet, self.kept).await? {
            return Err("the tablet lacks what the phone wrote".to_owned());
        }
        let new = write(&tablet, "new").await.map_err(|error| error.to_string())?;
        sync(&tablet).await?;
        let there = has(&self.phone, new).await?;
        let (here, at_home) = (members(&tablet).await, members(&self.phone).await);
        // A tablet that came to half and was let in again may leave a device behind that nobody is.
        let named = |names: &[String]| names.contains(&"phone".to_owned()) && names.contains(&"tablet".to_owned());
        if !there || here != at_home || !named(&here) {
            return Err(format!("the tablet sees {here:?}, the phone {at_home:?}"));
        }
        Ok(())
    }
}

#[test]
fn a_device_whose_disk_fails_while_it_joins() {
    at_every_call::<Join>();
}

/// The phone's disk fails while it lets a tablet in, whose disk is well.
struct Invite {
    phone: Option<Pod>,
    phone_dir: PathBuf,
    phone_options: PodOptions,
    kept: DocumentId,
    dir: PathBuf,
    tablet: Option<Pod>,
    options: PodOptions,
}

impl Invite {
    async fn join(&self) -> Result<Pod, Error> {
        let phone = self.phone.clone().ok_or(Error::Closed)?;
        let invite = phone.invite(CODE_FOR, yes()).await?;
        let code = invite.ticket.to_string();
        Pod::join(&self.dir, self.options.clone(), "tablet", &code, yes()).await
    }
}

impl Deed for Invite {
    async fn prepare(dir: &Path) -> (Self, PathBuf) {
        let (path, mut phone_options) = (home(dir, "phone"), options());
        // Where the tablet finds it again.
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        phone_options.net.listen = vec![free];
        let (phone, _) = Pod::create(&path, phone_options.clone(), "phone").await.unwrap();
        let kept = write(&phone, "kept").await.unwrap();
        phone.shutdown().await;
        let invite = Self {
            phone: None,
            phone_dir: path.clone(),
            phone_options,
            kept,
            dir: home(dir, "tablet"),
            tablet: None,
            options: options(),
        };
        (invite, path)
    }

    async fn attempt(&mut self) {
        self.phone = Pod::open(&self.phone_dir, self.phone_options.clone()).await.ok();
        self.tablet = self.join().await.ok();
    }

    async fn stop(&mut self) {
        for pod in [self.tablet.take(), self.phone.take()].into_iter().flatten() {
            pod.shutdown().await;
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let phone = Pod::open(&self.phone_dir, self.phone_options.clone())
            .await
            .map_err(|error| format!("the phone: {error}"))?;
        self.phone = Some(phone.clone());
        phone.listen().await.map_err(|error| error.to_string())?;
        let tablet = match Pod::open(&self.dir, self.options.clone()).await {
            Err(Error::NoPod) => self.join().await,
            opened => opened,
        };
        let tablet = tablet.map_err(|error| format!("the tablet: {error}"))?;
        self.tablet = Some(tablet.clone());
        sync(&tablet).await?;
        if !has(&tablet, self.kept).await? {
            return Err("the tablet lacks what the phone wrote".to_owned());
        }
        let new = write(&tablet, "new").await.map_err(|error| error.to_string())?;
        sync(&tablet).await?;
        let (here, at_home) = (members(&tablet).await, members(&phone).await);
        if !has(&phone, new).await? || here != at_home {
            return Err(format!("the tablet sees {here:?}, the phone {at_home:?}"));
        }
        Ok(())
    }
}

#[test]
fn a_device_whose_disk_fails_while_it_lets_another_in() {
    at_every_call::<Invite>();
}

/// A phone is lost. The words bring its identity back from a cloud peer to a new phone, whose disk fails.
struct Recover {
    peer: Peer,
    words: String,
    kept: DocumentId,
    dir: PathBuf,
    options: PodOptions,
    phone: Option<Pod>,
}

impl Recover {
    fn recover(&self) -> impl Future<Output = Result<Pod, Error>> {
        let address = PeerAddress::parse(&self.peer.code(SYNC_WITHIN).to_string()).unwrap();
        let (dir, options, words) = (self.dir.clone(), self.options.clone(), self.words.clone());
        async move { Pod::recover(dir, options, "new", &words, &address).await }
    }
}

impl Deed for Recover {
    async fn prepare(dir: &Path) -> (Self, PathBuf) {
        let peer = Peer::start(PeerOptions {
            net: options().net,
            ..PeerOptions::new(dir.join("cloud"))
        });
        let peer = peer.await.unwrap();
        let (lost, words) = Pod::create(dir.join("lost"), options(), "lost").await.unwrap();
        lost.link(&peer.code(SYNC_WITHIN).to_string(), yes()).await.unwrap();
        let kept = write(&lost, "kept").await.unwrap();
        sync(&lost).await.unwrap();
        lost.shutdown().await;
        let path = home(dir, "new");
        let recover = Self {
            peer,
            words: words.to_string(),
            kept,
            dir: path.clone(),
            options: options(),
            phone: None,
        };
        (recover, path)
    }

    async fn attempt(&mut self) {
        self.phone = self.recover().await.ok();
        if let Some(phone) = &self.phone {
            let _ = sync(phone).await;
        }
    }

    async fn stop(&mut self) {
        if let Some(phone) = self.phone.take() {
            phone.shutdown().await;
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let phone = match Pod::open(&self.dir, self.options.clone()).await {
            Err(Error::NoPod) => self.recover().await,
            opened => opened,
        };
        let phone = phone.map_err(|error| format!("the new phone: {error}"))?;
        self.phone = Some(phone.clone());
        sync(&phone).await?;
        if !has(&phone, self.kept).await? {
            return Err("what was written is not back".to_owned());
        }
        write(&phone, "new").await.map_err(|error| error.to_string())?;
        sync(&phone).await?;
        let me = phone.device().unwrap();
        let members = phone.members().await.map_err(|error| error.to_string())?.members;
        match members.iter().find(|member| member.key == me) {
            Some(member) if member.ordered => Ok(()),
            other => Err(format!("the new phone is not a device in order: {}", other.is_some())),
        }
    }
}

#[test]
fn a_new_phone_whose_disk_fails_while_the_words_bring_everything_back() {
    at_every_call::<Recover>();
}

/// A folder whose secret is gone: the words open it, on a disk that fails.
struct Reopen {
    words: String,
    kept: DocumentId,
    dir: PathBuf,
    options: PodOptions,
    phone: Option<Pod>,
}

impl Deed for Reopen {
    async fn prepare(dir: &Path) -> (Self, PathBuf) {
        let path = home(dir, "phone");
        let (phone, words) = Pod::create(&path, options(), "phone").await.unwrap();
        let kept = write(&phone, "never sent").await.unwrap();
        phone.shutdown().await;
        let reopen = Self {
            words: words.to_string(),
            kept,
            dir: path.clone(),
            options: options_with(Arc::new(Pocket::default())),
            phone: None,
        };
        (reopen, path)
    }

    async fn attempt(&mut self) {
        self.phone = Pod::recover_folder(&self.dir, self.options.clone(), &self.words)
            .await
            .ok();
    }

    async fn stop(&mut self) {
        if let Some(phone) = self.phone.take() {
            phone.shutdown().await;
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let phone = match Pod::open(&self.dir, self.options.clone()).await {
            Err(Error::NeedsRecovery) => Pod::recover_folder(&self.dir, self.options.clone(), &self.words).await,
            opened => opened,
        };
        let phone = phone.map_err(|error| error.to_string())?;
        self.phone = Some(phone.clone());
        let there = phone.get(self.kept).await.map_err(|error| error.to_string())?;
        write(&phone, "new").await.map_err(|error| error.to_string())?;
        there.map(drop).ok_or_else(|| "what was written is not back".to_owned())
    }
}

#[test]
fn a_folder_that_the_words_open_on_a_disk_that_fails() {
    at_every_call::<Reopen>();
}

/// Two devices; the tablet, whose disk fails, votes for itself, renames, gets its votes' fellow by a sync, and hands the ordering back.
struct Order {
    phone: Pod,
    dir: PathBuf,
    options: PodOptions,
    tablet: Option<Pod>,
    /// What was proposed, and whether something else may come before it.
    acknowledged: Vec<(&'static str, Proposal)>,
}

impl Deed for Order {
    async fn prepare(dir: &Path) -> (Self, PathBuf) {
        let mut at = options();
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        at.net.listen = vec![free];
        let (phone, _) = Pod::create(dir.join("phone"), at, "phone").await.unwrap();
        let path = home(dir, "tablet");
        let invite = phone.invite(SYNC_WITHIN, yes()).await.unwrap();
        let (code, options) = (invite.ticket.to_string(), options());
        let tablet = Pod::join(&path, options.clone(), "tablet", &code, yes()).await.unwrap();
        invite.finished().await.unwrap();
        sync(&tablet).await.unwrap();
        phone.vote_for_orderer(tablet.device().unwrap()).await.unwrap();
        tablet.shutdown().await;
        let order = Self {
            phone,
            dir: path.clone(),
            options,
            tablet: None,
            acknowledged: Vec::new(),
        };
        (order, path)
    }

    async fn attempt(&mut self) {
        let Ok(tablet) = Pod::open(&self.dir, self.options.clone()).await else {
            return;
        };
        self.tablet = Some(tablet.clone());
        let (me, phone) = (tablet.device().unwrap(), self.phone.device().unwrap());
        let acknowledged = &mut self.acknowledged;
        let mut note = |what, done: Result<Proposal, Error>| acknowledged.extend(done.map(|id| (what, id)));
        note("name", tablet.rename(me, "mine").await);
        let _ = sync(&tablet).await;
        note("vote", tablet.vote_for_orderer(me).await);
        note("name", tablet.rename(phone, "theirs").await);
        note("hand-over", tablet.hand_over(phone).await);
        let _ = sync(&tablet).await;
    }

    async fn stop(&mut self) {
        if let Some(tablet) = self.tablet.take() {
            tablet.shutdown().await;
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        let tablet = Pod::open(&self.dir, self.options.clone())
            .await
            .map_err(|error| error.to_string())?;
        self.tablet = Some(tablet.clone());
        for _ in 0..2 {
            sync(&tablet).await?;
        }
        for (what, id) in &self.acknowledged {
            // A change of orderers has no effect after another one, and nobody keeps it then.
            let fits = |state: &ProposalState| match *what {
                "name" => *state == ProposalState::Ordered,
                _ => *state != ProposalState::Tentative,
            };
            let states = [&tablet, &self.phone].map(|pod| pod.proposal(*id));
            if !states.iter().all(|state| state.as_ref().is_ok_and(fits)) {
                return Err(format!("a {what} that was acknowledged is {states:?}"));
            }
        }
        // Whoever orders now, what is proposed is put in order.
        let last = tablet
            .rename(tablet.device().unwrap(), "last")
            .await
            .map_err(|error| error.to_string())?;
        for _ in 0..2 {
            sync(&tablet).await?;
        }
        let states = [&tablet, &self.phone].map(|pod| pod.proposal(last));
        if !states.iter().all(|state| matches!(state, Ok(ProposalState::Ordered))) {
            return Err(format!("a proposal afterwards is {states:?}"));
        }
        let (here, there) = (members(&tablet).await, members(&self.phone).await);
        let orderers = [&tablet, &self.phone].map(|pod| pod.clone());
        let mut who = Vec::new();
        for pod in orderers {
            let members = pod.members().await.map_err(|error| error.to_string())?.members;
            who.push(
                members
                    .iter()
                    .filter(|member| member.orders)
                    .map(|member| member.key)
                    .collect::<Vec<_>>(),
            );
        }
        if here != there || who[0] != who[1] || who[0].len() != 1 {
            return Err(format!("the tablet sees {here:?}, the phone {there:?}"));
        }
        Ok(())
    }
}

#[test]
fn a_device_whose_disk_fails_while_the_ordering_changes_hands() {
    at_every_call::<Order>();
}
