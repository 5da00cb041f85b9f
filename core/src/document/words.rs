//! Words of a text, as they are searched: cut at the bounds of Unicode (UAX 29) and folded, so that case, accents and forms of one letter
//! make no difference.
//!
//! A script without spaces (Chinese, Japanese, Thai) is cut into single characters, and what is asked for without a space between is looked for
//! as a phrase: so any part of such a text is found. Words with signs inside ("3.14", "example.com") are several words in a row, and asked for
//! as such; an apostrophe is left out ("don't" is "dont").

use std::ops::Range;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_segmentation::UnicodeSegmentation;

/// Characters of a word that count.
const MAX_WORD: usize = 64;
/// Bytes of one field that are searched.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Bytes of what is asked for that count.
const MAX_ASKED: usize = 1024;
/// Words and phrases of a question, and words in all of them.
const MAX_TERMS: usize = 16;
const MAX_TOKENS: usize = 48;
/// Bytes of a text around what was found that are shown.
const SHOWN: usize = 200;
/// Bytes before the first word that was found, at most.
const BEFORE: usize = 60;

/// A word and where it stands in its text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub folded: String,
    pub place: Range<usize>,
}

/// Accents and other marks that a search looks past. Vowel signs of scripts that are written with them are no accents.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6ed}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{640}' | '\u{200c}' | '\u{200d}' | '\u{ad}')
}

/// Appends one character, folded.
fn fold(c: char, folded: &mut String) {
    if c.is_ascii() {
        folded.push(c.to_ascii_lowercase());
        return;
    }
    let plain = std::iter::once(c).nfkd().flat_map(char::to_lowercase).nfkd();
    for c in plain.filter(|c| !is_accent(*c)) {
        match c {
            'ß' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' | 'ð' => folded.push('d'),
            'þ' => folded.push_str("th"),
            'ı' => folded.push('i'),
            c if is_letter(c) => folded.push(c),
            // What a sign is made of, as in "½".
            _ => {}
        }
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2bc}' | '\u{ff07}')
}

/// The words of a text, in order. Of a word that is longer than anybody writes, the beginning.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word> {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    text.unicode_word_indices().flat_map(|(start, word)| {
        let mut found = Vec::new();
        let mut open: Option<(Word, usize)> = None;
        for (at, c) in word.char_indices() {
            let end = start + at + c.len_utf8();
            // A mark belongs to the letter before it.
            if c.is_alphanumeric() || open.is_some() && (is_letter(c) || is_accent(c)) {
                let (word, letters) = open.get_or_insert_with(|| {
                    let place = start + at..end;
                    let folded = String::new();
                    (Word { folded, place }, 0)
                });
                if *letters < MAX_WORD {
                    fold(c, &mut word.folded);
                    *letters += 1;
                }
                word.place.end = end;
            } else if !is_apostrophe(c) {
                found.extend(open.take());
            }
        }
        found.extend(open);
        found
            .into_iter()
            .map(|(word, _)| word)
            .map(|word| Word {
                // A mark whose letter was folded to nothing belongs to none.
                folded: word
                    .folded
                    .trim_start_matches(|c: char| !c.is_alphanumeric())
                    .to_owned(),
                ..word
            })
            .filter(|word| !word.folded.is_empty())
    })
}

/// The words of a text as the index takes them.
pub(super) fn indexed(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for word in words(text) {
        all.push_str(&word.folded);
        all.push(' ');
    }
    all
}

/// Words in a row that are looked for.
#[derive(Clone, PartialEq, Eq)]
struct Term {
    words: Vec<String>,
    /// Whether the last is the beginning of a word.
    begun: bool,
}

/// What is looked for: documents that have all of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted(Vec<Term>);

impl Wanted {
    /// Reads what a person typed: words, "phrases", and `beg*` for the beginning of a word. With `typing` the last word may be begun only.
    pub fn of(asked: &str, typing: bool) -> Self {
        let asked = &asked[..asked.floor_char_boundary(MAX_ASKED)];
        let mut terms = Vec::new();
        let mut left = MAX_TOKENS;
        let mut add = |text: &str, begun: bool| {
            let words: Vec<String> = words(text).map(|word| word.folded).take(left).collect();
            if !words.is_empty() && terms.len() < MAX_TERMS {
                left -= words.len();
                terms.push(Term { words, begun });
            }
        };
        let quotes = ['"', '\u{201c}', '\u{201d}', '\u{201e}', '«', '»'];
        let parts: Vec<&str> = asked.split(quotes).collect();
        for (place, part) in parts.iter().enumerate() {
            let is_last = place + 1 == parts.len();
            // Between an opening and a closing quotation mark. One that was not closed is still typed.
            if place % 2 == 1 {
                add(part, typing && is_last);
                continue;
            }
            let ended = part.ends_with(char::is_whitespace);
            let mut chunks = part.split_whitespace().peekable();
            while let Some(chunk) = chunks.next() {
                let typed = typing && is_last && !ended && chunks.peek().is_none();
                add(chunk, typed || chunk.ends_with('*'));
            }
        }
        Self(terms)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The expression for FTS5. Every word is one of ours, of letters alone, in quotation marks: nothing of it is syntax.
    pub fn expression(&self) -> String {
        let term = |term: &Term| {
            let words: Vec<String> = term.words.iter().map(|word| word.replace('"', "")).collect();
            format!("\"{}\"{}", words.join(" "), if term.begun { " *" } else { "" })
        };
        self.0.iter().map(term).collect::<Vec<_>>().join(" AND ")
    }

    /// Where a text has what is wanted, in bytes, in order and apart from each other; with the number of the term.
    fn places(&self, text: &[Word]) -> Vec<(Range<usize>, usize)> {
        let mut places: Vec<(Range<usize>, usize)> = Vec::new();
        for (number, term) in self.0.iter().enumerate() {
            let last = term.words.len() - 1;
            for row in text.windows(term.words.len()) {
                let fits = row.iter().zip(&term.words).enumerate().all(|(at, (word, wanted))| {
                    word.folded == *wanted || at == last && term.begun && word.folded.starts_with(wanted.as_str())
                });
                if fits {
                    places.push((row[0].place.start..row[last].place.end, number));
                }
            }
        }
        places.sort_by_key(|(place, _)| (place.start, place.end));
        let mut apart: Vec<(Range<usize>, usize)> = Vec::new();
        for (place, number) in places {
            match apart.last_mut() {
                Some((last, _)) if place.start < last.end => last.end = last.end.max(place.end),
                _ => apart.push((place, number)),
            }
        }
        apart
    }

    /// The part of a text that shows most of what was found; `None` if it has none of it.
    pub fn excerpt(&self, text: &str) -> Option<Excerpt> {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        let all: Vec<Word> = words(text).collect();
        let places = self.places(&all);
        let mut best = (0, 0);
        for (at, (first, _)) in places.iter().enumerate() {
            let near = places[at..]
                .iter()
                .take_while(|(place, _)| place.end <= first.start + SHOWN - BEFORE);
            let mut terms: Vec<usize> = near.map(|(_, term)| *term).collect();
            let count = terms.len();
            terms.sort_unstable();
            terms.dedup();
            // More of the terms, then more often, then earlier.
            let worth = terms.len() * (SHOWN + 1) + count.min(SHOWN);
            if worth > best.0 {
                best = (worth, at);
            }
        }
        let first = places.get(best.1)?.0.clone();
        let (start, end) = if text.len() <= SHOWN {
            (0, text.len())
        } else {
            // From the beginning of a word to the end of one; a phrase that is longer is shown whole.
            let from = first.start.saturating_sub(BEFORE);
            let start = all.iter().map(|word| word.place.start).find(|start| *start >= from);
            let start = if from == 0 {
                0
            } else {
                start.unwrap_or(first.start).min(first.start)
            };
            let until = (start + SHOWN).max(first.end);
            let last = all
                .iter()
                .map(|word| word.place.end)
                .take_while(|end| *end <= until)
                .last();
            let end = if until >= text.len() {
                text.len()
            } else {
                last.unwrap_or(first.end).max(first.end)
            };
            (start, end)
        };
        let ranges = places
            .iter()
            .filter(|(place, _)| place.start >= start && place.end <= end)
            .map(|(place, _)| place.start - start..place.end - start)
            .collect();
        Some(Excerpt {
            text: text[start..end].to_owned(),
            ranges,
            cut_before: start > 0,
            cut_after: end < text.len(),
        })
    }
}

/// Part of a text, and where in it is what was looked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The part: some 200 bytes, or more if what was found is longer.
    pub text: String,
    /// Ranges of bytes in it, in order and apart from each other, each from the beginning of a word to the end of one.
    pub ranges: Vec<Range<usize>>,
    /// Whether the text has more before it.
    pub cut_before: bool,
    /// Whether the text has more after it.
    pub cut_after: bool,
}

// A person's own words.
impl std::fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Excerpt({} bytes, {} ranges)", self.text.len(), self.ranges.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> Vec<String> {
        words(text).map(|word| word.folded).collect()
    }

    fn marked(asked: &str, text: &str) -> Option<String> {
        let excerpt = Wanted::of(asked, true).excerpt(text)?;
        let mut shown = String::new();
        let mut at = 0;
        for range in &excerpt.ranges {
            shown += &format!("{}[{}]", &excerpt.text[at..range.start], &excerpt.text[range.clone()]);
            at = range.end;
        }
        Some(shown + &excerpt.text[at..])
    }

    #[test]
    fn words_are_folded_and_cut_in_many_languages() {
        for (text, wanted) in [
            (
                "The Quick (\"brown\") fox can't jump 32.3 feet.",
                "the quick brown fox cant jump 32 3 feet",
            ),
            ("Straße STRASSE", "strasse strasse"),
            ("Crème brûlée, Ærøskøbing, Łódź", "creme brulee aeroskobing lodz"),
            ("Ὀδυσσεύς ΟΔΥΣΣΕΥΣ", "οδυσσευσ οδυσσευσ"),
            ("Ёлка ёлка", "елка елка"),
            ("İstanbul ISTANBUL ıstanbul", "istanbul istanbul istanbul"),
            ("مُحَمَّد", "محمد"),
            ("שָׁלוֹם", "שלום"),
            ("日本語", "日 本 語"),
            ("ﾃｽﾄ テスト", "テスト テスト"),
            ("ｆｕｌｌ ﬁne", "full fine"),
            ("one_two example.com", "one two example com"),
            ("🦔 … — !", ""),
        ] {
            assert_eq!(folded(text).join(" "), wanted, "{text}");
        }
        // Vowel signs are letters, not accents.
        assert_ne!(folded("की"), folded("का"));
        assert_eq!(folded("한국어"), folded("한국어".nfd().collect::<String>().as_str()));
    }

    #[test]
    fn what_was_found_is_marked() {
        for (asked, text, wanted) in [
            ("fox", "A Fox, and foxes", Some("A [Fox], and [foxes]")),
            ("fox ", "A Fox, and foxes", Some("A [Fox], and foxes")),
            ("\"a fox\"", "Fox a, a FOX", Some("Fox a, [a FOX]")),
            ("\"a fo", "Fox a, a FOX", Some("Fox a, [a FOX]")),
            ("fo* a ", "Fox a", Some("[Fox] [a]")),
            ("creme", "Crème brûlée", Some("[Crème] brûlée")),
            ("本語", "日本語の本", Some("日[本語]の本")),
            ("3.14", "pi is 3.14 or so", Some("pi is [3.14] or so")),
            ("strasse", "Die Straße", Some("Die [Straße]")),
            ("dont", "I don't", Some("I [don't]")),
            ("a a", "a", Some("[a]")),
            ("cat", "A fox", None),
            ("", "A fox", None),
            ("* \" \"\"", "A fox", None),
        ] {
            assert_eq!(marked(asked, text).as_deref(), wanted, "{asked}: {text}");
        }
    }

    #[test]
    fn a_mark_without_a_letter_is_no_word() {
        // U+037A is folded to nothing, U+1CF00 is a mark that is no accent.
        assert_eq!(folded("\u{37a}\u{1cf00}"), Vec::<String>::new());
        assert_eq!(folded("\u{37a}\u{1cf00}a"), ["a"]);
    }

    #[test]
    fn of_a_long_text_the_part_with_most_of_it_is_shown() {
        let filler = "word ".repeat(200);
        let text = format!("{filler}fox {filler}fox and cat {filler}");
        let excerpt = Wanted::of("cat fox", false).excerpt(&text).unwrap();
        assert_eq!(excerpt.ranges.len(), 2);
        assert!(excerpt.text.len() <= SHOWN && excerpt.cut_before && excerpt.cut_after);
        assert!(excerpt.text.starts_with("word") && excerpt.text.ends_with("word"));
        let start = Wanted::of("fox", false).excerpt(&format!("fox {filler}")).unwrap();
        assert!(!start.cut_before && start.cut_after && start.ranges.len() == 1 && start.ranges[0].end == 3);
    }

    proptest! {
        /// Whatever is typed, the expression is terms of ours and nothing else.
        #[test]
        fn nothing_that_is_typed_is_syntax(asked in "(\\PC|[\"*^:(){}+\\-\0 ]|AND|OR|NOT|NEAR|f0){0,40}", typing: bool) {
            let wanted = Wanted::of(&asked, typing);
            let expression = wanted.expression();
            let terms = if wanted.is_empty() { Vec::new() } else { expression.split(" AND ").collect() };
            prop_assert!(terms.len() == wanted.0.len() && terms.len() <= MAX_TERMS);
            for term in terms {
                let words = term.strip_suffix(" *").unwrap_or(term);
                let words = words.strip_prefix('"').and_then(|words| words.strip_suffix('"'));
                prop_assert!(words.is_some_and(|words| words.chars().all(|c| is_letter(c) || c == ' ')), "{}", term);
            }
        }

        #[test]
        fn places_are_whole_words_of_the_text(text in "\\PC{0,80}") {
            let mut end = 0;
            for word in words(&text) {
                prop_assert!(word.place.start >= end && !word.folded.is_empty() && text.get(word.place.clone()).is_some());
                prop_assert!(!word.folded.contains(char::is_whitespace));
                end = word.place.end;
                // What is folded stays as it is.
                prop_assert_eq!(folded(&word.folded).concat(), word.folded);
            }
        }

        /// A word of a text is found in it, however it is written.
        #[test]
        fn every_word_finds_its_text(text in "[a-zA-ZéÉßñçÅ日本語 ,.]{1,60}", pick: prop::sample::Index) {
            let all: Vec<Word> = words(&text).collect();
            prop_assume!(!all.is_empty());
            let word = &all[pick.index(all.len())];
            for asked in [&text[word.place.clone()], &text[word.place.clone()].to_uppercase(), &word.folded] {
                let excerpt = Wanted::of(asked, false).excerpt(&text);
                prop_assert!(excerpt.is_some_and(|excerpt| !excerpt.ranges.is_empty()), "{}", asked);
            }
        }
    }
}
