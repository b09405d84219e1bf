//! The table of keys as JSON schema, so that an editor completes and checks `avs.toml` while it is written.

use serde_json::{Map, Value, json};

use super::keys::{EVENT, Fallback, Key, Kind, Need, TIMER, children, find};

/// The JSON schema (draft 7) of `avs.toml`. What it accepts is still checked at load: bytes are counted there, and keys that
/// concern one another are compared.
#[must_use]
pub fn schema() -> String {
    let mut root = object(section(""));
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("avs.toml"));
    let mut text = format!("{:#}", sorted(Value::Object(root)));
    text.push('\n');
    text
}

/// Members in order, however the JSON library keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn section(rows: &str) -> Value {
    let properties: Map<_, _> = children(rows).map(|(name, key)| (name.to_owned(), described(key))).collect();
    let required = |need| children(rows).filter(move |(_, key)| key.need == need).map(|(name, _)| name);
    let mut section = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required(Need::Always).collect::<Vec<_>>(),
    });
    let cases = [TIMER, EVENT].map(|case| (case, required(Need::With(case)).collect::<Vec<_>>()));
    if cases.iter().any(|(_, names)| !names.is_empty()) {
        let cases = cases.map(|(case, names)| {
            json!({ "if": { "properties": { "type": { "const": case } } }, "then": { "required": names } })
        });
        if let Some(members) = section.as_object_mut() {
            members.insert("allOf".to_owned(), json!(cases));
        }
    }
    section
}

fn described(key: &Key) -> Value {
    let mut members = object(kind(&key.kind, key.path));
    members.insert("description".to_owned(), json!(key.doc));
    match key.default {
        Fallback::None => None,
        Fallback::Number(number) => members.insert("default".to_owned(), json!(number)),
        Fallback::Text(text) => members.insert("default".to_owned(), json!(text)),
    };
    Value::Object(members)
}

fn kind(of: &Kind, path: &str) -> Value {
    match *of {
        Kind::Section => section(path),
        Kind::Named { max } => {
            let each = find(&format!("{path}.*")).map_or(Value::Bool(true), described);
            json!({ "type": "object", "maxProperties": max, "additionalProperties": each })
        }
        Kind::Entries { max } => {
            json!({ "type": "array", "maxItems": max, "items": section(&format!("{path}[]")) })
        }
        Kind::Text { min, max, form } => {
            json!({ "type": "string", "minLength": min, "maxLength": max, "pattern": form.pattern() })
        }
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" }),
        Kind::Hex { min, max } => {
            json!({ "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$", "minLength": 2 + 2 * min, "maxLength": 2 + 2 * max })
        }
        Kind::Choice(choices) => json!({ "enum": choices }),
        Kind::List { of, max } => {
            json!({ "type": "array", "maxItems": max, "uniqueItems": true, "items": kind(of, path) })
        }
        Kind::Scalar { max } => json!({ "type": ["string", "integer", "boolean"], "maxLength": max }),
    }
}
