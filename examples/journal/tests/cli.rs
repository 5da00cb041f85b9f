//! The journal as scripts and people run it: the program itself, in a folder of its own.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

struct Journal {
    dir: TempDir,
}

impl Journal {
    fn none() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn new() -> Self {
        let journal = Self::none();
        journal.json(&["init", "--name", "laptop"]);
        journal
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_in("pod", words)
    }

    fn command_in(&self, pod: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_journal"));
        command
            .arg("--pod")
            .arg(self.path(pod))
            .arg("--keys")
            .arg(self.path("keys"))
            .args(["--listen", "127.0.0.1:0"])
            .args(words)
            .env("TZ", "UTC")
            .env_remove("EDITOR")
            .env_remove("VISUAL")
            .env_remove("RHIZOME_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// As [`Journal::json`], of a command that reads the words.
    fn json_with_words(&self, words: &[&str], recovery: &str) -> Value {
        let output = self.with_stdin(&[&["--json"], words].concat(), recovery);
        assert!(output.status.success(), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// As [`Journal::fails`], of a command that reads the words.
    fn fails_with_words(&self, words: &[&str], recovery: &str) -> String {
        let output = self.with_stdin(&[&["--json"], words].concat(), recovery);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        error["error"].as_str().unwrap().to_owned()
    }

    /// What a command that succeeds prints.
    fn text(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.text(&[&["--json"], words].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The error of a command that fails: its kind. One line for people, one JSON value for scripts.
    fn fails(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{words:?}: {line}");
        assert!(line.starts_with("journal: "), "{line}");
        let output = self.run(&[&["--json"], words].concat());
        assert!(!output.status.success());
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(!error["message"].as_str().unwrap().is_empty());
        error["error"].as_str().unwrap().to_owned()
    }

    fn with_stdin(&self, words: &[&str], stdin: &str) -> Output {
        let mut child = self.start_piped(words);
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn start_piped(&self, words: &[&str]) -> Child {
        self.command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn titles(&self) -> Vec<String> {
        let list = self.json(&["list", "--all"]);
        let titles = list["entries"].as_array().unwrap().iter();
        titles
            .map(|entry| entry["title"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[test]
fn a_new_pod_shows_its_words_once_and_keeps_its_secret_elsewhere() {
    let journal = Journal::none();
    let made = journal.json(&["init"]);
    let words = made["words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 24);
    assert!(made["did"].as_str().unwrap().starts_with("did:rhizome:"));
    assert_eq!(journal.json(&["did"])["did"], made["did"]);
    assert_eq!(fs::read_dir(journal.path("keys")).unwrap().count(), 1);
    assert_eq!(journal.fails(&["init"]), "pod-exists");

    fs::remove_dir_all(journal.path("keys")).unwrap();
    assert_eq!(journal.fails(&["list"]), "needs-recovery");
}

#[test]
fn entries_are_listed_newest_first_and_paged() {
    let journal = Journal::new();
    for day in ["2024-05-02", "2024-05-01", "2024-05-03T08:15"] {
        journal.json(&["new", "--date", day, "--title", day, "text"]);
    }
    assert_eq!(journal.titles(), ["2024-05-03T08:15", "2024-05-02", "2024-05-01"]);
    let first = journal.json(&["list", "--limit", "2"]);
    assert_eq!(first["entries"].as_array().unwrap().len(), 2);
    let rest = journal.json(&["list", "--limit", "2", "--after", first["next"].as_str().unwrap()]);
    assert_eq!(rest["entries"][0]["title"], "2024-05-01");
    assert_eq!(rest["next"], Value::Null);
    let text = journal.text(&["list"]);
    assert!(
        text.lines()
            .next()
            .unwrap()
            .ends_with("2024-05-03 08:15  2024-05-03T08:15"),
        "{text}"
    );
}

#[test]
fn entries_are_found_by_their_words() {
    let journal = Journal::new();
    for (day, title, tag, text) in [
        (
            "2024-05-01",
            "At the sea",
            "Träume",
            "The quick brown fox\njumps over the lazy dog.",
        ),
        (
            "2024-05-02",
            "Foxes",
            "work",
            "Of dogs there is nothing here. \u{1b}[31mRed",
        ),
        ("2024-05-03", "今日", "work", "東京へ行きました"),
    ] {
        journal.json(&["new", "--date", day, "--title", title, "--tag", tag, text]);
    }
    let found = |words: &[&str]| -> Vec<String> {
        let found = journal.json(&[&["search"], words].concat());
        let entries = found["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(found(&["FOX"]), ["At the sea"]);
    assert_eq!(found(&["fox*"]), ["Foxes", "At the sea"], "a title says more");
    assert_eq!(found(&["\"lazy dog\""]), ["At the sea"]);
    assert_eq!(found(&["dog", "quick"]), ["At the sea"]);
    assert_eq!(found(&["traume"]), ["At the sea"]);
    assert_eq!(found(&["東京"]), ["今日"]);
    assert_eq!(found(&["fox*", "--from", "2024-05-02"]), ["Foxes"]);
    assert_eq!(found(&["fox*", "--until", "2024-05-02"]), ["At the sea"]);
    assert!(found(&["\" OR f0:*"]).is_empty());
    let first = journal.json(&["search", "fox*", "--limit", "1"]);
    let next = first["next"].as_str().unwrap();
    let rest = journal.json(&["search", "fox*", "--limit", "1", "--after", next]);
    assert_eq!(rest["entries"][0]["title"], "At the sea");
    let excerpt = &journal.json(&["search", "lazy"])["entries"][0]["excerpts"][0];
    let (text, range) = (excerpt["text"].as_str().unwrap(), &excerpt["ranges"][0]);
    let at = |end: usize| range[end].as_u64().unwrap() as usize;
    assert_eq!(
        (&text[at(0)..at(1)], &excerpt["field"]),
        ("lazy", &serde_json::json!("text"))
    );
    assert_eq!(journal.fails(&["search", "fox", "--after", "zz"]), "usage");
    assert_eq!(journal.fails(&["search", "fox", "--from", "yesterday"]), "usage");

    // For people: in bold on a terminal, and nowhere else; what was written commands none.
    let plain = journal.text(&["search", "lazy"]);
    assert!(plain.contains("At the sea\n") && plain.contains("jumps over the lazy dog.") && !plain.contains('\u{1b}'));
    let shown = journal
        .command(&["search", "lazy"])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .contains("the \u{1b}[1mlazy\u{1b}[0m dog.")
    );
    assert!(!journal.text(&["search", "red"]).contains('\u{1b}'));

    let tagged = journal.json(&["list", "--tag", "work", "--limit", "1"]);
    assert_eq!(tagged["entries"][0]["title"], "今日");
    let next = tagged["next"].as_str().unwrap();
    let rest = journal.json(&["list", "--tag", "work", "--limit", "1", "--after", next]);
    assert_eq!(rest["entries"][0]["title"], "Foxes");
    assert_eq!(
        journal.json(&["list", "--all", "--tag", "work"])["entries"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(
        journal.json(&["list", "--tag", "nothing"])["entries"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_entry_is_shown_by_the_beginning_of_its_id_and_says_where_it_is() {
    let journal = Journal::new();
    let made = journal.json(&[
        "new",
        "--date",
        "2024-05-01",
        "--tag",
        "sea",
        "--tag",
        "wind",
        "A line.\nAnother.",
    ]);
    let shown = journal.json(&["show", &id(&made)[..6]]);
    assert_eq!(shown["text"], "A line.\nAnother.");
    assert_eq!(shown["tags"], serde_json::json!(["sea", "wind"]));
    assert_eq!(shown["only_here"], true);
    let text = journal.text(&["show", id(&made)]);
    assert!(
        text.contains("2024-05-01 12:00") && text.contains("only on this device"),
        "{text}"
    );
    assert!(text.starts_with("A line.\n"), "without a title, the first line: {text}");
    assert_eq!(journal.fails(&["show", "zz"]), "no-document");

    // Seventeen ids share a first digit with another one.
    for number in 0..16 {
        journal.json(&["new", &number.to_string()]);
    }
    let list = journal.json(&["list", "--all"]);
    let ids: Vec<&str> = list["entries"].as_array().unwrap().iter().map(id).collect();
    let shared = ids
        .iter()
        .find(|a| ids.iter().filter(|b| a[..1] == b[..1]).count() > 1)
        .unwrap();
    assert_eq!(journal.fails(&["show", &shared[..1]]), "ambiguous");
}

#[test]
fn nothing_in_an_entry_commands_the_terminal() {
    let journal = Journal::new();
    let made = journal.json(&["new", "--title", "a\x1b[2Jb", "c\x1b]0;x\x07d"]);
    assert!(!journal.text(&["show", id(&made)]).contains(['\x1b', '\x07']));
    assert!(!journal.text(&["list"]).contains('\x1b'));
}

#[test]
fn an_entry_comes_from_stdin_or_an_editor() {
    let journal = Journal::new();
    let output = journal.with_stdin(&["--json", "new", "-"], "from stdin\n");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(journal.json(&["show", id(&made)])["text"], "from stdin");
    assert_eq!(journal.fails(&["new"]), "usage");
    assert_eq!(journal.fails(&["new", " "]), "empty");
    assert_eq!(journal.fails(&["new", "--date", "tomorrow", "x"]), "usage");
}

#[cfg(unix)]
#[test]
fn an_editor_opens_with_the_text_and_its_file_is_gone_afterwards() {
    use std::os::unix::fs::PermissionsExt;
    let journal = Journal::new();
    let editor = journal.path("editor");
    let note = journal.path("note");
    let script = format!(
        "#!/bin/sh\necho \"$1\" > '{}'\nprintf '# Title\\n\\nwritten\\n' >> \"$1\"\n",
        note.display()
    );
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let output = journal
        .command(&["--json", "new"])
        .env("EDITOR", &editor)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = journal.json(&["show", id(&made)]);
    assert_eq!((&shown["title"], &shown["text"]), (&"Title".into(), &"written".into()));
    assert!(!Path::new(fs::read_to_string(&note).unwrap().trim()).exists());

    let output = journal
        .command(&["edit", id(&made)])
        .env("EDITOR", &editor)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(journal.json(&["show", id(&made)])["text"], "written# Title\n\nwritten");
    let output = journal
        .command(&["edit", id(&made)])
        .env("EDITOR", "false")
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn an_edit_changes_what_it_names_and_no_more() {
    let journal = Journal::new();
    let made = journal.json(&["new", "--title", "Before", "one"]);
    assert_eq!(journal.json(&["edit", id(&made), "--append", "two"])["changed"], true);
    assert_eq!(journal.json(&["edit", id(&made), "--title", "After"])["changed"], true);
    let shown = journal.json(&["show", id(&made)]);
    assert_eq!(
        (&shown["title"], &shown["text"]),
        (&"After".into(), &"one\n\ntwo".into())
    );
    assert_eq!(
        journal.json(&["edit", id(&made), "--text", "one\n\ntwo"])["changed"],
        false
    );
    assert_eq!(
        journal.fails(&["edit", id(&made), "--text", "a", "--append", "b"]),
        "usage"
    );
    assert_eq!(journal.json(&["verify"])["ok"], true);
}

#[test]
fn an_entry_goes_back_to_what_it_was_and_forward_again() {
    let journal = Journal::new();
    let made = journal.json(&["new", "one"]);
    let id = id(&made);
    journal.json(&["edit", id, "--text", "one two"]);
    journal.json(&["edit", id, "--title", "numbers"]);
    let history = journal.json(&["history", id]);
    let versions = history["versions"].as_array().unwrap();
    let kinds: Vec<&str> = versions.iter().map(|v| v["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["edit", "edit", "create"]);
    assert!(
        versions
            .iter()
            .all(|v| v["device"] == "laptop" && v["this_device"] == true)
    );
    assert!(
        versions
            .iter()
            .all(|v| v["time"].as_u64().unwrap() >= made["date"].as_u64().unwrap())
    );
    let first = versions[2]["version"].as_str().unwrap().to_owned();
    assert_eq!(journal.json(&["show", id, "--at", &first])["text"], "one");
    assert!(
        journal
            .text(&["show", id, "--at", &first[..8]])
            .contains("laptop  create")
    );
    let shown = |words: &str| {
        let now = journal.json(&["show", id]);
        assert_eq!(
            format!(
                "{} {}",
                now["title"].as_str().unwrap_or("-"),
                now["text"].as_str().unwrap()
            ),
            words
        );
    };
    assert_eq!(journal.json(&["undo", id])["changed"], true);
    shown("- one two");
    assert!(journal.text(&["undo", id]).contains("taken back"));
    shown("- one");
    assert_eq!(journal.json(&["redo", id])["changed"], true);
    shown("- one two");
    assert_eq!(journal.json(&["restore", id, &first])["changed"], true);
    shown("- one");
    assert_eq!(journal.json(&["restore", id, &first])["changed"], false);
    assert_eq!(journal.json(&["redo", id])["changed"], false);
    let history = journal.json(&["history", id, "--limit", "1"]);
    assert_eq!(
        (&history["versions"][0]["kind"], &history["more"]),
        (&Value::from("restore"), &Value::from(true))
    );
    assert_eq!(history["versions"][0]["of"], first.as_str());
    assert_eq!(journal.text(&["history", id]).lines().count(), 7);
    assert_eq!(journal.fails(&["show", id, "--at", "zz"]), "no-version");
    assert_eq!(journal.fails(&["restore", id, "ffffffffffff"]), "no-version");
    assert_eq!(journal.fails(&["undo", "ffffffff"]), "no-document");
}

#[test]
fn an_import_run_again_adds_nothing_twice() {
    let journal = Journal::new();
    let notes = journal.path("notes");
    fs::create_dir_all(notes.join("deep/.hidden")).unwrap();
    let write = |name: &str, text: &str| fs::write(notes.join(name), text).unwrap();
    write(
        "front.md",
        "---\ntitle: Front\ndate: 2024-05-01T10:00:00Z\ntags: [a, b]\n---\ntext",
    );
    write("2024-05-02 walk.md", "# Heading\n\nthe walk");
    write("deep/2024-05-03.markdown", "no title at all");
    write("deep/.hidden/secret.md", "left alone");
    write("empty.md", " \n");
    fs::write(notes.join("latin1.md"), b"Gr\xfc\xdfe").unwrap();
    write("picture.png", "no text");

    let import = || journal.json(&["import", notes.to_str().unwrap()]);
    let first = import();
    assert_eq!(first["added"], 3, "{first}");
    assert_eq!(first["other_files"], 2);
    let mut reasons: Vec<&str> = first["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["reason"].as_str().unwrap())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["empty", "not UTF-8"]);
    assert_eq!(journal.titles(), ["2024-05-03", "Heading", "Front"]);
    let list = journal.json(&["list"]);
    let shown = journal.json(&["show", id(&list["entries"][1])]);
    assert_eq!(shown["text"], "the walk");
    assert_eq!(shown["date"], 1_714_651_200_000_i64);

    let second = import();
    assert_eq!(
        (&second["added"], &second["changed"], &second["unchanged"]),
        (&0.into(), &0.into(), &3.into())
    );

    // What was edited here stays while its file does not change; a file that changed becomes an edit of the same entry.
    journal.json(&["edit", id(&list["entries"][1]), "--append", "edited here"]);
    write(
        "front.md",
        "---\ntitle: Front\ndate: 2024-05-01T10:00:00Z\n---\nanother text",
    );
    let third = import();
    assert_eq!(
        (&third["added"], &third["changed"], &third["unchanged"]),
        (&0.into(), &1.into(), &2.into())
    );
    assert_eq!(
        journal.json(&["show", id(&list["entries"][1])])["text"],
        "the walk\n\nedited here"
    );
    assert_eq!(journal.json(&["show", id(&list["entries"][2])])["text"], "another text");
    assert_eq!(journal.titles().len(), 3);

    // A folder of another name is another source, even if its files are called alike.
    fs::rename(&notes, journal.path("other")).unwrap();
    let other = journal.json(&["import", journal.path("other").to_str().unwrap()]);
    assert_eq!(other["added"], 3);
    assert_eq!(journal.fails(&["import", "/nowhere/at/all"]), "usage");
}

#[test]
fn hundreds_of_files_are_imported_in_few_entries_of_the_log() {
    let journal = Journal::new();
    let notes = journal.path("notes");
    fs::create_dir(&notes).unwrap();
    for number in 0..250 {
        fs::write(
            notes.join(format!("{number}.md")),
            format!("# Note {number}\n\nThe text of note {number}.\n"),
        )
        .unwrap();
    }
    assert_eq!(journal.json(&["import", notes.to_str().unwrap()])["added"], 250);
    let status = journal.json(&["status"]);
    assert_eq!(status["documents"], 250);
    assert_eq!(status["entries"], 3, "one for each batch of 100");
    assert_eq!(journal.text(&["list", "--all"]).lines().count(), 250);
}

#[test]
fn wrong_arguments_and_codes_give_one_line_that_says_what_to_do() {
    let journal = Journal::none();
    for words in [&["list"][..], &["sync"], &["link", "--show"], &["status"]] {
        assert_eq!(journal.fails(words), "no-pod", "{words:?}");
    }
    for words in [
        &[][..],
        &["frobnicate"],
        &["show"],
        &["join"],
        &["join", "rhizome:x", "--show"],
        &["list", "--limit", "0"],
        &["list", "--limit", "many"],
        &["--relay", "sometimes", "list"],
        &["--listen", "here", "list"],
        &["sync", "--deadline", "0"],
    ] {
        assert_eq!(journal.fails(words), "usage", "{words:?}");
    }
    for code in ["hello", "rhizome:", "rhizome:abcdefgh", "http://example.org"] {
        assert_eq!(journal.fails(&["join", code]), "ticket", "{code}");
    }
    assert!(!journal.path("pod").exists(), "nothing was made");

    journal.json(&["init"]);
    assert_eq!(journal.fails(&["link", "rhizome:abcdefgh", "--yes"]), "ticket");
    assert_eq!(journal.fails(&["list", "--after", "yesterday"]), "usage");
    assert_eq!(journal.fails(&["show", "ffffffffffff"]), "no-document");
    // It prints its report too, so it is not among those that say one line and no more.
    let output = journal.run(&["--json", "sync"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"], "no-peer");
}

#[test]
fn no_pod_named_is_said_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_journal"))
        .arg("list")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("journal: say which pod: journal --pod DIR") && line.lines().count() == 1,
        "{line}"
    );
    let help = Command::new(env!("CARGO_BIN_EXE_journal"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success() && !String::from_utf8(help.stdout).unwrap().contains("burst"));
}

#[test]
fn each_number_of_a_burst_is_printed_once_it_is_durable() {
    let journal = Journal::new();
    let acks = journal.path("acks");
    let text = journal.text(&["burst", "--count", "5", "--ack-file", acks.to_str().unwrap()]);
    assert_eq!(text, "1\n2\n3\n4\n5\n");
    assert_eq!(fs::read_to_string(acks).unwrap(), text);
    assert_eq!(journal.titles().len(), 5);
}

/// The code that a `--show` command prints first.
fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (line.trim().to_owned(), stdout)
}

/// A second device, and what its `join` said.
fn join(phone: &Journal, name: &str) -> (Journal, Value) {
    let tablet = Journal::none();
    let mut showing = phone.start_piped(&["link", "--show", "--yes"]);
    let (code, _stdout) = first_line(&mut showing);
    assert!(code.starts_with("rhizome:"), "{code}");
    let joined = tablet.json(&["join", &code, "--name", name, "--yes"]);
    assert!(showing.wait().unwrap().success());
    (tablet, joined)
}

/// Somebody wrote first, and linked their other device afterwards: in a folder of its own, which takes the first one in.
#[test]
fn what_was_written_before_a_device_joined_moves_in() {
    let phone = Journal::new();
    phone.json(&["new", "on the phone"]);
    let (laptop, _) = join(&phone, "laptop");
    // The folder from before, with its secret beside the other.
    let old = laptop.path("old").to_string_lossy().into_owned();
    let before = |words: &[&str]| {
        let output = laptop.command_in("old", words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    before(&["init", "--name", "laptop"]);
    before(&["new", "one from before"]);
    before(&["new", "two from before"]);
    assert_eq!(laptop.json(&["take-in", &old])["entries"], 2);
    let texts = laptop.text(&["list", "--all"]);
    assert!(
        texts.contains("one from before") && texts.contains("two from before"),
        "{texts}"
    );
    assert_eq!(laptop.json(&["take-in", &old])["entries"], 0);
    assert!(before(&["list", "--all"]).contains("one from before"));
    assert_eq!(laptop.fails(&["take-in", "nowhere"]), "no-pod");
}

#[test]
fn a_second_device_joins_by_a_code() {
    let phone = Journal::new();
    phone.json(&["new", "from the phone"]);
    let (_tablet, joined) = join(&phone, "tablet");
    assert_eq!(joined["did"], phone.json(&["did"])["did"]);
    let names: Vec<Value> = phone.json(&["status"])["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["name"].clone())
        .collect();
    assert!(
        names.contains(&"tablet".into()) && names.contains(&"laptop".into()),
        "{names:?}"
    );
}

#[test]
fn a_link_that_a_person_declines_is_not_made() {
    let (phone, tablet) = (Journal::new(), Journal::none());
    let mut showing = tablet.start_piped(&["join", "--show"]);
    let (code, _stdout) = first_line(&mut showing);
    showing.stdin.take().unwrap().write_all(b"n\n").unwrap();
    let output = phone.run(&["link", &code, "--device", "--yes"]);
    assert!(!output.status.success(), "{output:?}");
    assert!(!showing.wait().unwrap().success());
    assert_eq!(phone.json(&["status"])["peers"].as_array().unwrap().len(), 1);
    assert_eq!(tablet.fails(&["list"]), "no-pod");
}

/// A cloud peer in this process, and what keeps it going.
struct Cloud {
    peer: rhizome_cloud::Peer,
    runtime: tokio::runtime::Runtime,
}

impl Cloud {
    fn start(data: &Path) -> Self {
        let mut options = rhizome_cloud::PeerOptions::new(data);
        options.net.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let peer = runtime.block_on(rhizome_cloud::Peer::start(options)).unwrap();
        Self { peer, runtime }
    }

    fn code(&self) -> String {
        let _entered = self.runtime.enter();
        self.peer.code(std::time::Duration::from_secs(600)).to_string()
    }
}

fn names(devices: &Value) -> Vec<&str> {
    let devices = devices.as_array().unwrap().iter();
    let mut names: Vec<&str> = devices.map(|device| device["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_words_and_the_cloud_peer_bring_everything_back() {
    let lost = Journal::none();
    let words = lost.json(&["init", "--name", "phone"])["words"]
        .as_str()
        .unwrap()
        .to_owned();
    let cloud = Cloud::start(&lost.path("cloud"));
    let linked = lost.json(&["link", &cloud.code(), "--yes"]);
    let address = linked["address"].as_str().unwrap();
    let made = lost.json(&["new", "--title", "Kept", "a line"]);
    lost.json(&["sync"]);
    let did = lost.json(&["did"])["did"].clone();

    let new = Journal::none();
    assert_eq!(new.fails(&["recover"]), "usage");
    assert_eq!(new.fails(&["recover", "--peer", "somewhere"]), "usage");
    let recover = ["recover", "--peer", address, "--name", "new phone"];
    assert_eq!(new.fails_with_words(&recover, ""), "wrong-words");
    assert_eq!(new.fails_with_words(&recover, "abandon ability"), "wrong-words");
    // As a person types them.
    let typed = format!("{}\n", words.to_uppercase().replace(' ', "\n  "));
    let recovered = new.json_with_words(&recover, &typed);
    assert_eq!((&recovered["did"], &recovered["name"]), (&did, &"new phone".into()));
    new.json(&["sync"]);
    assert_eq!(new.json(&["show", id(&made)])["text"], "a line");
    assert_eq!(
        names(&new.json(&["devices"])["devices"]),
        ["cloud", "new phone", "phone"]
    );

    // The lost one is put out, and said to keep what it had.
    let text = new.text(&["remove", "phone", "--yes"]);
    assert!(text.contains("It keeps, and can read, what it had until now"), "{text}");
    new.json(&["sync"]);
    let devices = new.json(&["devices"]);
    assert_eq!(names(&devices["devices"]), ["cloud", "new phone"]);
    assert_eq!(names(&devices["removed"]), ["phone"]);
    assert_eq!(devices["removed"][0]["ordered"], true);
    let text = new.text(&["devices"]);
    assert!(
        text.contains("removed:\n  phone (") && text.contains("cloud peer   cloud ("),
        "{text}"
    );
    assert_eq!(new.fails(&recover), "nothing-lost");
}

#[test]
fn the_words_open_a_folder_whose_secret_is_gone() {
    let journal = Journal::none();
    let words = journal.json(&["init"])["words"].as_str().unwrap().to_owned();
    let made = journal.json(&["new", "never sent"]);
    fs::remove_dir_all(journal.path("keys")).unwrap();
    let output = journal.run(&["list"]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains(" recover`"), "{line}");
    let other = Journal::none();
    let others = other.json(&["init"])["words"].as_str().unwrap().to_owned();
    assert_eq!(journal.fails_with_words(&["recover"], &others), "wrong-words");
    assert_eq!(journal.json_with_words(&["recover"], &words)["event"], "opened");
    assert_eq!(journal.json(&["show", id(&made)])["text"], "never sent");
}

#[test]
fn devices_are_renamed_and_removed_by_name_or_key() {
    let phone = Journal::new();
    let (_tablet, _) = join(&phone, "tablet");
    let devices = phone.json(&["devices"]);
    assert_eq!(names(&devices["devices"]), ["laptop", "tablet"]);
    let all = devices["devices"].as_array().unwrap();
    let tablet = all.iter().find(|device| device["name"] == "tablet").unwrap();
    let key = tablet["key"].as_str().unwrap();
    assert_eq!(
        phone.json(&["devices", "rename", &key[..16], "old tablet"])["name"],
        "old tablet"
    );
    assert_eq!(names(&phone.json(&["devices"])["devices"]), ["laptop", "old tablet"]);
    phone.json(&["devices", "rename", "old tablet", "laptop"]);
    assert_eq!(phone.fails(&["remove", "laptop", "--yes"]), "ambiguous");
    assert_eq!(phone.fails(&["remove", "nobody", "--yes"]), "no-device");
    // Nobody says yes.
    let output = phone.run(&["remove", key]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("can read, what it had"),
        "{said}"
    );
    assert!(said.ends_with("scripts say --yes)\n"), "{said}");
    assert_eq!(phone.json(&["devices"])["removed"], serde_json::json!([]));
    let output = phone.with_stdin(&["remove", key], "yes\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(phone.json(&["devices"])["removed"][0]["key"], key);
    assert_eq!(phone.fails(&["remove", "laptop"]), "usage", "not the device itself");
}

#[test]
fn the_words_change_and_take_a_journal_back() {
    let laptop = Journal::none();
    let words = laptop.json(&["init", "--name", "laptop"])["words"]
        .as_str()
        .unwrap()
        .to_owned();
    let (phone, _) = join(&laptop, "phone");
    let made = laptop.json(&["words", "change"]);
    assert_eq!(
        (made["words"].as_str().unwrap().split(' ').count(), &made["at_once"]),
        (24, &false.into())
    );
    let at = laptop.json(&["devices"])["words_change_at"].as_u64().unwrap();
    let hours = at / 3_600_000 - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    assert!((71..=73).contains(&hours), "{hours}");
    for command in ["devices", "status"] {
        assert!(laptop.text(&[command]).contains("journal take-back"), "{command}");
    }
    // They call it off, and put the phone out.
    assert_eq!(
        laptop.fails_with_words(&["take-back", "phone"], made["words"].as_str().unwrap()),
        "wrong-words"
    );
    assert_eq!(laptop.fails_with_words(&["take-back", "laptop"], &words), "usage");
    assert_eq!(
        laptop.json_with_words(&["take-back", "phone"], &words)["event"],
        "taken-back"
    );
    let devices = laptop.json(&["devices"]);
    assert_eq!(devices["words_change_at"], Value::Null);
    assert_eq!(
        (names(&devices["devices"]), names(&devices["removed"])),
        (vec!["laptop"], vec!["phone"])
    );
    assert_eq!(
        phone.json(&["devices"])["removed"],
        serde_json::json!([]),
        "it knows nothing of it yet"
    );
    // With the present words others count at once.
    let fresh = laptop.json_with_words(&["words", "change", "--at-once"], &words);
    assert_eq!(
        laptop.fails_with_words(&["words", "change", "--at-once"], &words),
        "wrong-words"
    );
    laptop.json_with_words(&["words", "change", "--at-once"], fresh["words"].as_str().unwrap());
    let text = laptop.text(&["words", "change"]);
    assert!(text.contains("72 hours") && text.contains("24 "), "{text}");
}

#[test]
fn a_deleted_entry_is_hidden_listed_in_the_trash_and_comes_back() {
    let journal = Journal::new();
    let kept = journal.json(&["new", "--title", "Kept", "the fox stays"]);
    let made = journal.json(&["new", "--title", "Gone\u{1b}[31m", "--tag", "sea", "the fox goes"]);
    let made = id(&made);
    journal.json(&["edit", made, "--text", "the fox went"]);
    assert_eq!(journal.json(&["trash"])["trash"], serde_json::json!([]));
    let deleted = journal.json(&["delete", made]);
    assert_eq!((id(&deleted), &deleted["at_once"]), (made, &false.into()));
    // This device puts things in order: it can say when.
    let due = deleted["due"].as_u64().unwrap();
    let hours = due / 3_600_000 - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    assert!((167..=169).contains(&hours), "{hours}");
    assert_eq!(journal.titles(), ["Kept"]);
    let found = journal.json(&["search", "fox"]);
    assert_eq!(found["entries"].as_array().unwrap().len(), 1);
    assert!(
        journal.json(&["list", "--tag", "sea"])["entries"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let trash = &journal.json(&["trash"])["trash"];
    assert_eq!(trash.as_array().unwrap().len(), 1);
    assert_eq!(
        (id(&trash[0]), &trash[0]["device"], &trash[0]["due"]),
        (made, &"laptop".into(), &deleted["due"])
    );
    let text = journal.text(&["trash"]);
    assert!(
        text.contains("  Gone [31m  (gone for good on 2") && text.contains("by laptop") && text.lines().count() == 1,
        "{text}"
    );
    // Nothing else is done with it, and each command says why.
    for words in [
        &["show", made][..],
        &["show", made, "--at", "00"],
        &["history", made],
        &["undo", made],
        &["redo", made],
        &["restore", made, "00"],
        &["edit", made, "--text", "x"],
        &["attach", made, "/dev/null"],
        &["attachments", made],
        &["delete", made],
    ] {
        assert_eq!(journal.fails(words), "no-document", "{words:?}");
        let line = String::from_utf8(journal.run(words).stderr).unwrap();
        assert!(line.contains(&format!("`journal undelete {made}`")), "{line}");
    }
    assert_eq!(journal.fails(&["undelete", id(&kept)]), "no-document");
    assert_eq!(journal.fails(&["undelete", "zz"]), "no-document");
    assert_eq!(journal.json(&["undelete", &made[..8]])["undeleted"], true);
    assert_eq!(journal.json(&["show", made])["text"], "the fox went");
    assert_eq!(
        journal.json(&["history", made])["versions"].as_array().unwrap().len(),
        2
    );
    assert_eq!(journal.json(&["trash"])["trash"], serde_json::json!([]));
    assert_eq!(journal.fails(&["undelete", made]), "no-document");
    let text = journal.text(&["delete", &made[..6]]);
    assert!(
        text.contains("deleted; gone for good on 2") && text.contains("`journal undelete "),
        "{text}"
    );
    assert_eq!(journal.json(&["verify"])["ok"], true);
}

#[test]
fn with_the_words_an_entry_goes_at_once() {
    let journal = Journal::none();
    let words = journal.json(&["init", "--name", "laptop"])["words"]
        .as_str()
        .unwrap()
        .to_owned();
    let (phone, _) = join(&journal, "phone");
    let other = Journal::none();
    let others = other.json(&["init"])["words"].as_str().unwrap().to_owned();
    let [first, second] = ["first", "second"].map(|text| id(&journal.json(&["new", text])).to_owned());
    let at_once = |entry: &str, words: &str| journal.fails_with_words(&["delete", entry, "--at-once"], words);
    assert_eq!(at_once(&first, &others), "wrong-words");
    assert_eq!(at_once(&first, "abandon ability"), "wrong-words");
    assert_eq!(at_once("ffffffffffff", &words), "no-document");
    assert_eq!(journal.json(&["show", &first])["text"], "first");
    let deleted = journal.json_with_words(&["delete", &first, "--at-once"], &words);
    assert_eq!(
        (id(&deleted), &deleted["at_once"], &deleted["due"]),
        (first.as_str(), &true.into(), &Value::Null)
    );
    // What is in the trash goes too.
    journal.json(&["delete", &second]);
    let output = journal.with_stdin(&["delete", &second, "--at-once"], &words);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("nothing brings it back"), "{text}");
    for entry in [&first, &second] {
        assert_eq!(journal.fails(&["show", entry]), "no-document");
        assert_eq!(journal.fails(&["undelete", entry]), "no-document");
    }
    assert_eq!(journal.json(&["trash"])["trash"], serde_json::json!([]));
    assert_eq!(journal.json(&["verify"])["ok"], true);
    // A device that orders nothing says so.
    let third = id(&phone.json(&["new", "third"])).to_owned();
    assert_eq!(phone.json(&["delete", &third])["due"], Value::Null);
    assert!(phone.text(&["trash"]).contains("waits for its order"));
}

#[test]
fn a_file_is_attached_listed_and_saved_on_another_device() {
    let phone = Journal::new();
    let peer = Cloud::start(&phone.path("cloud"));
    phone.json(&["link", &peer.code(), "--yes"]);
    let (tablet, _) = join(&phone, "tablet");
    let entry = id(&phone.json(&["new", "at the sea"])).to_owned();
    let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 253) as u8).collect();
    fs::write(phone.path("sea.jpg"), &bytes).unwrap();
    fs::write(phone.path("small.webp"), b"a small picture").unwrap();
    let (file, small) = (phone.path("sea.jpg"), phone.path("small.webp"));
    let (file, small) = (file.to_str().unwrap(), small.to_str().unwrap());
    let attached = phone.json(&["attach", &entry, file, "--thumbnail", small]);
    assert_eq!(attached["size"], 400_000);
    assert_eq!(phone.fails(&["attach", &entry, "/nowhere/at.all"]), "system");
    let listed = &phone.json(&["attachments", &entry])["attachments"][0];
    assert_eq!(
        (&listed["name"], &listed["type"], &listed["here"]),
        (&"sea.jpg".into(), &"image/jpeg".into(), &true.into())
    );
    assert_eq!(listed["held_by"].as_array().unwrap().len(), 0);
    assert!(phone.text(&["attachments", &entry]).contains("only here"));
    phone.json(&["sync"]);
    assert!(
        phone
            .text(&["attachments", &entry])
            .contains("here and on a cloud peer")
    );

    tablet.json(&["sync"]);
    let listed = &tablet.json(&["attachments", &entry])["attachments"][0];
    assert_eq!((&listed["name"], &listed["here"]), (&"sea.jpg".into(), &false.into()));
    let folder = tablet.path("saved");
    let saved = tablet.json(&["attachments", &entry, "--save", folder.to_str().unwrap()]);
    let saved = saved["attachments"][0]["saved"].as_str().unwrap().to_owned();
    assert!(
        Path::new(&saved).starts_with(&folder) && saved.ends_with("-sea.jpg"),
        "{saved}"
    );
    assert!(fs::read(&saved).unwrap() == bytes);
    // Nothing is written over.
    assert_eq!(
        tablet.fails(&["attachments", &entry, "--save", folder.to_str().unwrap()]),
        "system"
    );
}
