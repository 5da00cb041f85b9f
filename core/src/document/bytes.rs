//! Values as bytes, as the views keep them beside each document, so that what it shows is read without opening it.
//!
//! | value | bytes |
//! | --- | --- |
//! | nothing | `00` |
//! | false, true | `01`, `02` |
//! | a whole number, a date, a counter | `03`, `04`, `05`, 8 bytes |
//! | a float | `06`, its 8 bytes |
//! | a text, a string, bytes | `07`, `08`, `09`, how many bytes, the bytes |
//! | a list | `0a`, how many values, the values |
//! | a map | `0b`, how many fields, each as a string's bytes and its value, in the order of their names |
//!
//! Numbers of 8 bytes have the highest first; how many is LEB128.

use std::collections::BTreeMap;

use super::{MAX_DEPTH, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const DATE: u8 = 4;
const COUNTER: u8 = 5;
const FLOAT: u8 = 6;
const TEXT: u8 = 7;
const STRING: u8 = 8;
const BYTES: u8 = 9;
const LIST: u8 = 10;
const MAP: u8 = 11;

impl Value {
    /// The value as bytes from which [`Value::from_bytes`] makes exactly this value again. Not for exchange: another version may choose others.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes);
        bytes
    }

    /// A value from what [`Value::to_bytes`] gave; `None` if the bytes are not such, or go deeper than a document may.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let value = reader.value(MAX_DEPTH + 1)?;
        reader.0.is_empty().then_some(value)
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(NULL),
            Value::Bool(false) => out.push(FALSE),
            Value::Bool(true) => out.push(TRUE),
            Value::Int(value) => number(out, INT, value.to_be_bytes()),
            Value::Date(value) => number(out, DATE, value.to_be_bytes()),
            Value::Counter(value) => number(out, COUNTER, value.to_be_bytes()),
            Value::Float(value) => number(out, FLOAT, value.to_be_bytes()),
            Value::Text(value) => counted(out, TEXT, value.as_bytes()),
            Value::String(value) => counted(out, STRING, value.as_bytes()),
            Value::Bytes(value) => counted(out, BYTES, value),
            Value::List(values) => {
                out.push(LIST);
                length(out, values.len());
                values.iter().for_each(|value| value.append_to(out));
            }
            Value::Map(fields) => {
                out.push(MAP);
                length(out, fields.len());
                for (name, value) in fields {
                    length(out, name.len());
                    out.extend_from_slice(name.as_bytes());
                    value.append_to(out);
                }
            }
        }
    }
}

fn number(out: &mut Vec<u8>, kind: u8, bytes: [u8; 8]) {
    out.push(kind);
    out.extend_from_slice(&bytes);
}

fn counted(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        out.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    out.push(length as u8);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn value(&mut self, levels: usize) -> Option<Value> {
        let levels = levels.checked_sub(1)?;
        Some(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(i64::from_be_bytes(self.eight()?)),
            DATE => Value::Date(i64::from_be_bytes(self.eight()?)),
            COUNTER => Value::Counter(i64::from_be_bytes(self.eight()?)),
            FLOAT => Value::Float(f64::from_be_bytes(self.eight()?)),
            TEXT => Value::Text(self.string()?),
            STRING => Value::String(self.string()?),
            BYTES => Value::Bytes(self.counted()?.to_vec()),
            LIST => {
                let mut values = Vec::new();
                for _ in 0..self.length()? {
                    values.push(self.value(levels)?);
                }
                Value::List(values)
            }
            MAP => {
                let mut fields = BTreeMap::new();
                for _ in 0..self.length()? {
                    let name = self.string()?;
                    fields.insert(name, self.value(levels)?);
                }
                Value::Map(fields)
            }
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn eight(&mut self) -> Option<[u8; 8]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = usize::from(byte & 0x7f);
            length |= part.checked_shl(shift).filter(|shifted| shifted >> shift == part)?;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (counted, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(counted)
    }

    fn string(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.counted()?).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::json::any_value;

    proptest! {
        #[test]
        fn every_value_comes_back_from_its_bytes(value in any_value()) {
            prop_assert!(Value::from_bytes(&value.to_bytes()) == Some(value));
        }

        #[test]
        fn no_part_of_the_bytes_is_a_value(value in any_value(), part in 0.0..1.0) {
            let bytes = value.to_bytes();
            let shorter = (bytes.len() as f64 * part) as usize;
            prop_assert!(Value::from_bytes(&bytes[..shorter]).is_none());
            prop_assert!(Value::from_bytes(&[&bytes[..], &[NULL]].concat()).is_none());
        }
    }

    #[test]
    fn what_is_no_number_and_what_is_long_comes_back() {
        let odd = Value::from_bytes(&Value::Float(f64::NAN).to_bytes());
        assert!(matches!(odd, Some(Value::Float(float)) if float.is_nan()));
        for length in [127, 128, 16_383, 16_384] {
            let value = Value::Text("a".repeat(length));
            assert!(Value::from_bytes(&value.to_bytes()) == Some(value));
        }
    }

    #[test]
    fn a_length_that_lies_reserves_nothing_and_ends() {
        for kind in [TEXT, BYTES, LIST, MAP] {
            let lie = [&[kind][..], &[0xff; 8], &[0x7f]].concat();
            assert!(Value::from_bytes(&lie).is_none());
            assert!(Value::from_bytes(&[&[kind][..], &[0xff; 32]].concat()).is_none());
        }
    }

    #[test]
    fn as_deep_as_a_document_may_be_and_no_deeper() {
        let deep = |levels: usize| (1..levels).fold(Value::Null, |value, _| Value::List(vec![value]));
        let deepest = deep(MAX_DEPTH + 1);
        assert!(Value::from_bytes(&deepest.to_bytes()) == Some(deepest));
        assert!(Value::from_bytes(&deep(MAX_DEPTH + 2).to_bytes()).is_none());
    }
}
