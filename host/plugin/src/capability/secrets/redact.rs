//! Takes secrets out of texts.

use std::fmt::{self, Write as _};

use zeroize::Zeroizing;

use crate::sandbox::text::{MAX_TEXT, clean, push};

const REDACTED: &str = "[redacted]";
/// Lines of a secret, such as a key in PEM, are looked for by themselves from this length on.
const MIN_LINE: usize = 16;
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The texts to look for, longest first; none for a plugin without secrets.
#[derive(Default)]
pub(crate) struct Redactor(Vec<Zeroizing<Vec<u8>>>);

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() * 4 / 3 + 1);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let value = bits >> (18 - 6 * digit) & 63;
            text.extend(alphabet.get(value as usize));
        }
    }
    text
}

fn written(bytes: &[u8], one: impl Fn(&mut String, u8) -> fmt::Result) -> Vec<u8> {
    // As long as any form becomes: nothing is left behind by growing.
    let mut text = String::with_capacity(bytes.len() * 5);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = one(&mut text, *byte);
    }
    text.into_bytes()
}

/// How a value is usually written.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        written(value, |text, byte| write!(text, "{byte:02x}")),
        written(value, |text, byte| write!(text, "{byte:02X}")),
        base64(value, STANDARD),
        base64(value, FOR_URLS),
        written(value, |text, byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.write_char(char::from(byte)),
            _ => write!(text, "%{byte:02X}"),
        }),
    ];
    // As Rust prints a list of bytes.
    let mut list = written(value, |text, byte| write!(text, "{byte}, "));
    list.truncate(list.len().saturating_sub(2));
    forms.push(list);
    if let Ok(text) = std::str::from_utf8(value) {
        forms.push(text.escape_debug().to_string().into_bytes());
    }
    forms.extend(value.split(|byte| *byte == b'\n').filter(|line| line.len() >= MIN_LINE).map(<[u8]>::to_vec));
    forms
}

impl Redactor {
    pub(crate) fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut needles: Vec<_> = values.flat_map(forms).map(Zeroizing::new).collect();
        needles.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        needles.dedup();
        Self(needles)
    }

    /// A guest's text for people: without secrets, control characters escaped, at most `max` bytes. Secrets go first, or
    /// the cut could leave a part of one that is no longer found.
    pub(crate) fn clean(&self, text: &str, max: usize) -> String {
        if self.0.is_empty() {
            return clean(text, max);
        }
        let mut cleaned = String::with_capacity(text.len().min(max));
        let mut hidden_to = 0;
        for (at, c) in text.char_indices() {
            if at < hidden_to {
                continue;
            }
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let found = self.0.iter().find(|needle| rest.starts_with(needle));
            if let Some(needle) = found {
                hidden_to = at + needle.len();
                if cleaned.len() + REDACTED.len() > max {
                    break;
                }
                cleaned.push_str(REDACTED);
            } else if !push(&mut cleaned, c, max) {
                break;
            }
        }
        cleaned
    }

    /// As [`Redactor::clean`], to the length of every text.
    pub(crate) fn text(&self, text: &str) -> String {
        self.clean(text, MAX_TEXT)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_secret_is_taken_out_however_it_is_written() {
        let secret = "k3y+\"with\" /signs";
        let redactor = redactor(&[secret]);
        let bytes = secret.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        for (form, left) in [
            (secret.to_owned(), "[redacted]"),
            (hex.clone(), "[redacted]"),
            (hex.to_uppercase(), "[redacted]"),
            ("azN5KyJ3aXRoIiAvc2lnbnM=".to_owned(), "[redacted]="),
            ("k3y%2B%22with%22%20%2Fsigns".to_owned(), "[redacted]"),
            (format!("{bytes:?}"), "[[redacted]]"),
            (format!("{secret:?}"), "\"[redacted]\""),
            (format!("a{secret}{secret}b"), "a[redacted][redacted]b"),
        ] {
            assert_eq!(redactor.text(&form), left, "{form}");
        }
        assert_eq!(redactor.text("k3y+\"with\" /sign"), "k3y+\"with\" /sign", "all of it or none");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes(), STANDARD), coded.as_bytes());
        }
        assert_eq!(base64(&[0xfb, 0xff], FOR_URLS), b"-_8");
    }

    #[test]
    fn the_cut_leaves_no_part_of_a_secret() {
        let redactor = redactor(&["0123456789abcdef"]);
        for before in 0..30 {
            let text = format!("{}0123456789abcdef tail", "x".repeat(before));
            let cleaned = redactor.clean(&text, 24);
            assert!(cleaned.len() <= 24 && !cleaned.contains("012"), "{cleaned}");
        }
    }

    #[test]
    fn of_two_that_overlap_the_longer_is_taken_and_lines_by_themselves() {
        let redactor = redactor(&["password", "password-of-root", "-----BEGIN-----\nMIIEvQIBADANBgkq\n-----END-----"]);
        assert_eq!(redactor.text("password-of-root"), "[redacted]");
        assert_eq!(redactor.text("read MIIEvQIBADANBgkq here"), "read [redacted] here");
    }

    #[test]
    fn without_secrets_texts_are_as_they_were() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text("a\nb"), "a\\u{a}b");
    }

    #[test]
    fn a_long_text_is_not_read_beyond_what_is_shown() {
        let redactor = redactor(&["0123456789abcdef"]);
        let text = "y".repeat(64 * 1024 * 1024);
        let start = std::time::Instant::now();
        assert_eq!(redactor.text(&text).len(), MAX_TEXT);
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }
}
