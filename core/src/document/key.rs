//! Values as bytes that sort as the values do.
//!
//! | value | bytes |
//! | --- | --- |
//! | nothing | `10` |
//! | false, true | `20`, `21` |
//! | a number, date or counter | `30`, 8 bytes of the largest float not above it, 2 bytes of what is left |
//! | a string or text | `40`, its UTF-8 (`00` as `00 ff`), then `00 01`, or `00 02` if it was cut after 240 bytes |
//! | bytes | `50`, as a string |
//!
//! Whole numbers, floats, dates (milliseconds since 1970) and counters are one kind and compare by what they are worth: 1 is 1.0, and no
//! precision is lost between large whole numbers and floats. A float's 8 bytes are its bits with the sign flipped, or all flipped if it is
//! negative; what is not a number comes first. Strings sort by code points. A key is the bytes of its values one after the other; none is the
//! beginning of another's bytes, so it sorts by the first value, then by the second.

use super::{Index, Value};

const NULL: u8 = 0x10;
const FALSE: u8 = 0x20;
const TRUE: u8 = 0x21;
pub(super) const NUMBER: u8 = 0x30;
const STRING: u8 = 0x40;
const BYTES: u8 = 0x50;
/// Above every value.
pub(super) const END: u8 = 0xff;

/// Bytes of a string that are in an index.
pub const MAX_INDEXED: usize = 240;
/// Elements of a list that are in an index.
pub const MAX_EACH: usize = 1000;

/// Appends a value's bytes; `false` if it has no order.
pub(super) fn append(key: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Null => key.push(NULL),
        Value::Bool(value) => key.push(if *value { TRUE } else { FALSE }),
        Value::Int(value) | Value::Date(value) | Value::Counter(value) => whole(key, *value),
        Value::Float(value) => float(key, *value, 0),
        Value::String(value) | Value::Text(value) => bytes(key, STRING, value.as_bytes()),
        Value::Bytes(value) => bytes(key, BYTES, value),
        _ => return false,
    }
    true
}

/// Whether all of a value is in an index, so that it can be asked for.
pub(super) fn is_whole(value: &Value) -> bool {
    match value {
        Value::String(value) | Value::Text(value) => value.len() <= MAX_INDEXED,
        Value::Bytes(value) => value.len() <= MAX_INDEXED,
        _ => true,
    }
}

fn whole(key: &mut Vec<u8>, value: i64) {
    // Rounded to the nearest, which may be above.
    let nearest = value as f64;
    let below = if nearest as i128 > i128::from(value) {
        nearest.next_down()
    } else {
        nearest
    };
    let rest = i128::from(value) - below as i128;
    float(
        key,
        below,
        u16::try_from(rest).expect("floats of 64-bit numbers are at most 1024 apart"),
    );
}

fn float(key: &mut Vec<u8>, value: f64, rest: u16) {
    // 0.0 and -0.0 are one number.
    let bits = (value + 0.0).to_bits();
    let ordered = match value {
        _ if value.is_nan() => 0,
        _ if bits >> 63 == 1 => !bits,
        _ => bits | 1 << 63,
    };
    key.push(NUMBER);
    key.extend_from_slice(&ordered.to_be_bytes());
    key.extend_from_slice(&rest.to_be_bytes());
}

fn bytes(key: &mut Vec<u8>, tag: u8, value: &[u8]) {
    key.push(tag);
    let cut = &value[..value.len().min(MAX_INDEXED)];
    escape(key, cut);
    key.extend_from_slice(&[0, if cut.len() == value.len() { 1 } else { 2 }]);
}

fn escape(key: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
}

/// Appends what the keys of all strings begin with that begin with `prefix`.
pub(super) fn append_prefix(key: &mut Vec<u8>, prefix: &str) {
    key.push(STRING);
    escape(key, prefix.as_bytes());
}

/// The whole number that a key begins with, rounded down; `None` if it begins with no number.
pub(super) fn number(key: &[u8]) -> Option<i64> {
    let [tag, rest @ ..] = key else { return None };
    let bits = u64::from_be_bytes(*rest.first_chunk::<8>()?);
    let left = u16::from_be_bytes(*rest.get(8..10)?.first_chunk::<2>()?);
    let value = f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits });
    // Out of range, the cast gives the nearest.
    (*tag == NUMBER && bits != 0).then(|| (value.floor() as i64).saturating_add(i64::from(left)))
}

/// Every key that a document has in an index.
pub(super) fn keys(index: &Index, document: &Value) -> Vec<Vec<u8>> {
    let mut keys = vec![Vec::new()];
    for field in &index.fields {
        let Some(value) = field.path.of(document) else {
            return Vec::new();
        };
        if !field.each {
            let mut part = Vec::new();
            if !append(&mut part, value) {
                return Vec::new();
            }
            keys.iter_mut().for_each(|key| key.extend_from_slice(&part));
            continue;
        }
        let Value::List(elements) = value else {
            return Vec::new();
        };
        // There is one such field at most, so there is one key so far.
        let start = keys.pop().unwrap_or_default();
        let with = |element: &Value| {
            let mut key = start.clone();
            append(&mut key, element).then_some(key)
        };
        keys = elements.iter().take(MAX_EACH).filter_map(with).collect();
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}

/// The first bytes above everything that begins with `prefix`.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            return next;
        }
    }
    vec![END]
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn key(value: &Value) -> Vec<u8> {
        let mut key = Vec::new();
        assert!(append(&mut key, value));
        key
    }

    /// Another way to say it: by the kinds, and by numbers as exact as they are.
    fn order(one: &Value, other: &Value) -> Ordering {
        let kind = |value: &Value| match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Date(_) | Value::Counter(_) | Value::Float(_) => 2,
            Value::String(_) | Value::Text(_) => 3,
            _ => 4,
        };
        match (one, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::String(a) | Value::Text(a), Value::String(b) | Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap(),
            (Value::Float(a), Value::Int(b) | Value::Date(b) | Value::Counter(b)) => exact(*a, *b),
            (Value::Int(a) | Value::Date(a) | Value::Counter(a), Value::Float(b)) => exact(*b, *a).reverse(),
            (
                Value::Int(a) | Value::Date(a) | Value::Counter(a),
                Value::Int(b) | Value::Date(b) | Value::Counter(b),
            ) => a.cmp(b),
            _ => kind(one).cmp(&kind(other)),
        }
    }

    fn exact(float: f64, whole: i64) -> Ordering {
        if float.abs() >= 1e19 {
            return float.partial_cmp(&0.0).unwrap();
        }
        let floor = float.floor();
        (floor as i128)
            .cmp(&i128::from(whole))
            .then(float.partial_cmp(&floor).unwrap())
    }

    fn value() -> impl Strategy<Value = Value> {
        let edge = prop::sample::select(vec![
            i64::MIN,
            i64::MIN + 1,
            -(1 << 53) - 1,
            -1,
            0,
            1,
            (1 << 53) + 1,
            i64::MAX - 512,
            i64::MAX - 1,
            i64::MAX,
        ]);
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            edge.clone().prop_map(Value::Int),
            edge.prop_map(|n| Value::Float(n as f64)),
            any::<i64>().prop_map(Value::Date),
            (-3_i64..3).prop_map(Value::Counter),
            (-3_i64..3).prop_map(|n| Value::Float(n as f64 / 2.0)),
            any::<f64>()
                .prop_filter("a number", |n| !n.is_nan())
                .prop_map(Value::Float),
            "[\\x00\\x01ab\u{ff}]{0,4}".prop_map(Value::String),
            "[ab]{0,3}".prop_map(Value::Text),
            prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 254, 255]), 0..4).prop_map(Value::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn keys_sort_as_values_do(one in value(), other in value()) {
            prop_assert_eq!(key(&one).cmp(&key(&other)), order(&one, &other));
        }

        #[test]
        fn keys_of_two_values_sort_by_the_first_and_then_by_the_second(a in (value(), value()), b in (value(), value())) {
            let both = |(first, second): &(Value, Value)| [key(first), key(second)].concat();
            prop_assert_eq!(both(&a).cmp(&both(&b)), order(&a.0, &b.0).then(order(&a.1, &b.1)));
        }

        #[test]
        fn a_whole_number_reads_back(n: i64) {
            prop_assert_eq!(number(&key(&Value::Date(n))), Some(n));
        }

        #[test]
        fn strings_with_a_prefix_are_one_part_of_an_index(text in "[\\x00ab\u{ff}]{0,4}", prefix in "[\\x00ab\u{ff}]{0,2}") {
            let mut from = Vec::new();
            append_prefix(&mut from, &prefix);
            let (key, until) = (key(&Value::String(text.clone())), after_prefix(&from));
            prop_assert_eq!(key >= from && key < until, text.starts_with(&prefix));
        }
    }

    #[test]
    fn what_is_no_number_comes_before_all_of_them() {
        assert!(key(&Value::Float(f64::NAN)) < key(&Value::Float(f64::NEG_INFINITY)));
        assert_eq!(key(&Value::Float(0.0)), key(&Value::Float(-0.0)));
        assert_eq!(number(&key(&Value::Float(f64::NAN))), None);
        assert_eq!(number(&key(&Value::Float(-1.5))), Some(-2));
        assert_eq!(number(&key(&Value::Null)), None);
    }

    #[test]
    fn a_long_string_is_cut_and_is_no_other() {
        let long = "é".repeat(200);
        let cut = Value::String(long[..MAX_INDEXED].to_owned());
        let long = Value::String(long);
        assert!(key(&cut) < key(&long) && key(&long).len() < 300);
        assert!(is_whole(&cut) && !is_whole(&long));
    }

    #[test]
    fn a_list_has_a_key_for_each_element_and_a_field_that_is_missing_none() {
        let text = |text: &str| Value::String(text.to_owned());
        let tags = Value::List(vec![text("b"), text("a"), text("b"), Value::List(Vec::new())]);
        let document = Value::Map([("tags".into(), tags), ("date".into(), Value::Date(5))].into());
        let found = keys(&Index::each("tags").then("date"), &document);
        let wanted = |tag| [key(&text(tag)), key(&Value::Date(5))].concat();
        assert_eq!(found, [wanted("a"), wanted("b")]);
        assert!(keys(&Index::each("tags").then("other"), &document).is_empty());
        assert!(keys(&Index::on("tags"), &document).is_empty());
        assert_eq!(keys(&Index::on("date"), &document), [key(&Value::Date(5))]);
    }
}
