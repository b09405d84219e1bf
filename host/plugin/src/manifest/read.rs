//! Takes the values out of a document that was checked, and checks what concerns more than one key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use eigenshift_types::{Address, B256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Checker, duration, hex, integer};
use super::keys::{BOOLEAN, Fallback, INTEGER, TIMER, WORLD, find, join};
use super::{
    ConfigKey, ConfigType, Golden, Http, Import, Keyvalue, Limits, MAX_MANIFEST_BYTES, Manifest, ManifestError, Trigger,
};

/// A table that was checked, or one that is not there.
#[derive(Clone, Copy)]
struct Table<'a> {
    /// Where its rows are.
    rows: &'static str,
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Table<'a> {
    fn get(self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(name)
    }

    fn section(self, name: &'static str) -> Self {
        Table { rows: name, table: self.get(name).and_then(|value| value.get_ref().as_table()) }
    }

    fn entries(self, name: &str, rows: &'static str) -> impl Iterator<Item = (Self, Range<usize>)> + use<'a> {
        let entries = self.get(name).and_then(|value| value.get_ref().as_array());
        let entry =
            move |entry: &'a Spanned<DeValue<'a>>| (Table { rows, table: entry.get_ref().as_table() }, entry.span());
        entries.into_iter().flatten().map(entry)
    }

    fn fallback(self, name: &str) -> Fallback {
        find(&join(self.rows, name)).map_or(Fallback::None, |row| row.default)
    }

    fn number(self, name: &str) -> u64 {
        let fallback = match self.fallback(name) {
            Fallback::Number(number) => number,
            _ => 0,
        };
        self.get(name).and_then(|value| integer(value.get_ref())).unwrap_or(fallback)
    }

    /// A number whose row keeps it below 2^32.
    fn small(self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        let fallback = match self.fallback(name) {
            Fallback::Text(text) => Some(text),
            _ => None,
        };
        self.get(name).and_then(|value| value.get_ref().as_str()).or(fallback)
    }

    fn owned(self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn duration(self, name: &str) -> Duration {
        self.text(name).and_then(duration).unwrap_or_default()
    }

    fn bytes(self, name: &str) -> Vec<u8> {
        self.text(name).and_then(hex).unwrap_or_default()
    }

    fn word(self, name: &str) -> B256 {
        B256::try_from(self.bytes(name).as_slice()).unwrap_or_default()
    }

    fn list(self, name: &str) -> impl Iterator<Item = (&'a str, Range<usize>)> + use<'a> {
        let list = self.get(name).and_then(|value| value.get_ref().as_array());
        list.into_iter().flatten().filter_map(|item| Some((item.get_ref().as_str()?, item.span())))
    }
}

impl Manifest {
    /// Parses and checks the text of an `avs.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] names the line and what to write.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { len: text.len() });
        }
        let check = Checker(text);
        let document = DeTable::parse(text).map_err(|error| ManifestError::Syntax {
            line: check.line(&error.span().unwrap_or_default()),
            message: error.message().to_owned(),
        })?;
        check.table(document.get_ref(), &(0..0), "", "")?;
        let top = Table { rows: "", table: Some(document.get_ref()) };
        let limits = top.section("limits");
        let imports = imports(top);
        needs_imports(&check, top, &imports)?;
        Ok(Self {
            name: top.owned("name"),
            version: top.owned("version"),
            world: WORLD.to_owned(),
            publisher: top.text("publisher").map(str::to_owned),
            limits: Limits {
                fuel: limits.number("fuel"),
                memory_bytes: limits.number("memory-bytes"),
                keys_per_task: limits.small("keys-per-task"),
            },
            imports,
            http: http(&check, top.section("http"))?,
            keyvalue: keyvalue(&check, top.section("keyvalue"))?,
            secrets: top.list("secrets").map(|(name, _)| name.to_owned()).collect(),
            config: config(&check, top)?,
            triggers: triggers(&check, top)?,
            reuse_calls: top.section("runtime").small("reuse-calls"),
            golden: golden(top),
        })
    }
}

fn imports(top: Table<'_>) -> BTreeSet<Import> {
    let named = |name: &str| Import::ALL.into_iter().find(|import| import.as_str() == name);
    top.list("imports").filter_map(|(name, _)| named(name)).collect()
}

/// What is written about an import that is not asked for would have no effect.
fn needs_imports(check: &Checker<'_>, top: Table<'_>, imports: &BTreeSet<Import>) -> Result<(), ManifestError> {
    for (key, import) in [
        ("http", Import::Http),
        ("keyvalue", Import::Keyvalue),
        ("secrets", Import::Secrets),
        ("config", Import::Config),
    ] {
        if let Some(value) = top.get(key)
            && !imports.contains(&import)
        {
            let fix = format!("has no effect without \"{import}\" among the imports; add it there, or leave this out");
            return Err(check.refuse(key, &value.span(), fix));
        }
    }
    Ok(())
}

fn http(check: &Checker<'_>, section: Table<'_>) -> Result<Http, ManifestError> {
    let allow = section.list("allow").map(|(entry, span)| {
        entry.parse().map_err(|error| check.refuse("http.allow", &span, format!("holds a wrong entry: {error}")))
    });
    Ok(Http {
        allow: allow.collect::<Result<_, _>>()?,
        request_bytes: section.number("request-bytes"),
        response_bytes: section.number("response-bytes"),
        timeout: section.duration("timeout"),
        concurrency: section.small("concurrency"),
        requests_per_call: section.small("requests-per-call"),
    })
}

fn keyvalue(check: &Checker<'_>, section: Table<'_>) -> Result<Keyvalue, ManifestError> {
    let quota = Keyvalue {
        bytes: section.number("bytes"),
        keys: section.number("keys"),
        value_bytes: section.number("value-bytes"),
        operations_per_call: section.small("operations-per-call"),
    };
    if quota.value_bytes > quota.bytes {
        let span = section.get("value-bytes").or_else(|| section.get("bytes")).map(Spanned::span).unwrap_or_default();
        let fix = format!("is {}, more than keyvalue.bytes, {}", quota.value_bytes, quota.bytes);
        return Err(check.refuse("keyvalue.value-bytes", &span, fix));
    }
    Ok(quota)
}

fn config(check: &Checker<'_>, top: Table<'_>) -> Result<BTreeMap<String, ConfigKey>, ManifestError> {
    let mut keys = BTreeMap::new();
    for (name, value) in top.section("config").table.into_iter().flatten() {
        let name = name.get_ref();
        let section = Table { rows: "config.*", table: value.get_ref().as_table() };
        let kind = match section.text("type") {
            Some(INTEGER) => ConfigType::Integer,
            Some(BOOLEAN) => ConfigType::Boolean,
            _ => ConfigType::String,
        };
        let default = match section.get("default") {
            None => None,
            Some(value) => Some(scalar(kind, value.get_ref()).ok_or_else(|| {
                let kind = section.text("type").unwrap_or_default();
                check.refuse(
                    &format!("config.{name}.default"),
                    &value.span(),
                    format!("is no {kind}, as its type says"),
                )
            })?),
        };
        let doc = section.text("doc").map(str::to_owned);
        keys.insert(name.clone().into_owned(), ConfigKey { kind, default, doc });
    }
    Ok(keys)
}

/// A value as the plugin reads it, if it is of that type.
fn scalar(kind: ConfigType, value: &DeValue<'_>) -> Option<String> {
    match kind {
        ConfigType::String => value.as_str().map(str::to_owned),
        ConfigType::Integer => {
            let integer = value.as_integer()?;
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
        }
        ConfigType::Boolean => value.as_bool().map(|flag| flag.to_string()),
    }
}

fn triggers(check: &Checker<'_>, top: Table<'_>) -> Result<Vec<Trigger>, ManifestError> {
    let (mut triggers, mut names) = (Vec::new(), BTreeSet::new());
    for (entry, span) in top.entries("trigger", "trigger[]") {
        if entry.text("type") == Some(TIMER) {
            let name = entry.owned("name");
            if !names.insert(name.clone()) {
                return Err(check.refuse("trigger", &span, format!("has two timers called \"{name}\"")));
            }
            triggers.push(Trigger::Timer { name, every: entry.duration("every") });
        } else {
            let topics = entry.list("topics").filter_map(|(topic, _)| B256::try_from(hex(topic)?.as_slice()).ok());
            let address = Address::try_from(entry.bytes("address").as_slice()).unwrap_or_default();
            triggers.push(Trigger::Event { address, topics: topics.collect() });
        }
    }
    Ok(triggers)
}

fn golden(top: Table<'_>) -> Vec<Golden> {
    let golden = top.entries("golden", "golden[]").map(|(entry, _)| Golden {
        index: entry.small("index"),
        request: entry.bytes("request").into(),
        digest: entry.word("digest"),
    });
    golden.collect()
}
