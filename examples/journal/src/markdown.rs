//! Markdown files as other journals export them: front matter between `---` lines, then the text.

use crate::when;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// From the front matter, or the first `# heading` when it stands at the top.
    pub title: Option<String>,
    /// From the front matter's `date` or `created`.
    pub date: Option<i64>,
    /// From the front matter's `tags`.
    pub tags: Vec<String>,
    /// Without front matter and without the heading that became the title.
    pub text: String,
}

/// Reads a file's text.
pub fn read(file: &str) -> Note {
    let file = file.strip_prefix('\u{feff}').unwrap_or(file).replace("\r\n", "\n");
    let (mut note, body) = match split_front(&file) {
        Some((front, body)) => (read_front(front), body),
        None => (Note::default(), file.as_str()),
    };
    let body = body.trim_start_matches('\n');
    let heading = body
        .strip_prefix("# ")
        .map(|rest| rest.split_once('\n').unwrap_or((rest, "")));
    note.text = match heading {
        Some((title, rest)) if note.title.as_deref().is_none_or(|known| known == title.trim()) => {
            note.title = Some(title.trim().to_owned());
            rest.trim_matches('\n').to_owned()
        }
        _ => body.trim_end_matches('\n').to_owned(),
    };
    note.title = note.title.filter(|title| !title.is_empty());
    note
}

fn split_front(file: &str) -> Option<(&str, &str)> {
    let rest = file.strip_prefix("---\n")?;
    if let Some(body) = rest.strip_prefix("---\n") {
        return Some(("", body));
    }
    ["\n---\n", "\n...\n"]
        .iter()
        .filter_map(|end| rest.split_once(end))
        .min_by_key(|(front, _)| front.len())
        .or_else(|| rest.strip_suffix("\n---").map(|front| (front, "")))
}

/// The few fields we keep, of the YAML that people write there: `key: value`, `[a, b]` and `- a` lists.
fn read_front(front: &str) -> Note {
    let mut note = Note::default();
    let mut key = String::new();
    for line in front.lines() {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            if key == "tags" {
                note.tags.extend(tag(item));
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        key = name.trim().to_ascii_lowercase();
        let value = value.trim();
        match key.as_str() {
            "title" => note.title = Some(unquoted(value).to_owned()).filter(|title| !title.is_empty()),
            "date" | "created" => note.date = note.date.or_else(|| when::parse(unquoted(value))),
            "tags" => {
                let list = value.trim_start_matches('[').trim_end_matches(']');
                note.tags.extend(list.split(',').filter_map(tag));
            }
            _ => {}
        }
    }
    note
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

fn tag(item: &str) -> Option<String> {
    let item = unquoted(item.trim()).trim_start_matches('#');
    (!item.is_empty()).then(|| item.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_read_and_left_out() {
        let note = read(
            "---\ntitle: \"A walk: north\"\ndate: 2024-05-01T13:00:00Z\ntags: [sea, '#wind']\nmood: fine\n---\n\nText.\n\nMore.\n",
        );
        assert_eq!(note.title.as_deref(), Some("A walk: north"));
        assert_eq!(note.date, Some(1_714_568_400_000));
        assert_eq!(note.tags, ["sea", "wind"]);
        assert_eq!(note.text, "Text.\n\nMore.");
    }

    #[test]
    fn a_list_of_tags_over_several_lines() {
        let note = read("---\ntags:\n  - one\n  - two\naliases:\n  - three\n---\nText");
        assert_eq!(note.tags, ["one", "two"]);
    }

    #[test]
    fn the_first_heading_is_the_title() {
        let note = read("\u{feff}# A day\r\n\r\nText.\r\n## Not this\r\n");
        assert_eq!(
            (note.title.as_deref(), note.text.as_str()),
            (Some("A day"), "Text.\n## Not this")
        );
    }

    #[test]
    fn a_heading_other_than_the_title_stays() {
        let note = read("---\ntitle: One\n---\n# Two\ntext");
        assert_eq!(
            (note.title.as_deref(), note.text.as_str()),
            (Some("One"), "# Two\ntext")
        );
    }

    #[test]
    fn a_rule_is_no_front_matter() {
        let note = read("---\nno end of it: here");
        assert_eq!(note.text, "---\nno end of it: here");
        assert_eq!(read(""), Note::default());
    }
}
