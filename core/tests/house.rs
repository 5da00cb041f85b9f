//! Holds the house to its plan: each folder of `core/src` uses only those above it, SQL stands in `store/`, sockets in `net/`, and the pure
//! folders take time, disk and randomness from their caller. Secret bytes are a `Secret`, which compares in constant time.
//!
//! It reads the sources as tokens (comments and strings set apart), not as the compiler does: what is hidden behind a renamed import of a whole
//! crate gets past it. It is a fence along the path, not a wall.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top of the house down; see ARCHITECTURE.md.
const ORDER: [&str; 10] = [
    "crypto", "identity", "log", "store", "reduce", "document", "snapshot", "sync", "net", "pod",
];

/// Stands beside `pod`, below everything: it knows every folder's own errors, so no folder may know it.
const BESIDE_POD: &str = "error";

/// Input in, actions out.
const PURE: [&str; 6] = ["crypto", "identity", "log", "reduce", "snapshot", "sync"];

#[test]
fn every_folder_keeps_its_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    list_files(&src, &mut files);
    files.sort();
    let mut found = Vec::new();
    let mut sources = 0;
    for path in &files {
        let name = path.strip_prefix(&src).expect("listed under src");
        let name = name.to_str().expect("a file name in UTF-8").replace('\\', "/");
        if name.ends_with(".rs") {
            sources += 1;
            let text = fs::read_to_string(path).expect("a source that can be read");
            found.extend(check(&name, &text));
        } else if name.ends_with(".sql") && !name.starts_with("store/") {
            found.push(Finding {
                file: name,
                line: 1,
                rule: "SQL stands in store/ only".into(),
            });
        }
    }
    assert!(sources > 0, "no sources in {}", src.display());
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", lines.join("\n"));
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            list_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

struct Finding {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core/src/{}:{}: {}", self.file, self.line, self.rule)
    }
}

// ---- The rules ----

/// All findings in one file. `file` is its path in `core/src`.
fn check(file: &str, text: &str) -> Vec<Finding> {
    let module = module_of(file);
    let room = module.first().map(String::as_str);
    let (tokens, strings) = lex(text);
    let mut found = Vec::new();
    let mut report = |line: usize, rule: String| {
        if !found.iter().any(|f: &Finding| f.line == line && f.rule == rule) {
            found.push(Finding {
                file: file.into(),
                line,
                rule,
            });
        }
    };

    if let Some(room) = room
        && rank(room).is_none()
    {
        report(
            1,
            format!(
                "{room} has no place in the house; the order is {}, with error beside pod",
                ORDER.join(", ")
            ),
        );
    }

    for path in paths(&tokens, &module) {
        if let Some(room) = room
            && let Some(used) = &path.in_crate
        {
            order_rule(room, used, path.line, &mut report);
        }
        library_rules(room, &path, &mut report);
    }

    for (i, token) in tokens.iter().enumerate() {
        // The clock behind a stored Instant: `start.elapsed()`.
        if is_pure(room) && token.text == "elapsed" && i > 0 && tokens[i - 1].text == "." {
            report(token.line, pure_rule("elapsed() reads a clock", room));
        }
    }

    if file != "crypto/secret.rs" {
        for line in bare_secrets(&tokens) {
            report(
                line,
                "secret bytes are a crypto::Secret: an array leaves copies and compares byte by byte".into(),
            );
        }
    }

    if room != Some("store") {
        for string in &strings {
            if looks_like_sql(&string.text) {
                report(string.line, "SQL stands in store/ only".into());
            }
        }
    }
    found
}

/// Lines with `Zeroizing<[u8; N]>`, or a field or parameter by the name of a secret that is an array by value.
fn bare_secrets(tokens: &[Token]) -> Vec<usize> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let array = |at: usize| is(at, "[") && is(at + 1, "u8") && is(at + 2, ";");
    let found = (0..tokens.len()).filter(|&at| {
        let named = ["secret", "seed", "scalar", "key", "entropy"]
            .iter()
            .any(|name| is(at, name));
        (is(at, "Zeroizing") && is(at + 1, "<") && array(at + 2)) || (named && is(at + 1, ":") && array(at + 2))
    });
    found.map(|at| tokens[at].line).collect()
}

fn order_rule(room: &str, used: &str, line: usize, report: &mut impl FnMut(usize, String)) {
    let Some(own) = rank(room) else { return };
    if own == ORDER.len() - 1 {
        return;
    }
    match rank(used) {
        Some(other) if other <= own => {}
        Some(_) => report(
            line,
            format!(
                "{room} uses crate::{used}, which stands below it; the order is {}",
                ORDER.join(", ")
            ),
        ),
        None => report(
            line,
            format!("{room} uses crate::{used}; name the folder it comes from, so that its place can be checked"),
        ),
    }
}

fn library_rules(room: Option<&str>, path: &UsedPath, report: &mut impl FnMut(usize, String)) {
    let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
    let first = names[0];
    let has = |name: &str| names.contains(&name);
    // `iroh` alone may be a variable; `iroh::…` and `use iroh` are the library.
    let of = |library: &str| first == library && (names.len() > 1 || path.imported);
    let starts = |start: &[&str]| names.starts_with(start);
    let said = names.join("::");

    if room != Some("store") && (of("rusqlite") || of("libsqlite3_sys")) {
        report(path.line, format!("{said}: SQL stands in store/ only"));
    }
    let sockets = [
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "UnixDatagram",
        "ToSocketAddrs",
    ];
    if room != Some("net")
        && (of("iroh") || of("noq") || of("socket2") || starts(&["tokio", "net"]) || sockets.iter().any(|s| has(s)))
    {
        report(path.line, format!("{said}: a socket stands in net/ only"));
    }
    let random = ["getrandom", "rand", "rand_core", "rand_chacha", "fastrand"];
    if room != Some("crypto") && (random.iter().any(|library| of(library)) || has("OsRng")) {
        report(path.line, format!("{said}: only crypto/ draws random bytes"));
    }
    if is_pure(room) {
        if starts(&["std", "fs"]) || starts(&["tokio", "fs"]) || first == "fs" && names.len() > 1 {
            report(path.line, pure_rule(&format!("{said} touches the disk"), room));
        }
        let now = |clock: &str| names.windows(2).any(|pair| pair == [clock, "now"]);
        if now("SystemTime") || now("Instant") || now("Utc") || now("Local") || starts(&["tokio", "time"]) {
            report(path.line, pure_rule(&format!("{said} reads a clock"), room));
        }
    }
}

fn pure_rule(what: &str, room: Option<&str>) -> String {
    format!(
        "{what}; {} is pure: let the caller pass it in",
        room.unwrap_or_default()
    )
}

fn is_pure(room: Option<&str>) -> bool {
    room.is_some_and(|room| PURE.contains(&room))
}

fn rank(room: &str) -> Option<usize> {
    if room == BESIDE_POD {
        Some(ORDER.len() - 1)
    } else {
        ORDER.iter().position(|name| *name == room)
    }
}

/// Statements are known by their words in capitals anywhere, or in small letters at the start of the string.
fn looks_like_sql(text: &str) -> bool {
    let statements: [&[&str]; 14] = [
        &["SELECT", "FROM"],
        &["SELECT", "COUNT"],
        &["INSERT", "INTO"],
        &["REPLACE", "INTO"],
        &["UPDATE", "SET"],
        &["DELETE", "FROM"],
        &["CREATE", "TABLE"],
        &["CREATE", "INDEX"],
        &["CREATE", "UNIQUE"],
        &["CREATE", "VIRTUAL"],
        &["ALTER", "TABLE"],
        &["DROP", "TABLE"],
        &["ATTACH", "DATABASE"],
        &["PRAGMA"],
    ];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let in_order = |statement: &[&str], small: bool| {
        let mut rest = words.iter();
        statement.iter().all(|part| {
            rest.any(|word| {
                if small {
                    *word == part.to_lowercase()
                } else {
                    word == part
                }
            })
        })
    };
    statements.iter().any(|statement| {
        in_order(statement, false)
            || words.first().is_some_and(|first| *first == statement[0].to_lowercase()) && in_order(statement, true)
    })
}

// ---- Paths ----

/// A path as written, its groups taken apart: `use a::{b, c::d}` is `a::b` and `a::c::d`.
struct UsedPath {
    names: Vec<String>,
    line: usize,
    /// Stands right behind `use` or `extern crate`.
    imported: bool,
    /// The first name below the crate's root, if the path leads there by `crate`, `super` or `self`.
    in_crate: Option<String>,
}

/// `log/entry.rs` is the module log, entry; `lib.rs` is the root.
fn module_of(file: &str) -> Vec<String> {
    let file = file.strip_suffix(".rs").unwrap_or(file);
    let mut module: Vec<String> = file.split('/').map(String::from).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn paths(tokens: &[Token], module: &[String]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    // `mod name {` opened at this depth of braces.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        match text {
            "{" => depth += 1,
            "}" => {
                depth -= 1.min(depth);
                inline.retain(|(opened, _)| *opened < depth);
            }
            _ => {}
        }
        if text == "mod" && at + 2 < tokens.len() && tokens[at + 2].text == "{" {
            inline.push((depth, tokens[at + 1].text.clone()));
        }
        if !tokens[at].is_name() {
            at += 1;
            continue;
        }
        let before = at.checked_sub(1).map(|i| tokens[i].text.as_str());
        let before = if before == Some("::") {
            at.checked_sub(2).map(|i| tokens[i].text.as_str())
        } else {
            before
        };
        let imported = matches!(before, Some("use" | "crate"));
        let first = found.len();
        at = walk(tokens, at, Vec::new(), &mut found);
        let here: Vec<&str> = module
            .iter()
            .chain(inline.iter().map(|(_, name)| name))
            .map(String::as_str)
            .collect();
        for path in &mut found[first..] {
            path.imported = imported;
            path.in_crate = in_crate(&path.names, &here);
        }
    }
    found
}

/// Follows one path from the name at `at`; gives the place behind it.
fn walk(tokens: &[Token], mut at: usize, mut names: Vec<String>, found: &mut Vec<UsedPath>) -> usize {
    let text = |i: usize| tokens.get(i).map(|token| token.text.as_str());
    let line = tokens[at].line;
    loop {
        names.push(tokens[at].text.clone());
        at += 1;
        if text(at) != Some("::") {
            break;
        }
        match text(at + 1) {
            Some("{") => return walk_group(tokens, at + 2, &names, found),
            Some("*") => {
                names.push("*".into());
                at += 2;
                break;
            }
            Some(_) if tokens[at + 1].is_name() => at += 1,
            _ => {
                at += 1;
                break;
            }
        }
    }
    found.push(UsedPath {
        names,
        line,
        imported: false,
        in_crate: None,
    });
    at
}

/// What stands between the braces of a `use`; `at` is behind the opening one.
fn walk_group(tokens: &[Token], mut at: usize, names: &[String], found: &mut Vec<UsedPath>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "{" => at = walk_group(tokens, at + 1, names, found),
            "as" => at += 2,
            "*" => {
                let mut names = names.to_vec();
                names.push("*".into());
                found.push(UsedPath {
                    names,
                    line: token.line,
                    imported: false,
                    in_crate: None,
                });
                at += 1;
            }
            _ if token.is_name() => at = walk(tokens, at, names.to_vec(), found),
            _ => at += 1,
        }
    }
    at
}

fn in_crate(names: &[String], here: &[&str]) -> Option<String> {
    let mut place = here.to_vec();
    let mut rest = names.iter().map(String::as_str).peekable();
    match rest.next()? {
        "crate" => place.clear(),
        "self" => {}
        "super" => {
            place.pop()?;
        }
        _ => return None,
    }
    while rest.peek() == Some(&"super") {
        rest.next();
        place.pop()?;
    }
    if place.is_empty() {
        rest.next().map(String::from)
    } else {
        None
    }
}

// ---- Tokens ----

struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Names, numbers and signs without comments, and apart from them the string literals.
fn lex(text: &str) -> (Vec<Token>, Vec<Token>) {
    let chars: Vec<char> = text.chars().collect();
    let get = |i: usize| chars.get(i).copied();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (mut tokens, mut strings) = (Vec::new(), Vec::new());
    let (mut at, mut line) = (0, 1);
    while let Some(c) = get(at) {
        let start = at;
        if c == '/' && get(at + 1) == Some('/') {
            while get(at).is_some_and(|c| c != '\n') {
                at += 1;
            }
        } else if c == '/' && get(at + 1) == Some('*') {
            let mut depth = 1;
            at += 2;
            while depth > 0 && at < chars.len() {
                match (chars[at], get(at + 1)) {
                    ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
                    ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
            }
        } else if c == '"' {
            at = string_end(&chars, at);
            strings.push(Token {
                text: unescaped(&chars[start + 1..at.max(start + 2) - 1]),
                line,
            });
        } else if c == '\'' {
            // A lifetime unless a closing quote says otherwise.
            if get(at + 1) == Some('\\') {
                at += 3;
                while get(at).is_some_and(|c| c != '\'') {
                    at += 1;
                }
                at += 1;
            } else if get(at + 2) == Some('\'') {
                at += 3;
            } else {
                at += 1;
                while is_word(get(at)) {
                    at += 1;
                }
            }
        } else if is_word(Some(c)) {
            while is_word(get(at)) {
                at += 1;
            }
            let name: String = chars[start..at].iter().collect();
            let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
            if matches!(name.as_str(), "r" | "br" | "cr") && get(at + hashes) == Some('"') {
                let open = at + hashes + 1;
                let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                at = open;
                while at < chars.len() && !chars[at..].starts_with(&close) {
                    at += 1;
                }
                strings.push(Token {
                    text: chars[open..at].iter().collect(),
                    line,
                });
                at += close.len();
            } else if matches!(name.as_str(), "b" | "c") && matches!(get(at), Some('"' | '\'')) {
                // The prefix of a literal; the literal comes next.
            } else if name == "r" && hashes == 1 && is_word(get(at + 1)) {
                at += 1; // r#name
            } else {
                tokens.push(Token { text: name, line });
            }
        } else if c == ':' && get(at + 1) == Some(':') {
            at += 2;
            tokens.push(Token {
                text: "::".into(),
                line,
            });
        } else {
            at += 1;
            if !c.is_whitespace() {
                tokens.push(Token { text: c.into(), line });
            }
        }
        at = at.min(chars.len());
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    (tokens, strings)
}

/// The place behind the closing quote of the string that opens at `at`.
fn string_end(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Enough for looking at words: every escape is a space.
fn unescaped(chars: &[char]) -> String {
    let mut text = String::new();
    let mut rest = chars.iter();
    while let Some(c) = rest.next() {
        if *c == '\\' {
            rest.next();
            text.push(' ');
        } else {
            text.push(*c);
        }
    }
    text
}

/// Each rule can fail.
mod the_checker {
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<String> {
        check(file, text).iter().map(Finding::to_string).collect()
    }

    #[track_caller]
    fn finds(file: &str, text: &str, line: usize, rule: &str) {
        let found = lines(file, text);
        assert_eq!(found.len(), 1, "{file}: {text}\n{found:?}");
        assert!(found[0].starts_with(&format!("core/src/{file}:{line}: ")), "{found:?}");
        assert!(found[0].contains(rule), "{found:?}");
    }

    #[track_caller]
    fn passes(file: &str, text: &str) {
        let found = lines(file, text);
        assert!(found.is_empty(), "{file}: {text}\n{found:?}");
    }

    #[test]
    fn finds_a_folder_that_uses_one_below_it() {
        let rule = "which stands below it";
        finds("crypto.rs", "use crate::log::Entry;", 1, rule);
        finds(
            "log/entry.rs",
            "//! Entries.\n\nuse crate::store::Store;",
            3,
            "log uses crate::store",
        );
        finds(
            "log/entry.rs",
            "use crate::{crypto::Hash, log, sync::Message};",
            1,
            "log uses crate::sync",
        );
        finds(
            "log/a.rs",
            "use crate::{\n    crypto::{Hash, Key},\n    net::{self, Driver},\n};",
            3,
            "log uses crate::net",
        );
        finds("log/entry.rs", "use {std::fmt, crate::pod};", 1, "log uses crate::pod");
        finds("log/entry.rs", "fn f() -> crate::store::Store { x }", 1, rule);
        finds(
            "log/entry.rs",
            "macro_rules! m { () => { $crate::store::x() } }",
            1,
            rule,
        );
        finds("log/entry.rs", "type T = Vec::<crate::store::Row>;", 1, rule);
        finds("sync/deep/er.rs", "use crate::net;", 1, "sync uses crate::net");
        finds("net.rs", "use crate::error::Error;", 1, rule);
        finds("net.rs", "#[cfg(test)] mod tests { use crate::pod::Pod; }", 1, rule);
        for (i, lower) in ORDER.iter().enumerate() {
            for upper in &ORDER[..i] {
                finds(&format!("{upper}/a.rs"), &format!("use crate::{lower}::X;"), 1, rule);
                passes(&format!("{lower}/a.rs"), &format!("use crate::{upper}::X;"));
            }
        }
    }

    #[test]
    fn finds_the_same_by_way_of_super() {
        finds("log.rs", "use super::store::Store;", 1, "log uses crate::store");
        finds(
            "log/entry.rs",
            "use super::super::store::Store;",
            1,
            "log uses crate::store",
        );
        finds(
            "log/a.rs",
            "mod tests { use super::super::super::{crypto, store}; }",
            1,
            "log uses crate::store",
        );
        finds(
            "log.rs",
            "mod a { mod b {} }\nuse self::super::store;",
            2,
            "log uses crate::store",
        );
        passes(
            "log/a.rs",
            "use super::store::Store; mod tests { use super::*; use super::super::net; }",
        );
    }

    #[test]
    fn finds_what_hides_its_folder() {
        finds("log.rs", "use crate::Entry;", 1, "name the folder");
        finds("log.rs", "use crate::*;", 1, "name the folder");
        finds("helpers.rs", "fn f() {}", 1, "has no place in the house");
        finds("helpers/time.rs", "fn f() {}", 1, "has no place in the house");
    }

    #[test]
    fn lets_each_folder_use_itself_and_those_above() {
        passes(
            "log/a.rs",
            "use crate::crypto::{self, Hash}; use crate::{identity, log::b::B}; pub(crate) fn f() {}",
        );
        passes("net/driver.rs", "use crate::{sync, store, document as d};");
        passes("pod.rs", "use crate::{crypto, net, error::Error, Anything};");
        passes("error.rs", "use crate::{net::NetError, pod::Pod};");
        passes("lib.rs", "pub use crate::pod::Pod; pub mod crypto; pub mod pod;");
    }

    #[test]
    fn ignores_comments_and_strings() {
        passes(
            "log.rs",
            "//! [`crate::store`]\n/// use crate::net;\n/* use crate::store; /* iroh::x */ std::fs::x */ fn f() {}",
        );
        passes(
            "log.rs",
            r##"const A: &str = "use crate::store;"; const B: &str = r#"a " crate::net "#;"##,
        );
        passes(
            "log.rs",
            r#"const C: &[u8] = b"\" iroh::x"; const D: &[u8] = br"\"; const E: u8 = b'"'; fn f() {}"#,
        );
        passes(
            "log.rs",
            "fn f<'a>(x: &'a str) -> char { let q = '\"'; let e = '\\''; let u = '\\u{22}'; q } // crate::pod",
        );
        finds(
            "log.rs",
            "const Q: char = '\"';\nuse crate::store;",
            2,
            "log uses crate::store",
        );
        finds(
            "log.rs",
            "const Q: &str = \"two\nlines\\\"\";\nuse crate::store;",
            3,
            "log uses crate::store",
        );
        finds(
            "log.rs",
            "const Q: &str = r\"\\\";\nuse crate::store;",
            2,
            "log uses crate::store",
        );
        finds(
            "log.rs",
            "fn f<'a>() {} /* a\n/* b */ */\nuse crate::r#store;",
            3,
            "log uses crate::store",
        );
    }

    #[test]
    fn finds_sql_outside_the_store() {
        let rule = "SQL stands in store/ only";
        for file in ["document/views.rs", "pod.rs", "lib.rs", "error.rs", "log.rs"] {
            finds(file, "use rusqlite::Connection;", 1, rule);
            finds(file, "fn f(e: rusqlite::Error) {}", 1, rule);
            finds(file, "use rusqlite as r;", 1, rule);
            for sql in [
                "SELECT a FROM b",
                "INSERT INTO a VALUES (1)",
                "INSERT OR REPLACE INTO a VALUES (1)",
                "CREATE TABLE a (b)",
                "CREATE TABLE IF NOT EXISTS a (b)",
                "PRAGMA synchronous=FULL",
                "UPDATE a SET b = 1",
                "DELETE FROM a",
                "WITH x AS (SELECT 1 FROM y) SELECT * FROM x",
                "select a from b",
                "delete from a",
            ] {
                finds(file, &format!("\nfn f() {{ run(\"{sql}\"); }}"), 2, rule);
                finds(file, &format!("\nfn f() {{ run(r#\"{sql}\"#); }}"), 2, rule);
                finds(
                    file,
                    &format!("\nfn f() {{ run(\"{}\"); }}", sql.replace(' ', "\\n    ")),
                    2,
                    rule,
                );
            }
        }
        passes(
            "store/entries.rs",
            "use rusqlite::Connection; const A: &str = \"SELECT a FROM b\";",
        );
        passes(
            "store.rs",
            "use rusqlite::Connection; const A: &str = \"SELECT a FROM b\";",
        );
    }

    #[test]
    fn leaves_plain_english_alone() {
        for text in [
            "Choose a folder to select from",
            "the update was set aside",
            "an entry was inserted into",
            "FROM SELECT",
            "create a pod first",
        ] {
            passes("pod.rs", &format!("const A: &str = \"{text}\";"));
        }
    }

    #[test]
    fn finds_a_socket_outside_net() {
        let rule = "a socket stands in net/ only";
        for file in ["sync/session.rs", "pod.rs", "lib.rs", "store.rs"] {
            finds(file, "use std::net::TcpStream;", 1, rule);
            finds(file, "use std::net::{\n    SocketAddr,\n    UdpSocket,\n};", 3, rule);
            finds(file, "use std::net;\nfn f() { net::TcpListener::bind(x); }", 2, rule);
            finds(file, "use tokio::{sync, net as n};", 1, rule);
            finds(file, "fn f() { tokio::net::lookup_host(x); }", 1, rule);
            finds(file, "use iroh::Endpoint;", 1, rule);
            finds(file, "fn f(e: &::iroh::Endpoint) {}", 1, rule);
            passes(
                file,
                "use std::net::{IpAddr, SocketAddr}; fn f(iroh: u8) -> u8 { iroh }",
            );
        }
        passes(
            "net/endpoint.rs",
            "use iroh::Endpoint; use std::net::UdpSocket; use tokio::net::TcpStream;",
        );
    }

    #[test]
    fn finds_a_clock_in_a_pure_folder() {
        for room in PURE {
            let file = format!("{room}/a.rs");
            finds(&file, "\nfn f() { std::time::SystemTime::now(); }", 2, "reads a clock");
            finds(
                &file,
                "use std::time::Instant;\nfn f() { Instant::now(); }",
                2,
                "reads a clock",
            );
            finds(&file, "fn f(t: T) { t.elapsed(); }", 1, "reads a clock");
            finds(&file, "use tokio::time::sleep;", 1, "reads a clock");
            passes(&file, "use std::time::{Duration, Instant}; fn f(now: Instant) {}");
        }
        passes("net/a.rs", "fn f() { std::time::Instant::now(); }");
    }

    #[test]
    fn finds_a_disk_in_a_pure_folder() {
        for room in PURE {
            let file = format!("{room}.rs");
            finds(&file, "use std::{fmt, fs::File};", 1, "touches the disk");
            finds(&file, "fn f() { std::fs::read(x); }", 1, "touches the disk");
            finds(&file, "fn f() { tokio::fs::read(x); }", 1, "touches the disk");
        }
        passes("store.rs", "use std::fs::File;");
    }

    #[test]
    fn finds_secret_bytes_in_an_array() {
        let rule = "secret bytes are a crypto::Secret";
        for file in ["identity/a.rs", "crypto/keeper.rs", "pod.rs", "net/a.rs"] {
            finds(file, "struct A(Zeroizing<[u8; 32]>);", 1, rule);
            finds(
                file,
                "use zeroize::Zeroizing;\nfn f() -> Zeroizing<[u8; N]> {}",
                2,
                rule,
            );
            finds(file, "struct A {\n    secret: [u8; 16],\n}", 2, rule);
            finds(file, "fn f(seed: [u8; 32]) {}", 1, rule);
            passes(
                file,
                "fn f(secret: &[u8; 32], key: Secret, id: [u8; 32]) -> Zeroizing<Vec<u8>> {}",
            );
        }
        passes("crypto/secret.rs", "struct Secret(Arc<Zeroizing<[u8; 32]>>);");
    }

    #[test]
    fn finds_randomness_outside_crypto() {
        for file in ["identity.rs", "log/a.rs", "sync/a.rs", "store/a.rs", "pod.rs"] {
            finds(
                file,
                "fn f() { getrandom::fill(x); }",
                1,
                "only crypto/ draws random bytes",
            );
            finds(file, "use rand::{Rng};", 1, "only crypto/ draws random bytes");
            finds(
                file,
                "fn f() { make(&mut OsRng); }",
                1,
                "only crypto/ draws random bytes",
            );
            passes(file, "fn f(rand: u8) -> u8 { rand }");
        }
        passes("crypto/random.rs", "use getrandom::fill; use rand_core::CryptoRng;");
    }
}
