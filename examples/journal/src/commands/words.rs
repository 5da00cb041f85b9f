//! The 24 words: coming back with them, changing them, and taking the journal back from a thief.

use std::{
    io::{BufRead, IsTerminal, Read},
    path::PathBuf,
};

use rhizome::{PeerAddress, Pod, PodOptions, WordsQuiz, Zeroizing};
use serde_json::json;

use super::{devices, dir, linking::this_device, options};
use crate::{
    cli::{Cli, Recover},
    failure::{Failure, system},
    output::{Output, prompt},
};

const WORDS: usize = 24;

/// Brings a journal back: on an empty folder as a new device, on one whose secret is gone as the device it was.
pub async fn recover(cli: &Cli, output: &Output, recover: &Recover) -> Result<(), Failure> {
    let (dir, options) = (dir(cli), options(cli, output)?);
    // Whatever is wrong is told before a person types 24 words.
    match Pod::open(&dir, options.clone()).await {
        Ok(pod) => {
            pod.shutdown().await;
            let message = "nothing is lost: this journal opens without its words".to_owned();
            return Err(Failure::new("nothing-lost", message));
        }
        Err(rhizome::Error::NeedsRecovery) => return open_again(output, recover, dir, options).await,
        Err(rhizome::Error::NoPod) => {}
        Err(other) => return Err(other.into()),
    }
    let peer = recover.peer.as_deref().ok_or_else(|| {
        let message = "there is no pod in this folder: say where the cloud peer is, with --peer KEY@host:port";
        Failure::new("usage", message.to_owned())
    })?;
    let peer = PeerAddress::parse(peer).ok_or_else(|| {
        let message =
            "this is not the address of a cloud peer: one is written KEY@host:port, or is a code that it shows";
        Failure::new("usage", message.to_owned())
    })?;
    let name = recover.name.clone().unwrap_or_else(this_device);
    let words = typed()?;
    let pod = Pod::recover(dir, options, &name, &words, &peer).await?;
    let did = pod.did()?;
    output.result(&json!({"event": "recovered", "did": did, "name": name}), || {
        format!(
            "recovered {did}\n`journal sync` brings what the cloud peer holds. What was lost is still one of your devices: `journal devices` lists \
             it, `journal remove` puts it out."
        )
    });
    pod.shutdown().await;
    Ok(())
}

/// Opens a folder whose secret is gone.
async fn open_again(output: &Output, recover: &Recover, dir: PathBuf, options: PodOptions) -> Result<(), Failure> {
    if recover.peer.is_some() {
        output.note(
            "The journal in this folder is all here but for its secret: the words open it, and no cloud peer is asked.",
        );
    }
    let words = typed()?;
    let pod = Pod::recover_folder(dir, options, &words).await?;
    let did = pod.did()?;
    output.result(&json!({"event": "opened", "did": did}), || {
        format!("opened {did}\nThe device secret is kept again.")
    });
    pod.shutdown().await;
    Ok(())
}

/// Makes other words. They are shown, and asked for, before they count.
pub async fn change(pod: &Pod, output: &Output, at_once: bool) -> Result<(), Failure> {
    let present = at_once.then(typed).transpose()?;
    let words = Pod::new_words();
    output.result(&json!({"words": *words, "at_once": at_once}), || on_paper(&words));
    quiz(output, &words);
    match present {
        Some(present) => pod.change_words_at_once(&present, &words).await?,
        None => drop(pod.change_words(&words).await?),
    }
    if !output.is_json() {
        output.text(match at_once {
            true => "\nThese words count from now on, and the old ones never again.",
            false => {
                "\nThese words count 72 hours after the next `journal sync` has put the change in order. Until then the old ones do, and can call it \
                 off: keep both."
            }
        });
    }
    Ok(())
}

/// Takes the journal back from devices that are in somebody else's hands.
pub async fn take_back(pod: &Pod, output: &Output, whom: &[String]) -> Result<(), Failure> {
    let members = pod.members().await?;
    let mut thieves = Vec::new();
    for whom in whom {
        let member = devices::find(&members, whom)?;
        if member.this {
            let message = "this is the device itself: take the journal back on another one".to_owned();
            return Err(Failure::new("usage", message));
        }
        thieves.push(member.key);
    }
    pod.take_back(&typed()?, &thieves).await?;
    let keys: Vec<String> = thieves.iter().map(ToString::to_string).collect();
    output.result(&json!({"event": "taken-back", "removed": keys}), || {
        "taken back: they are out, with every device that they let in; whom they removed is back.\nWhat they had read by now, they have read. \
         `journal sync` passes this on."
            .to_owned()
    });
    Ok(())
}

/// The words as they are shown, once.
pub fn on_paper(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let rows: Vec<String> = words
        .chunks(6)
        .enumerate()
        .map(|(row, words)| {
            let cells = words.iter().enumerate();
            let cells: Vec<String> = cells
                .map(|(column, word)| format!("{:>2} {word:<9}", row * 6 + column + 1))
                .collect();
            format!("  {}", cells.join(" ").trim_end())
        })
        .collect();
    format!(
        "Write these 24 words on paper, now. They bring everything back when every device is lost.\nThey are shown this once and kept nowhere; \
         whoever has them has your journal.\n\n{}",
        rows.join("\n")
    )
}

/// Lets a person who sits before a terminal see whether they wrote the words down.
pub fn quiz(output: &Output, words: &str) {
    let stdin = std::io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        return;
    }
    output.note("\nThree of them, to see that they are on the paper (an empty line skips this):");
    let ask = |place| {
        prompt(&format!("  word {place}: "));
        line(&mut stdin.lock()).filter(|word| !word.trim().is_empty())
    };
    let wrong = || output.note("One of them is another word. Look at the paper, and again:");
    let passed = examine(words, ask, wrong);
    output.note(if passed {
        "That is right."
    } else {
        "Not asked any further."
    });
}

/// Asks for three words until all three are right, or none is given.
fn examine(words: &str, mut ask: impl FnMut(usize) -> Option<Zeroizing<String>>, wrong: impl Fn()) -> bool {
    loop {
        let quiz = WordsQuiz::new(words);
        let mut answers = Vec::new();
        for place in quiz.places() {
            let Some(answer) = ask(place) else { return false };
            answers.push(answer);
        }
        if let [one, two, three] = answers.as_slice()
            && quiz.is_right([one, two, three])
        {
            return true;
        }
        wrong();
    }
}

/// The words that a person types or a script pipes; never from the command line, which other users of the machine can read.
pub(super) fn typed() -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    let mut words = Zeroizing::new(String::with_capacity(4096));
    if !stdin.is_terminal() {
        stdin
            .lock()
            .read_to_string(&mut words)
            .map_err(system("cannot read the words from stdin"))?;
        return Ok(words);
    }
    prompt("The 24 words, in as many lines as you like. What you type stays on the screen: clear it afterwards.\n");
    while words.split_whitespace().count() < WORDS {
        let Some(line) = line(&mut stdin.lock()) else { break };
        words.push_str(&line);
    }
    Ok(words)
}

/// A line with its end; `None` after the last.
fn line(from: &mut impl BufRead) -> Option<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    let read = from.read_line(&mut line).ok()?;
    (read > 0).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_words_are_asked_for_until_they_are_right() {
        let all: Vec<String> = (1..=24).map(|place| format!("word{place}")).collect();
        let words = all.join(" ");
        let word = |place: usize| Some(Zeroizing::new(format!(" Word{place}\n")));
        assert!(examine(&words, word, || panic!("it is right")));
        let (mut asked, told) = (0, std::cell::Cell::new(0));
        let second_wrong = |place| {
            asked += 1;
            if asked == 2 { word(place % 24 + 1) } else { word(place) }
        };
        assert!(examine(&words, second_wrong, || told.set(told.get() + 1)));
        assert_eq!((asked, told.get()), (6, 1));
        asked = 0;
        let nothing = |_| {
            asked += 1;
            None
        };
        assert!(!examine(&words, nothing, || panic!("nothing was said")));
        assert_eq!(asked, 1);
    }

    #[test]
    fn the_words_on_paper_are_numbered() {
        let words: Vec<String> = (1..=24).map(|place| format!("w{place}")).collect();
        let shown = on_paper(&words.join(" "));
        assert!(shown.contains(" 1 w1") && shown.ends_with("24 w24"), "{shown}");
    }
}
