//! What can be typed.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use rhizome::Relay;

use crate::failure::Failure;

/// What stands below the help.
const BEGIN: &str = "To begin:\n  journal --pod ~/journal init\n  journal --pod ~/journal new \"The first line\"\n  \
                     journal --pod ~/journal list\n\nRHIZOME_LOG=rhizome=debug shows what the library does.";

/// A journal that works with no network, for ever, and syncs with your other devices and a cloud peer that cannot read it
#[derive(Debug, Parser)]
#[command(name = "journal", version, max_term_width = 100, after_help = BEGIN)]
pub struct Cli {
    /// The folder of the pod
    #[arg(long, value_name = "DIR", global = true)]
    pub pod: Option<PathBuf>,
    /// Where the device secret is kept, apart from the pod [default: the user's data folder, rhizome/keys]
    #[arg(long, value_name = "DIR", global = true)]
    pub keys: Option<PathBuf>,
    /// For scripts: JSON on stdout, errors as {"error", "message"} on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// An address to bind, as 127.0.0.1:0; may be repeated [default: every interface]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Vec<SocketAddr>,
    /// Relays: none, public, or the URL of your own. A relay sees who talks to whom, when and how much; never content
    #[arg(long, value_name = "WHICH", global = true, default_value = "none", value_parser = relay)]
    pub relay: Relay,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

fn relay(text: &str) -> Result<Relay, String> {
    match text {
        "none" => Ok(Relay::None),
        "public" => Ok(Relay::Public),
        url if url.starts_with("https://") || url.starts_with("http://") => Ok(Relay::Own(url.to_owned())),
        _ => Err("say none, public, or the URL of a relay".to_owned()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new identity, with this as its first device
    Init {
        /// What your other devices call this one
        #[arg(long)]
        name: Option<String>,
    },
    /// Join the identity of another device
    Join(Join),
    /// Write an entry
    New {
        /// The text; - reads it from stdin; without it, $EDITOR opens
        text: Option<String>,
        /// A title
        #[arg(long)]
        title: Option<String>,
        /// YYYY-MM-DD or YYYY-MM-DDTHH:MM, in local time; a date alone means noon [default: now]
        #[arg(long)]
        date: Option<String>,
        /// A tag; may be repeated
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
    },
    /// List entries, newest first
    List {
        /// Entries in a page
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Go on after a page, from the cursor that it ended with
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Only those with this tag
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
    },
    /// Find entries by their words, the best first. "Words in quotes" stand in a row, begin* is the beginning of a word
    Search {
        /// The words. An entry has all of them, in its title, text or tags
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
        /// Entries in a page
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on after a page, from the cursor that it ended with
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Only from this day on: YYYY-MM-DD, in local time
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
        /// Only before this day: YYYY-MM-DD, in local time
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
    },
    /// Show an entry, and where it is held
    Show {
        /// Its id, or as much of its beginning as no other has
        id: String,
        /// As it was at a version, by as much of the beginning of that as no other has
        #[arg(long, value_name = "VERSION")]
        at: Option<String>,
    },
    /// List the versions of an entry, newest first: when, by which device, and what for
    History {
        /// Its id, or as much of its beginning as no other has
        id: String,
        /// No more than so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Make an entry as it was at a version. Nothing goes: this is a version more
    Restore {
        /// Its id, or as much of its beginning as no other has
        id: String,
        /// The version, or as much of its beginning as no other has
        version: String,
    },
    /// Take back what this device did last in an entry; what others wrote stays. Again takes back what it did before
    Undo {
        /// Its id, or as much of its beginning as no other has
        id: String,
    },
    /// Do again what undo took back
    Redo {
        /// Its id, or as much of its beginning as no other has
        id: String,
    },
    /// Change an entry; without an option, $EDITOR opens. What other devices change meanwhile is merged
    Edit {
        /// Its id, or as much of its beginning as no other has
        id: String,
        /// Add a paragraph at the end
        #[arg(long, value_name = "TEXT", conflicts_with = "text")]
        append: Option<String>,
        /// Make the text read so; - reads it from stdin
        #[arg(long)]
        text: Option<String>,
        /// Make the title read so
        #[arg(long)]
        title: Option<String>,
    },
    /// Delete an entry, with what is attached to it: at once from every list, and for good seven days later. Until then `undelete` brings it back
    Delete {
        /// Its id, or as much of its beginning as no other has
        id: String,
        /// For good, now, with the 24 words, which are asked for or read from stdin. Also for what is in the trash
        #[arg(long)]
        at_once: bool,
    },
    /// List what was deleted and can still be brought back, and until when
    Trash,
    /// Bring a deleted entry back
    Undelete {
        /// Its id, or as much of its beginning as no other in the trash has
        id: String,
    },
    /// Read a folder of Markdown files; running it again adds nothing twice
    Import {
        /// The folder
        dir: PathBuf,
    },
    /// Attach a file to an entry: a photo, a recording
    Attach(crate::commands::attaching::Attach),
    /// List what is attached to an entry, or save it
    Attachments {
        /// Its id, or the first letters of it
        id: String,
        /// Write each into this folder
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
        /// Seconds that one may take to come from elsewhere
        #[arg(long, default_value_t = 60)]
        deadline: u64,
    },
    /// Link a cloud peer or a new device
    Link(Link),
    /// List your devices and cloud peers, and those that were removed
    Devices {
        /// What to do instead
        #[command(subcommand)]
        what: Option<Devices>,
    },
    /// Remove a device or cloud peer. A removed device keeps, and can read, what it had
    Remove {
        /// Its name, or as much of the beginning of its key as no other has
        device: String,
        /// Do not ask (for scripts)
        #[arg(long)]
        yes: bool,
    },
    /// Bring a journal back with its 24 words, which are asked for or read from stdin
    Recover(Recover),
    /// The 24 words
    Words {
        /// What to do
        #[command(subcommand)]
        what: Words,
    },
    /// Take the journal back from devices that are in somebody else's hands, with the 24 words. If they removed this device already, `recover` in
    /// another folder, and take it back there
    TakeBack {
        /// Their names, or as much of the beginnings of their keys as no others have
        #[arg(required = true, value_name = "DEVICE")]
        devices: Vec<String>,
    },
    /// Take in what was written in another folder before this device joined; that folder stays as it is. Entries come as they are now, without
    /// their history. Run again, it takes only what is not here yet
    TakeIn {
        /// The other folder: one that `journal init` made, its secret beside the others
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Sync once, as a phone does when the system wakes it
    Sync {
        /// Seconds it may take
        #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        deadline: u64,
        /// Bytes it may move
        #[arg(long, value_name = "BYTES")]
        budget: Option<u64>,
    },
    /// Stay connected, and pass new entries on at once, until Ctrl-C
    Live,
    /// What is stored where, and why not elsewhere
    Status,
    /// The identity's DID and its document
    Did,
    /// Check every entry, chain and signature
    Verify,
    /// Append short entries one at a time; prints the number of each once it is durable (for the demo)
    #[command(hide = true)]
    Burst {
        /// How many
        #[arg(long)]
        count: u64,
        /// Writes the numbers to this file too
        #[arg(long, value_name = "FILE")]
        ack_file: Option<PathBuf>,
    },
}

/// What to do with devices.
#[derive(Debug, Subcommand)]
pub enum Devices {
    /// Call a device or cloud peer something else
    Rename {
        /// Its name, or as much of the beginning of its key as no other has
        device: String,
        /// The new name
        name: String,
    },
}

/// What to do with the words.
#[derive(Debug, Subcommand)]
pub enum Words {
    /// Make other words, and show them once. They count after 72 hours, in which the present ones can call it off
    Change {
        /// With the present words, which are asked for or read from stdin: the new ones count at once
        #[arg(long)]
        at_once: bool,
    },
}

/// How to come back.
#[derive(Debug, Args)]
pub struct Recover {
    /// Where the cloud peer is: KEY@host:port, or a code that it shows. Without it, a folder whose device secret is gone is opened
    #[arg(long, value_name = "ADDRESS")]
    pub peer: Option<String>,
    /// What your other devices call this new one
    #[arg(long, requires = "peer")]
    pub name: Option<String>,
}

/// How to join.
#[derive(Debug, Args)]
pub struct Join {
    /// The code that the other device shows
    #[arg(required_unless_present = "show", conflicts_with = "show")]
    pub code: Option<String>,
    /// Show a code here, for the other device to use
    #[arg(long)]
    pub show: bool,
    /// What your other devices call this one
    #[arg(long)]
    pub name: Option<String>,
    /// Do not ask whether both screens show the same number (for scripts)
    #[arg(long)]
    pub yes: bool,
}

/// How to link.
#[derive(Debug, Args)]
pub struct Link {
    /// The code that the cloud peer or new device shows
    #[arg(required_unless_present = "show", conflicts_with = "show")]
    pub code: Option<String>,
    /// The code is a new device's, which will read everything
    #[arg(long, conflicts_with = "show")]
    pub device: bool,
    /// Show a code here, for a new device to use
    #[arg(long)]
    pub show: bool,
    /// Do not ask whether both screens show the same number (for scripts)
    #[arg(long)]
    pub yes: bool,
}

/// Why there is nothing to run.
pub enum NotACommand {
    /// Help or the version was asked for: here it is.
    Asked(String),
    /// The arguments are wrong.
    Wrong(Failure),
}

impl Cli {
    /// Reads the command line.
    pub fn read() -> Result<Self, NotACommand> {
        let cli = Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NotACommand::Asked(error.render().to_string()),
            _ => NotACommand::Wrong(Failure::new("usage", in_one_line(&error))),
        })?;
        if cli.pod.is_none() {
            let message = "say which pod: journal --pod DIR (any folder; `init` makes a new pod there)";
            return Err(NotACommand::Wrong(Failure::new("usage", message.to_owned())));
        }
        Ok(cli)
    }
}

/// clap says it in several lines; a person and a script want one, and what to do.
fn in_one_line(error: &clap::Error) -> String {
    let nothing = [
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    if nothing.contains(&error.kind()) {
        return "say what to do: `journal --help` lists the commands".to_owned();
    }
    let text = error.render().to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    format!(
        "{} (see `journal --help`)",
        said.strip_prefix("error: ").unwrap_or(&said)
    )
}
