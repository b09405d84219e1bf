//! Writes answers into the text of a `tasks.toml`, and leaves everything else in it as it is.

use std::fmt::Write as _;

use super::tasks::{Answer, Tasks, parse};

/// What is written for an answer, after the last line of its task.
fn written(answer: &Answer) -> String {
    let mut text = String::new();
    match answer {
        // Goes among the task's own keys.
        Answer::Refused(_) => {}
        Answer::Responses(responses) => {
            for response in responses {
                let (key, payload) = (response.key.written(), response.payload.written());
                let digest = response.digest;
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "\n[[task.response]]\nkey = \"{key}\"\npayload = \"{payload}\"\ndigest = \"{digest}\"\n"
                );
            }
        }
    }
    text
}

/// Where lines of a file belong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Before the tasks, or in another table.
    Other,
    /// Among the keys of `[[task]]` itself.
    Task,
    /// In a `[[task.response]]`.
    Response,
}

/// The text with these answers, one for each task in order, instead of those that were in it.
///
/// # Errors
/// For people: the file is written in a way that this does not understand.
pub fn record(text: &str, answers: &[Answer]) -> Result<String, String> {
    let mut out = String::new();
    let mut inside = Inside::Other;
    let mut pending: Option<&Answer> = None;
    let mut answers_left = answers.iter();
    // Blank lines and comments: of the table that follows, once it is known that none of this one's keys does.
    let mut loose = String::new();
    for line in text.lines() {
        let bare = line.trim();
        if bare.starts_with('[') {
            let is_task = bare.starts_with("[[task]]");
            if is_task {
                close(&mut out, pending.take());
            }
            inside = match bare {
                _ if is_task => Inside::Task,
                _ if bare.starts_with("[[task.response]]") => Inside::Response,
                _ => Inside::Other,
            };
            if inside != Inside::Response {
                out.push_str(&loose);
                out.extend([line, "\n"]);
            }
            loose.clear();
            if is_task {
                pending = answers_left.next();
                if let Some(Answer::Refused(code)) = pending {
                    // First, so that it is among the task's own keys whatever follows.
                    let _ = writeln!(out, "refused = \"{code}\"");
                }
            }
            continue;
        }
        if bare.is_empty() || bare.starts_with('#') {
            loose.extend([line, "\n"]);
            continue;
        }
        let old = match inside {
            Inside::Response => true,
            Inside::Task => bare.split('=').next().is_some_and(|key| key.trim() == "refused"),
            Inside::Other => false,
        };
        if !old {
            out.push_str(&loose);
            out.extend([line, "\n"]);
        }
        loose.clear();
    }
    close(&mut out, pending);
    out.push_str(&loose);
    verify(text, &out, answers)?;
    Ok(out)
}

/// Ends a task with its responses.
fn close(out: &mut String, answer: Option<&Answer>) {
    if let Some(answer) = answer {
        out.push_str(&written(answer));
    }
}

/// Whether the new text says what the old one did, with the new answers.
fn verify(old: &str, new: &str, answers: &[Answer]) -> Result<(), String> {
    const FIX: &str = "write its tables as [[task]], [[task.call]], [[task.response]] and each key on a line of its own";
    let (old, new) = (parse(old)?, parse(new).map_err(|_| FIX.to_owned())?);
    let same = |tasks: &Tasks| -> Vec<_> {
        tasks.tasks.iter().map(|task| (task.name.clone(), task.task.clone(), std::sync::Arc::clone(&task.reads))).collect()
    };
    let recorded = new.tasks.iter().map(|task| task.expected.as_ref());
    // No responses at all cannot be told from none recorded.
    let wanted = answers.iter().map(|answer| match answer {
        Answer::Responses(responses) if responses.is_empty() => None,
        answer => Some(answer),
    });
    if same(&old) == same(&new) && old.config == new.config && recorded.eq(wanted) { Ok(()) } else { Err(FIX.to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use eigenshift_types::B256;

    use super::super::tasks::{Data, Response};
    use super::*;

    fn answer(payload: &'static [u8]) -> Answer {
        let data = |bytes: &'static [u8]| Data(bytes.into());
        Answer::Responses(vec![Response { key: data(b"0"), payload: data(payload), digest: B256::repeat_byte(7) }])
    }

    const TEXT: &str = "# About the file.

[config]
a = 1

# About the first.
[[task]]
name = \"first\" # of all
refused = \"plugin-trap\"
request = \"x\"

[[task.header]]
block = 1
time = 2

# About the second.
[[task]]
name = \"second\"
request = \"y\"

[[task.response]]
key = \"0\"
payload = \"old\"
# Goes with it.
digest = \"0x0000000000000000000000000000000000000000000000000000000000000001\"

# About the third.
[[task]]
name = \"third\"
request = \"z\"
# The end.
";

    #[test]
    fn answers_are_exchanged_and_everything_else_stays() {
        let refused = Answer::Refused("plugin-invalid-task".to_owned());
        let new = record(TEXT, &[answer(b"one"), refused.clone(), answer(&[0xff])]).unwrap();
        for kept in ["# About the file.", "# About the first.\n[[task]]", "name = \"first\" # of all", "[[task.header]]"] {
            assert!(new.contains(kept), "{kept}: {new}");
        }
        for kept in ["# About the second.\n[[task]]", "# About the third.\n[[task]]", "# The end."] {
            assert!(new.contains(kept), "{kept}: {new}");
        }
        assert!(!new.contains("plugin-trap") && !new.contains("old"), "{new}");
        assert!(new.contains("payload = \"one\"") && new.contains("payload = \"0xff\""), "{new}");
        // Again with the same: nothing moves.
        assert_eq!(record(&new, &[answer(b"one"), refused, answer(&[0xff])]).unwrap(), new);
    }

    #[test]
    fn a_file_written_otherwise_is_refused_instead_of_damaged() {
        let inline = "task = [{ name = \"first\", request = \"x\" }]\n";
        assert!(record(inline, &[answer(b"one")]).is_err());
        let dotted = "[[task]]\nname = \"first\"\nrequest = \"\"\"\n[[task]]\n\"\"\"\n";
        assert!(record(dotted, &[answer(b"one")]).is_err());
    }
}
