//! Writes answers into the text of a `tasks.toml`, and leaves everything else in it as it is.

use std::sync::Arc;

use super::tasks::{Answer, Response, Tasks, parse};

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

/// The new text, as far as it is.
struct Writer<'a> {
    out: String,
    inside: Inside,
    /// Blank lines and comments: of the table that follows, until a key of this one does.
    loose: String,
    /// Of the task that the lines belong to.
    answer: Option<&'a Answer>,
    left: std::slice::Iter<'a, Answer>,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        let bare = line.trim();
        if bare.starts_with('[') {
            return self.table(line, bare);
        }
        if bare.is_empty() || bare.starts_with('#') {
            self.loose.extend([line, "\n"]);
            return;
        }
        let is_old = match self.inside {
            Inside::Response => true,
            Inside::Task => bare.split('=').next().is_some_and(|key| key.trim() == "refused"),
            Inside::Other => false,
        };
        if !is_old {
            self.out.push_str(&self.loose);
            self.out.extend([line, "\n"]);
        }
        self.loose.clear();
    }

    fn table(&mut self, line: &str, bare: &str) {
        self.end_keys();
        if bare.starts_with("[[task.response]]") {
            self.inside = Inside::Response;
            self.loose.clear();
            return;
        }
        self.inside = Inside::Other;
        if bare.starts_with("[[task]]") {
            self.end_task();
            self.inside = Inside::Task;
            self.answer = self.left.next();
        }
        self.out.push_str(&std::mem::take(&mut self.loose));
        self.out.extend([line, "\n"]);
    }

    /// After the last of a table's keys.
    fn end_keys(&mut self) {
        if let (Inside::Task, Some(Answer::Refused(code))) = (self.inside, self.answer) {
            self.out.extend(["refused = \"", code, "\"\n"]);
        }
    }

    /// After the last of a task's tables.
    fn end_task(&mut self) {
        let Some(Answer::Responses(responses)) = self.answer.take() else { return };
        for Response { key, payload, digest } in responses {
            let (key, payload) = (key.written(), payload.written());
            self.out.push_str(&format!(
                "\n[[task.response]]\nkey = \"{key}\"\npayload = \"{payload}\"\ndigest = \"{digest}\"\n"
            ));
        }
    }
}

/// The text with these answers, one for each task in order, instead of those that were in it.
///
/// # Errors
/// For people: the file is written in a way that this does not understand.
pub fn record(text: &str, answers: &[Answer]) -> Result<String, String> {
    let mut writer =
        Writer { out: String::new(), inside: Inside::Other, loose: String::new(), answer: None, left: answers.iter() };
    text.lines().for_each(|line| writer.line(line));
    writer.end_keys();
    writer.end_task();
    let new = writer.out + &writer.loose;
    verify(text, &new, answers)?;
    Ok(new)
}

/// Whether the new text says what the old one did, with the new answers.
fn verify(old: &str, new: &str, answers: &[Answer]) -> Result<(), String> {
    const FIX: &str =
        "write its tables as [[task]], [[task.call]], [[task.response]] and each key on a line of its own";
    let (old, new) = (parse(old)?, parse(new).map_err(|_| FIX.to_owned())?);
    let same = |tasks: &Tasks| -> Vec<_> {
        tasks.tasks.iter().map(|task| (task.name.clone(), task.task.clone(), Arc::clone(&task.reads))).collect()
    };
    let recorded = new.tasks.iter().map(|task| task.expected.as_ref());
    // No responses at all cannot be told from none recorded.
    let wanted = answers.iter().map(|answer| match answer {
        Answer::Responses(responses) if responses.is_empty() => None,
        answer => Some(answer),
    });
    if same(&old) == same(&new) && old.config == new.config && recorded.eq(wanted) {
        Ok(())
    } else {
        Err(FIX.to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use eigenshift_types::B256;

    use super::super::tasks::Data;
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
        for kept in
            ["# About the file.", "# About the first.\n[[task]]", "name = \"first\" # of all", "[[task.header]]"]
        {
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
