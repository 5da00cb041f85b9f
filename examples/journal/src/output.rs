//! The only module that prints.

use std::io::{self, BufRead, IsTerminal, Write};

use rhizome::CodeMatrix;
use serde_json::{Value as Json, json};

use crate::failure::Failure;

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line, or one JSON value.
    pub fn result(&self, json: &Json, people: impl FnOnce() -> String) {
        if self.json {
            self.text(&json.to_string());
        } else {
            self.text(&people());
        }
    }

    /// A line on stdout, at once.
    pub fn text(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            // Whoever read it has gone, as `head` does.
            std::process::exit(0);
        }
    }

    /// Bold where a person sees it: on a terminal, unless `NO_COLOR` is set, and elsewhere if `CLICOLOR_FORCE` is.
    pub fn bold(&self, text: &str) -> String {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        if set("CLICOLOR_FORCE") || io::stdout().is_terminal() && !set("NO_COLOR") {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A remark for people that is no result.
    pub fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// One line on stderr.
    pub fn failure(&self, failure: &Failure) {
        let line = if self.json {
            json!({"error": failure.kind, "message": failure.message}).to_string()
        } else {
            format!("journal: {}", failure.message.replace('\n', " "))
        };
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A code, also as a picture that a phone can scan when a person sits before the screen.
    pub fn code(&self, code: &str, expires: u64) {
        self.result(&json!({"event": "code", "code": code, "expires": expires}), || {
            code.to_owned()
        });
        if !self.json
            && io::stderr().is_terminal()
            && let Some(matrix) = CodeMatrix::of(code)
        {
            self.note(&matrix.blocks(true));
        }
    }
}

/// Says what is asked for; the answer is typed on the same line.
pub fn prompt(text: &str) {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
}

/// Asks a person yes or no. Only `yes` is yes.
pub fn confirmed(question: &str) -> bool {
    prompt(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if !io::stdin().is_terminal() {
        prompt("\n");
    }
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A person's words as one line of a terminal: no control characters, cut to `width` characters.
pub fn one_line(text: &str, width: usize) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words
        .iter()
        .filter(|word| !word.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let cut: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// A person's words with their lines, and nothing in them that commands a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Bytes, for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..=999 => format!("{count} B"),
        1_000..=999_999 => format!("{}.{} kB", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// `1 entry`, `2 entries`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
