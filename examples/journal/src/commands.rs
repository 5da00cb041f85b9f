//! The commands. Each opens the pod, does one thing, and closes it.

mod devices;
mod importing;
mod linking;
mod reading;
mod syncing;
mod words;
mod writing;

use std::{path::PathBuf, sync::Arc};

use rhizome::{FileKeeper, NetOptions, Pod, PodOptions, Relay};

use crate::{
    cli::{Cli, Command, Devices, Words},
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
        Command::List { limit, after, all } => reading::list(pod, output, *limit, after.as_deref(), *all).await,
        Command::Show { id } => reading::show(pod, output, id).await,
        Command::Edit {
            id,
            append,
            text,
            title,
        } => writing::edit(pod, output, id, append.as_deref(), text.as_deref(), title.as_deref()).await,
        Command::Import { dir } => importing::import(pod, output, dir).await,
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
