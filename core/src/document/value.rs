//! Values as an application sees them in a document.

use std::collections::BTreeMap;
use std::fmt;

/// One value of a document, with everything below it.
///
/// `Debug` shows kinds and sizes only: what users write must not reach logs.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text edited together: concurrent edits of it merge.
    Text(String),
    /// A string replaced as a whole: of concurrent writes one wins.
    String(String),
    /// Bytes replaced as a whole.
    Bytes(Vec<u8>),
    /// A moment, in milliseconds since 1970-01-01 UTC.
    Date(i64),
    /// A number whose concurrent increments add up.
    Counter(i64),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The same as JSON: texts and strings alike as strings, bytes as a list
    /// of numbers, dates and counters as numbers, and a float that JSON has
    /// no number for (NaN, infinities) as null.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) | Value::Date(value) | Value::Counter(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Text(value) | Value::String(value) => Json::from(value.as_str()),
            Value::Bytes(value) => Json::from(value.as_slice()),
            Value::List(values) => Json::Array(values.iter().map(Value::to_json).collect()),
            Value::Map(values) => Json::Object(
                values
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// How many levels of lists and maps this value has, itself included; no
    /// deeper than `stop` is looked, so that a tower of values cannot use up
    /// the stack.
    pub(super) fn depth(&self, stop: usize) -> usize {
        let Some(rest) = stop.checked_sub(1) else {
            return 0;
        };
        1 + match self {
            Value::List(values) => values.iter().map(|v| v.depth(rest)).max().unwrap_or(0),
            Value::Map(values) => values.values().map(|v| v.depth(rest)).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether `allowed` holds for this value and all below it.
    pub(super) fn all(&self, allowed: &impl Fn(&Value) -> bool) -> bool {
        allowed(self)
            && match self {
                Value::List(values) => values.iter().all(|value| value.all(allowed)),
                Value::Map(values) => values.values().all(|value| value.all(allowed)),
                _ => true,
            }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => out.write_str("Null"),
            Value::Bool(_) => out.write_str("Bool"),
            Value::Int(_) => out.write_str("Int"),
            Value::Float(_) => out.write_str("Float"),
            Value::Text(value) => write!(out, "Text({} bytes)", value.len()),
            Value::String(value) => write!(out, "String({} bytes)", value.len()),
            Value::Bytes(value) => write!(out, "Bytes({} bytes)", value.len()),
            Value::Date(_) => out.write_str("Date"),
            Value::Counter(_) => out.write_str("Counter"),
            Value::List(values) => write!(out, "List({} values)", values.len()),
            Value::Map(values) => write!(out, "Map({} values)", values.len()),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

/// A scalar string, as for an application's identifiers and choices; a text
/// edited together is asked for by name ([`Value::Text`]).
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Value {
        Value::Map(BTreeMap::from([
            ("name".into(), Value::Text("Grüße".into())),
            ("kind".into(), Value::from("secret")),
            ("made".into(), Value::Date(1_700_000_000_000)),
            ("seen".into(), Value::Counter(-3)),
            ("odd".into(), Value::Float(f64::NAN)),
            ("half".into(), Value::from(0.5)),
            ("raw".into(), Value::Bytes(vec![0, 255])),
            (
                "list".into(),
                Value::List(vec![Value::Null, Value::from(true), Value::from(7)]),
            ),
        ]))
    }

    #[test]
    fn json_of_every_kind() {
        assert_eq!(
            tree().to_json(),
            serde_json::json!({
                "name": "Grüße", "kind": "secret", "made": 1_700_000_000_000_i64, "seen": -3,
                "odd": null, "half": 0.5, "raw": [0, 255], "list": [null, true, 7]
            })
        );
    }

    #[test]
    fn debug_shows_no_content() {
        let Value::Map(tree) = tree() else {
            unreachable!("the tree is a map")
        };
        let shown: Vec<String> = tree.values().map(|value| format!("{value:?}")).collect();
        for word in ["Gr", "secret", "1700", "-3", "0.5", "255"] {
            assert!(!shown.iter().any(|line| line.contains(word)), "{shown:?}");
        }
        assert_eq!(format!("{:?}", Value::Map(tree)), "Map(8 values)");
        assert_eq!(format!("{:?}", Value::Text("ü".into())), "Text(2 bytes)");
    }

    #[test]
    fn depth_stops_where_told() {
        let mut value = Value::Null;
        for _ in 0..10 {
            value = Value::List(vec![value]);
        }
        assert_eq!(value.depth(100), 11);
        assert_eq!(value.depth(4), 4);
    }
}
