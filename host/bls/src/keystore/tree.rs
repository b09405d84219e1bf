//! JSON as far as key files need it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Damage;

/// A JSON value. Members are sorted, so that equal values have equal texts.
#[derive(Clone)]
pub(super) enum Tree {
    Object(BTreeMap<String, Tree>),
    Text(String),
    Number(u64),
    /// Everything that no member of a key file is made of. Its content is dropped.
    Other,
}

impl Tree {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Damage> {
        serde_json::from_slice(json).map_err(|_| Damage::NotJson)
    }

    /// The one text of this value: no white space, members sorted. `jq -cS` writes the same.
    pub(super) fn to_json(&self) -> Result<String, Damage> {
        serde_json::to_string(self).map_err(|_| Damage::NotJson)
    }

    pub(super) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.insert(name.to_owned(), value);
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A member that must be there. Its name is also what an error calls it.
    pub(super) fn need(&self, name: &'static str) -> Result<&Self, Damage> {
        self.member(name).ok_or(Damage::Member(name))
    }

    pub(super) fn need_text(&self, name: &'static str) -> Result<&str, Damage> {
        self.need(name)?.as_text().ok_or(Damage::Member(name))
    }

    pub(super) fn need_number(&self, name: &'static str) -> Result<u64, Damage> {
        self.need(name)?.as_number().ok_or(Damage::Member(name))
    }

    /// A member that may be missing, but if it is there, then it is text.
    pub(super) fn text_or_empty(&self, name: &'static str) -> Result<&str, Damage> {
        self.member(name).map_or(Ok(""), |value| value.as_text().ok_or(Damage::Member(name)))
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(members) => serializer.collect_map(members),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Other => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Tree>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(Tree::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Tree::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Other)
    }
}
