//! The commands. Each opens the pod, does one thing, and closes it.

pub mod attaching;
mod deleting;
mod devices;
mod history;
mod importing;
mod linking;
mod reading;
mod searching;
mod syncing;
mod words;
mod writing;

use std::{path::PathBuf, sync::Arc};

use rhizome::{FileKeeper, NetOptions, Pod, PodOptions, Relay};

use crate::{
    cli::{Cli, Command, Devices, Words},
    entry::{self, COLLECTION},
    failure::Failure,
    output::Output,
};

/// Runs what was typed.
pub async fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    match &cli.command {
        Command::Init { name } => return linking::init(cli, output, name.as_deref()).await,
        Command::Join(join) => return linking::join(cli, output, join).await,
        Command::Recover(recover) => return words::recover(cli, output, recover).await,
        _ => {}
    }
    let pod = Pod::open(dir(cli), options(cli, output)?).await?;
    // What is searched and listed by is declared where it is used, but kept up from the start.
    let declared = pod.declare(COLLECTION, entry::schema()).await;
    if let Err(error) = declared {
        tracing::warn!(%error, "entries cannot be listed by tag or searched");
    }
    let result = with_pod(cli, output, &pod).await;
    pod.shutdown().await;
    result
}

async fn with_pod(cli: &Cli, output: &Output, pod: &Pod) -> Result<(), Failure> {
    match &cli.command {
        Command::Init { .. } | Command::Join(_) | Command::Recover(_) => unreachable!("they make the pod first"),
        Command::New {
            text,
            title,
            date,
            tags,
        } => writing::new(pod, output, text.as_deref(), title.as_deref(), date.as_deref(), tags).await,
        Command::List { limit, after, all, tag } => {
            reading::list(pod, output, *limit, after.as_deref(), *all, tag.as_deref()).await
        }
        Command::Search {
            words,
            limit,
            after,
            from,
            until,
        } => {
            let days = (from.as_deref(), until.as_deref());
            searching::search(pod, output, &words.join(" "), *limit, after.as_deref(), days).await
        }
        Command::Show { id, at: None } => reading::show(pod, output, id).await,
        Command::Show { id, at: Some(version) } => history::show_at(pod, output, id, version).await,
        Command::History { id, limit } => history::history(pod, output, id, *limit).await,
        Command::Restore { id, version } => history::restore(pod, output, id, version).await,
        Command::Undo { id } => history::undo(pod, output, id).await,
        Command::Redo { id } => history::redo(pod, output, id).await,
        Command::Edit {
            id,
            append,
            text,
            title,
        } => writing::edit(pod, output, id, append.as_deref(), text.as_deref(), title.as_deref()).await,
        Command::Delete { id, at_once } => deleting::delete(pod, output, id, *at_once).await,
        Command::Trash => deleting::trash(pod, output).await,
        Command::Undelete { id } => deleting::undelete(pod, output, id).await,
        Command::Import { dir } => importing::import(pod, output, dir).await,
        Command::Attach(what) => attaching::attach(pod, output, what).await,
        Command::Attachments { id, save, deadline } => {
            attaching::attachments(pod, output, id, save.as_deref(), *deadline).await
        }
        Command::Link(link) => linking::link(pod, output, link).await,
        Command::Devices { what: None } => devices::list(pod, output).await,
        Command::Devices {
            what: Some(Devices::Rename { device, name }),
        } => devices::rename(pod, output, device, name).await,
        Command::Remove { device, yes } => devices::remove(pod, output, device, *yes).await,
        Command::Words {
            what: Words::Change { at_once },
        } => words::change(pod, output, *at_once).await,
        Command::TakeBack { devices } => words::take_back(pod, output, devices).await,
        Command::TakeIn { folder } => {
            let other = Pod::open(folder, options(cli, output)?).await?;
            let taken = linking::take_in(pod, output, &other).await;
            other.shutdown().await;
            taken
        }
        Command::Sync { deadline, budget } => syncing::sync(pod, output, *deadline, *budget).await,
        Command::Live => syncing::live(pod, output).await,
        Command::Status => syncing::status(pod, output).await,
        Command::Did => syncing::did(pod, output),
        Command::Verify => syncing::verify(pod, output).await,
        Command::Burst { count, ack_file } => writing::burst(pod, output, *count, ack_file.as_deref()).await,
    }
}

fn dir(cli: &Cli) -> PathBuf {
    cli.pod.clone().unwrap_or_default()
}

fn options(cli: &Cli, output: &Output) -> Result<PodOptions, Failure> {
    let keys = match &cli.keys {
        Some(keys) => keys.clone(),
        None => data_dir().map(|dir| dir.join("rhizome").join("keys")).ok_or_else(|| {
            let message = "there is no home folder to keep the device secret in: say where with --keys DIR";
            Failure::new("usage", message.to_owned())
        })?,
    };
    if cli.relay == Relay::Public {
        output.note(
            "relay: the public ones of iroh's makers; they see who talks to whom, when and how much, never content",
        );
    }
    Ok(PodOptions {
        net: NetOptions {
            listen: cli.listen.clone(),
            relay: cli.relay.clone(),
            observer: None,
        },
        ..PodOptions::new(Arc::new(FileKeeper::new(keys)))
    })
}

/// Where a user's programs keep their data (XDG Base Directory Specification).
fn data_dir() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local").join("share")))
}
