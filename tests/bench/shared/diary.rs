//! The diary that both sides of the bench hold: a file of each of them. The same entry for the same number.

/// One day.
pub struct Entry {
    /// Milliseconds since 1970.
    pub date: i64,
    pub title: String,
    pub text: String,
}

/// Milliseconds from one entry to the next.
pub const APART: i64 = 60_000;
/// Words that texts are made of.
const WORDS: u64 = 4_000;
/// Words of a text.
const LENGTH: u64 = 30;
/// Entries that have one rare word in common, however many there are in all: what a search finds.
pub const RARE: usize = 50;

/// A number that looks drawn, for a number (splitmix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A word of two to four syllables.
fn word(number: u64) -> String {
    let mut draw = mix(number ^ 0x5eed);
    let mut word = String::new();
    for _ in 0..2 + draw % 3 {
        draw = mix(draw);
        word.push(char::from(b"bdfghklmnprstvwz"[(draw % 16) as usize]));
        word.push(char::from(b"aeiou"[(draw / 16 % 5) as usize]));
    }
    word
}

/// The date of an entry.
pub fn date(number: usize) -> i64 {
    1_700_000_000_000 + number as i64 * APART
}

/// The rare word of an entry.
pub fn rare(number: usize) -> String {
    format!("page{}", number / RARE)
}

/// An entry.
pub fn entry(number: usize) -> Entry {
    let mut text = rare(number);
    for place in 0..LENGTH {
        // Some words are common, most are not.
        let drawn = mix(number as u64 * LENGTH + place) % (WORDS * WORDS);
        text.push(' ');
        text.push_str(&word(WORDS - 1 - drawn.isqrt()));
    }
    Entry {
        date: date(number),
        title: format!("Day {number}"),
        text,
    }
}

/// `count` numbers below `below`, in an order that looks drawn.
pub fn drawn(count: usize, below: usize) -> impl Iterator<Item = usize> {
    (0..count as u64).map(move |number| (mix(number ^ 0xd1a7) % below.max(1) as u64) as usize)
}
