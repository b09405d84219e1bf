//! What a guest says, made fit for people.

/// Longest text of a guest that is kept: errors, reasons, log lines.
pub(crate) const MAX_TEXT: usize = 1024;

/// Bidirectional controls and line separators: they are no control characters to Unicode, but they forge log lines.
const fn deceives(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes control characters and cuts the text to `max` bytes.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if !push(&mut clean, c, max) {
            break;
        }
    }
    clean
}

/// Adds one character, escaped if need be, if the text then has at most `max` bytes.
pub(crate) fn push(clean: &mut String, c: char, max: usize) -> bool {
    let before = clean.len();
    if c.is_control() || deceives(c) {
        clean.extend(c.escape_unicode());
    } else {
        clean.push(c);
    }
    if clean.len() <= max {
        return true;
    }
    clean.truncate(before);
    false
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn control_characters_are_escaped_and_the_length_holds() {
        assert_eq!(clean("a\nb\u{1b}[31m", 100), "a\\u{a}b\\u{1b}[31m");
        assert_eq!(clean("x\u{202e}y", 100), "x\\u{202e}y");
        assert_eq!(clean("ääää", 5), "ää");
        assert_eq!(clean("abc\n", 5), "abc", "an escape is not cut in two");
    }
}
