//! Documents from JSON, and JSON that gives back exactly what went in.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Map, Value as Json, json};

use super::Value;

/// Names of maps with one field that stand for what JSON has no form of.
const TEXT: &str = "$text";
const DATE: &str = "$date";
const COUNTER: &str = "$counter";
const BYTES: &str = "$bytes";
const FLOAT: &str = "$float";
/// A map that would be taken for one of these.
const MAP: &str = "$map";

impl Value {
    /// A value from JSON: strings become [`Value::String`], whole numbers [`Value::Int`] where they fit, other numbers [`Value::Float`].
    ///
    /// A map with exactly one field stands for what JSON has no form of: `{"$text": "…"}` is a text that is edited together,
    /// `{"$date": milliseconds}`, `{"$counter": number}`, `{"$bytes": "base64"}`, `{"$float": "NaN"}` (or `"inf"`, `"-inf"`), and
    /// `{"$map": {…}}` a map that would be taken for one of them. Other maps stay as they are, one with an `$attachment` too.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(value) => Value::String(value.clone()),
            Json::Array(values) => Value::List(values.iter().map(Self::from_json).collect()),
            Json::Object(fields) => tagged(fields).unwrap_or_else(|| Value::Map(map(fields))),
        }
    }

    /// The same as JSON from which [`Value::from_json`] makes exactly this value again. [`Value::to_json`] reads better, and forgets kinds.
    pub fn to_tagged_json(&self) -> Json {
        match self {
            Value::Text(value) => json!({ TEXT: value }),
            Value::Date(value) => json!({ DATE: value }),
            Value::Counter(value) => json!({ COUNTER: value }),
            Value::Bytes(value) => json!({ BYTES: BASE64.encode(value) }),
            Value::Float(value) if !value.is_finite() => json!({ FLOAT: value.to_string() }),
            Value::List(values) => Json::Array(values.iter().map(Self::to_tagged_json).collect()),
            Value::Map(values) => {
                let fields: Map<String, Json> = values
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_tagged_json()))
                    .collect();
                if tagged(&fields).is_some() {
                    json!({ MAP: fields })
                } else {
                    Json::Object(fields)
                }
            }
            _ => self.to_json(),
        }
    }
}

fn map(fields: &Map<String, Json>) -> BTreeMap<String, Value> {
    let values = fields
        .iter()
        .map(|(name, value)| (name.clone(), Value::from_json(value)));
    values.collect()
}

/// What a map with one field stands for, if it stands for something.
fn tagged(fields: &Map<String, Json>) -> Option<Value> {
    let mut all = fields.iter();
    let (Some((name, value)), None) = (all.next(), all.next()) else {
        return None;
    };
    Some(match name.as_str() {
        TEXT => Value::Text(value.as_str()?.to_owned()),
        DATE => Value::Date(value.as_i64()?),
        COUNTER => Value::Counter(value.as_i64()?),
        BYTES => Value::Bytes(BASE64.decode(value.as_str()?.as_bytes()).ok()?),
        FLOAT => Value::Float(match value.as_str()? {
            "NaN" => f64::NAN,
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            _ => return None,
        }),
        MAP => Value::Map(map(value.as_object()?)),
        _ => return None,
    })
}

/// Values of every kind, and maps whose names have a meaning in tagged JSON.
#[cfg(test)]
pub(super) fn any_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;

    let name = prop_oneof![
        3 => "[a-z$]{0,3}",
        1 => prop::sample::select(vec![TEXT, DATE, COUNTER, BYTES, FLOAT, MAP]).prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("NaN is not itself", |float| !float.is_nan())
            .prop_map(Value::Float),
        ".{0,8}".prop_map(Value::Text),
        ".{0,8}".prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        any::<i64>().prop_map(Value::Date),
        any::<i64>().prop_map(Value::Counter),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map(name.clone(), inner, 0..3).prop_map(Value::Map),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_comes_back_from_tagged_json(value in any_value()) {
            let text = value.to_tagged_json().to_string();
            let json: Json = serde_json::from_str(&text).expect("it is JSON");
            // Numbers with a fraction are read by serde_json to the nearest, which its text form may miss by the last bit.
            let again = Value::from_json(&json).to_tagged_json();
            prop_assert!(close(&again, &value.to_tagged_json()), "{again} {text}");
            prop_assert!(Value::from_json(&value.to_tagged_json()) == value);
        }
    }

    fn close(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(a), Json::Number(b)) if a.is_f64() => {
                let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
                (a - b).abs() <= a.abs() * 1e-15
            }
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| close(a, b)))
            }
            _ => a == b,
        }
    }

    #[test]
    fn json_of_other_programs_is_read_plainly() {
        let json = json!({
            "title": "a", "stars": 5, "half": 0.5, "big": u64::MAX, "tags": ["x", null, true],
            "photo": { "$attachment": "bafy" }, "two": { "$date": 1, "more": 2 }, "odd": { "$date": "today" },
            "when": { "$date": 7 }, "note": { "$text": "b" }
        });
        let Value::Map(read) = Value::from_json(&json) else {
            panic!("a map is a map")
        };
        assert!(read["title"] == Value::String("a".into()) && read["stars"] == Value::Int(5));
        assert!(read["half"] == Value::Float(0.5) && read["big"] == Value::Float(u64::MAX as f64));
        let tags = vec![Value::String("x".into()), Value::Null, Value::Bool(true)];
        assert!(read["tags"] == Value::List(tags));
        assert!(read["photo"].to_json() == json["photo"] && read["two"].to_json() == json["two"]);
        assert!(read["odd"].to_json() == json["odd"]);
        assert!(read["when"] == Value::Date(7) && read["note"] == Value::Text("b".into()));
    }
}
