//! Holds a document against the table of keys.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ManifestError;
use super::keys::{Form, Key, Kind, Need, children, find, join};

/// Names that the document itself chooses.
const NAME_BYTES: (u64, u64) = (1, 64);

/// Reads a duration: a whole number and its unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

/// Reads `0x` and hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Reads a number that is not negative.
pub(super) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Checks everything that a key's own row says.
pub(super) struct Checker<'a>(pub &'a str);

impl Checker<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.0.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn refuse(&self, path: &str, span: &Range<usize>, fix: impl Into<String>) -> ManifestError {
        ManifestError::Value { line: self.line(span), key: path.to_owned(), fix: fix.into() }
    }

    /// A table whose rows are below `rows`; `path` is where it is, for people.
    pub(super) fn table(
        &self,
        table: &DeTable<'_>,
        span: &Range<usize>,
        rows: &str,
        path: &str,
    ) -> Result<(), ManifestError> {
        let kind = table.get("type").and_then(|value| value.get_ref().as_str());
        for (name, value) in table {
            let Some((_, row)) = children(rows).find(|(known, _)| *known == name.get_ref().as_ref()) else {
                let known: Vec<_> = children(rows).map(|(known, _)| known).collect();
                return Err(ManifestError::UnknownKey {
                    line: self.line(&name.span()),
                    key: join(path, name.get_ref()),
                    known: known.join(", "),
                });
            };
            let path = join(path, name.get_ref());
            if let Need::With(wanted) = row.need
                && kind.is_some_and(|kind| kind != wanted)
            {
                return Err(self.refuse(&path, &name.span(), format!("is only there with type = \"{wanted}\"")));
            }
            self.value(value, row, &path)?;
        }
        for (name, row) in children(rows) {
            let needed = match row.need {
                Need::Always => true,
                Need::Never => false,
                Need::With(wanted) => kind == Some(wanted),
            };
            if needed && !table.contains_key(name) {
                return Err(ManifestError::MissingKey { line: self.line(span), key: join(path, name) });
            }
        }
        Ok(())
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, row: &Key, path: &str) -> Result<(), ManifestError> {
        let span = value.span();
        match row.kind {
            Kind::Section => match value.get_ref().as_table() {
                Some(table) => self.table(table, &span, row.path, path),
                None => Err(self.refuse(path, &span, format!("is a table: write [{path}] and its keys below"))),
            },
            Kind::Named { max } => {
                let Some(table) = value.get_ref().as_table() else {
                    return Err(self.refuse(
                        path,
                        &span,
                        format!("is a table: write [{path}.NAME] and its keys below"),
                    ));
                };
                self.at_most(path, &span, table.len(), max)?;
                for (name, value) in table {
                    let path = join(path, name.get_ref());
                    self.text(name.get_ref(), &name.span(), NAME_BYTES, Form::ConfigKey, &path)?;
                    if let Some(row) = find(&join(row.path, "*")) {
                        self.value(value, row, &path)?;
                    }
                }
                Ok(())
            }
            Kind::Entries { max } => {
                let Some(entries) = value.get_ref().as_array() else {
                    return Err(self.refuse(path, &span, format!("is a list: write [[{path}]] before each entry")));
                };
                self.at_most(path, &span, entries.len(), max)?;
                let rows = format!("{}[]", row.path);
                for (number, entry) in entries.iter().enumerate() {
                    let path = format!("{path}[{number}]");
                    let span = entry.span();
                    match entry.get_ref().as_table() {
                        Some(table) => self.table(table, &span, &rows, &path)?,
                        None => return Err(self.refuse(&path, &span, "is a table")),
                    }
                }
                Ok(())
            }
            kind => self.scalar(value, &kind, path),
        }
    }

    fn at_most(&self, path: &str, span: &Range<usize>, len: usize, max: u64) -> Result<(), ManifestError> {
        if len as u64 <= max {
            return Ok(());
        }
        Err(self.refuse(path, span, format!("has {len} entries; at most {max} are taken")))
    }

    fn text(
        &self,
        text: &str,
        span: &Range<usize>,
        (min, max): (u64, u64),
        form: Form,
        path: &str,
    ) -> Result<(), ManifestError> {
        if (min..=max).contains(&(text.len() as u64)) && form.fits(text) {
            return Ok(());
        }
        Err(self.refuse(path, span, format!("needs {min} to {max} bytes {}", form.says())))
    }

    fn scalar(&self, value: &Spanned<DeValue<'_>>, kind: &Kind, path: &str) -> Result<(), ManifestError> {
        let span = value.span();
        let refuse = |fix: String| Err(self.refuse(path, &span, fix));
        let found = value.get_ref();
        match (*kind, found) {
            (Kind::Text { min, max, form }, DeValue::String(text)) => self.text(text, &span, (min, max), form, path),
            (Kind::Text { .. }, _) => refuse("is text: write it in quotes".to_owned()),
            (Kind::Integer { min, max }, DeValue::Integer(written)) => match integer(found) {
                Some(number) if (min..=max).contains(&number) => Ok(()),
                _ => refuse(format!("is {written}; write a number from {min} to {max}")),
            },
            (Kind::Integer { min, max }, _) => refuse(format!("is a number: write one from {min} to {max}")),
            (Kind::Duration { min_ms, max_ms }, _) => match found.as_str().and_then(duration) {
                Some(time) if (u128::from(min_ms)..=u128::from(max_ms)).contains(&time.as_millis()) => Ok(()),
                _ => refuse(format!("needs a duration in quotes from {min_ms}ms to {max_ms}ms, like \"5s\" or \"2h\"")),
            },
            (Kind::Hex { min, max }, _) => match found.as_str().and_then(hex) {
                Some(bytes) if (min..=max).contains(&(bytes.len() as u64)) => Ok(()),
                _ if min == max => refuse(format!("needs \"0x\" and {min} bytes in hexadecimal")),
                _ => refuse(format!("needs \"0x\" and {min} to {max} bytes in hexadecimal")),
            },
            (Kind::Choice(choices), _) => match found.as_str() {
                Some(text) if choices.contains(&text) => Ok(()),
                _ => refuse(format!("needs one of \"{}\"", choices.join("\", \""))),
            },
            (Kind::List { of, max }, DeValue::Array(list)) => {
                self.at_most(path, &span, list.len(), max)?;
                let mut seen = BTreeSet::new();
                for item in list {
                    self.scalar(item, of, path)?;
                    let text = item.get_ref().as_str().unwrap_or_default();
                    if !seen.insert(text.to_ascii_lowercase()) {
                        return Err(self.refuse(path, &item.span(), format!("has {text:?} twice")));
                    }
                }
                Ok(())
            }
            (Kind::List { .. }, _) => refuse("is a list: write it between [ and ]".to_owned()),
            (Kind::Scalar { max }, DeValue::String(text)) => self.text(text, &span, (0, max), Form::Line, path),
            (Kind::Scalar { .. }, DeValue::Boolean(_)) => Ok(()),
            (Kind::Scalar { .. }, DeValue::Integer(written)) => {
                match i64::from_str_radix(written.as_str(), written.radix()) {
                    Ok(_) => Ok(()),
                    Err(_) => refuse("is no number of 64 bits".to_owned()),
                }
            }
            (Kind::Scalar { .. }, _) => refuse("is text, a whole number, true or false".to_owned()),
            // Tables were taken before.
            (Kind::Section | Kind::Named { .. } | Kind::Entries { .. }, _) => refuse("is a table".to_owned()),
        }
    }
}
