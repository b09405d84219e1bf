//! `tasks.toml`: recorded tasks, with what the world was like and what the plugin answered.
//!
//! Every key is told of at the head of `plugins/incredible-squaring/tasks.toml`, which is every new project's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use eigenshift_plugin::{ChainReadError, ChainReader, EventLog, Header, SecretValue, Secrets, Signable, Task};
use eigenshift_types::{Address, B256, BlockRef, Bytes, Service, keccak256};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;
use zeroize::Zeroizing;

use super::error::AuthorError;
use super::project;
use crate::provided::Setting;

/// Longest file.
const MAX_FILE: u64 = 1024 * 1024;
/// Most tasks of a file, and most reads of a task of each kind.
const MAX_TASKS: usize = 256;
const MAX_READS: usize = 256;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Reads that nothing stands for, kept for the report.
const MAX_MISSED: usize = 8;

/// Bytes as they stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(pub Bytes);

impl Data {
    /// How it is written: text where it is readable, else hexadecimal.
    #[must_use]
    pub fn written(&self) -> String {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.is_empty() && !text.starts_with("0x") && text.bytes().all(readable) => text.to_owned(),
            _ => self.0.to_string(),
        }
    }
}

/// Whether it stands in a TOML string as it is.
const fn readable(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\'
}

impl std::str::FromStr for Data {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(digits) = text.strip_prefix("0x") else { return Ok(Self(Bytes::copy_from_slice(text.as_bytes()))) };
        let bytes =
            hex::decode(digits).map_err(|error| format!("{text:?} begins with 0x and is not hexadecimal: {error}"))?;
        Ok(Self(bytes.into()))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    to: Address,
    data: Data,
    block: Option<u64>,
    returns: Option<Data>,
    reverts: Option<Data>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    block: u64,
    time: u64,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    address: Address,
    #[serde(default)]
    topics: Vec<B256>,
    #[serde(default)]
    data: Data,
    block: u64,
}

/// One answer to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// What it is about.
    pub key: Data,
    /// `K`, as the plugin encodes it.
    pub payload: Data,
    /// What is signed.
    pub digest: B256,
}

impl From<&Signable> for Response {
    fn from(item: &Signable) -> Self {
        let key = Bytes::copy_from_slice(item.key.as_bytes());
        Self { key: Data(key), payload: Data(item.payload.clone()), digest: item.digest }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: Spanned<String>,
    request: Data,
    #[serde(default)]
    index: u32,
    #[serde(default)]
    time: u64,
    #[serde(default)]
    block: u64,
    block_hash: Option<B256>,
    #[serde(default)]
    chain_id: u64,
    #[serde(default)]
    service_manager: Address,
    #[serde(default, rename = "call")]
    calls: Vec<Call>,
    #[serde(default, rename = "header")]
    headers: Vec<Block>,
    #[serde(default, rename = "log")]
    logs: Vec<Log>,
    #[serde(default, rename = "response")]
    responses: Vec<Response>,
    refused: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    config: BTreeMap<String, Setting>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default, rename = "task")]
    tasks: Vec<Entry>,
}

/// What was recorded, or what came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Responses, in order.
    Responses(Vec<Response>),
    /// An error with this code.
    Refused(String),
}

/// A recorded task.
#[derive(Debug)]
pub struct Recorded {
    /// Its name.
    pub name: String,
    /// What the plugin is given.
    pub task: Task,
    /// What it answered; none when nobody recorded that yet.
    pub expected: Option<Answer>,
    pub(super) reads: Arc<Entries>,
}

impl Recorded {
    /// A task of `avs.toml`, whose digest the load has checked.
    #[must_use]
    pub fn golden(number: usize, golden: &eigenshift_plugin::manifest::Golden) -> Option<Self> {
        let entry = Entry {
            name: Spanned::new(0..0, format!("golden {number}")),
            request: Data(golden.request.clone()),
            index: golden.index,
            time: 0,
            block: 0,
            block_hash: Some(B256::ZERO),
            chain_id: 0,
            service_manager: Address::ZERO,
            calls: Vec::new(),
            headers: Vec::new(),
            logs: Vec::new(),
            responses: Vec::new(),
            refused: None,
        };
        entry.recorded().ok()
    }

    /// The chain as the task saw it.
    #[must_use]
    pub fn chain(&self) -> RecordedChain {
        let Task { reference_block, reference_time, .. } = self.task;
        RecordedChain {
            bound: reference_block,
            time: reference_time,
            reads: Arc::clone(&self.reads),
            missed: Mutex::default(),
        }
    }
}

/// A file of recorded tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Values of what the manifest declares.
    pub config: BTreeMap<String, String>,
    /// Values of the secrets that it lists.
    pub secrets: Secrets,
    /// The tasks.
    pub tasks: Vec<Recorded>,
}

/// What was recorded of the chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    calls: Vec<Call>,
    headers: Vec<Block>,
    logs: Vec<Log>,
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        let name = self.name.as_ref();
        if !(1..=MAX_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(format!("a task's name has 1 to {MAX_NAME} bytes, all of them to be seen"));
        }
        if self.calls.len().max(self.headers.len()).max(self.logs.len()) > MAX_READS {
            return Err(format!("{name:?} has more than {MAX_READS} reads of a kind"));
        }
        if self.calls.iter().any(|call| call.returns.is_some() == call.reverts.is_some()) {
            return Err(format!("each call of {name:?} needs either `returns` or `reverts`"));
        }
        if self.refused.is_some() && !self.responses.is_empty() {
            return Err(format!("{name:?} has responses and `refused`: one of them"));
        }
        Ok(())
    }

    fn recorded(self) -> Result<Recorded, String> {
        self.check()?;
        let expected = match self.refused {
            Some(code) => Some(Answer::Refused(code)),
            None if self.responses.is_empty() => None,
            None => Some(Answer::Responses(self.responses)),
        };
        let avs = "recorded".parse().map_err(|error| format!("{error}"))?;
        let service = Service { avs, chain_id: self.chain_id, service_manager: self.service_manager };
        let hash = self.block_hash.unwrap_or_else(|| made_up(self.block));
        let task = Task {
            index: self.index,
            request: self.request.0,
            service,
            reference_block: BlockRef { number: self.block, hash },
            reference_time: self.time,
        };
        let reads = Entries { calls: self.calls, headers: self.headers, logs: self.logs };
        Ok(Recorded { name: self.name.into_inner(), task, expected, reads: reads.into() })
    }
}

/// The hash of a block of which only the number was recorded.
fn made_up(block: u64) -> B256 {
    keccak256(block.to_be_bytes())
}

/// Line, from 1, of a place in a text.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Reads a file's text.
///
/// # Errors
/// The line, what is wrong there and what to write.
pub fn parse(text: &str) -> Result<Tasks, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.tasks.len() > MAX_TASKS {
        return Err(format!("{} tasks, at most {MAX_TASKS} are run", file.tasks.len()));
    }
    let mut names = BTreeSet::new();
    let mut tasks = Vec::new();
    for entry in file.tasks {
        let line = line(text, entry.name.span().start);
        let recorded = entry.recorded().map_err(|why| format!("line {line}: {why}"))?;
        if !names.insert(recorded.name.clone()) {
            return Err(format!("line {line}: there is a task {:?} already", recorded.name));
        }
        tasks.push(recorded);
    }
    let secret = |(name, text): (String, String)| {
        let value = SecretValue::new(Zeroizing::new(text.into_bytes()));
        Ok((name.clone(), value.map_err(|error| format!("the secret `{name}`: {error}"))?))
    };
    Ok(Tasks {
        config: file.config.into_iter().map(|(key, value)| (key, value.text())).collect(),
        secrets: file.secrets.into_iter().map(secret).collect::<Result<_, String>>()?,
        tasks,
    })
}

/// Reads a file, and gives its text too; none if it is not there. Blocks.
///
/// # Errors
/// [`AuthorError::Tasks`] with the line and the fix, [`AuthorError::File`].
pub fn read(path: &Path) -> Result<Option<(String, Tasks)>, AuthorError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = project::text(path, MAX_FILE)?;
    let tasks = parse(&text).map_err(|why| AuthorError::Tasks { path: path.to_owned(), why })?;
    Ok(Some((text, tasks)))
}

/// Answers from what was recorded.
#[derive(Debug)]
pub struct RecordedChain {
    bound: BlockRef,
    time: u64,
    reads: Arc<Entries>,
    missed: Mutex<Vec<String>>,
}

impl RecordedChain {
    /// What was asked and not recorded, as it would stand in the file.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn miss(&self, what: String) -> ChainReadError {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.len() < MAX_MISSED && !missed.contains(&what) {
            missed.push(what);
        }
        ChainReadError::Unavailable("nothing was recorded for this read".to_owned())
    }

    fn block(&self, number: u64) -> BlockRef {
        if number == self.bound.number { self.bound } else { BlockRef { number, hash: made_up(number) } }
    }
}

#[async_trait]
impl ChainReader for RecordedChain {
    async fn call(&self, to: Address, data: Bytes, at: BlockRef) -> Result<Bytes, ChainReadError> {
        let same =
            |call: &&Call| call.to == to && call.data.0 == data && call.block.unwrap_or(self.bound.number) == at.number;
        match self.reads.calls.iter().find(same) {
            Some(Call { returns: Some(returns), .. }) => Ok(returns.0.clone()),
            Some(Call { reverts, .. }) => {
                Err(ChainReadError::Reverted(reverts.as_ref().map(|data| data.0.clone()).unwrap_or_default()))
            }
            None => {
                let block = at.number;
                Err(self.miss(format!(
                    "[[task.call]]\nto = \"{to}\"\ndata = \"{data}\"\nblock = {block}\nreturns = \"0x\""
                )))
            }
        }
    }

    async fn logs(
        &self,
        address: Address,
        topics0: &[B256],
        from: u64,
        to: u64,
        _bound: BlockRef,
    ) -> Result<Vec<EventLog>, ChainReadError> {
        // That there are none is an answer too.
        let wanted = |log: &&Log| {
            let topic = log.topics.first();
            log.address == address
                && (from..=to).contains(&log.block)
                && (topics0.is_empty() || topic.is_some_and(|topic| topics0.contains(topic)))
        };
        let logs = self.reads.logs.iter().filter(wanted).zip(0..);
        let event = |(log, log_index): (&Log, u32)| EventLog {
            address,
            topics: log.topics.clone(),
            data: log.data.0.clone(),
            block: self.block(log.block),
            transaction_hash: made_up(log.block),
            log_index: log_index.into(),
        };
        Ok(logs.map(event).collect())
    }

    async fn header(&self, number: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
        let number = number.unwrap_or(bound.number);
        if number == self.bound.number {
            return Ok(Header { block: self.bound, timestamp: self.time });
        }
        match self.reads.headers.iter().find(|header| header.block == number) {
            Some(header) => Ok(Header { block: self.block(number), timestamp: header.time }),
            None => Err(self.miss(format!("[[task.header]]\nblock = {number}\ntime = 0"))),
        }
    }

    async fn at_number(&self, number: u64, _bound: BlockRef) -> Result<BlockRef, ChainReadError> {
        Ok(self.block(number))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[config]
feed = "EUR/USD"
number = 7

[secrets]
api-key = "not-a-real-one"

[[task]]
name = "first"
request = "EUR"
index = 3
time = 12
block = 100

[[task.call]]
to = "0x2222222222222222222222222222222222222222"
data = "0x01"
returns = "0x02"

[[task.call]]
to = "0x2222222222222222222222222222222222222222"
data = "0x01"
block = 90
reverts = ""

[[task.log]]
address = "0x2222222222222222222222222222222222222222"
block = 95

[[task.response]]
key = "0"
payload = "0xff"
digest = "0x0000000000000000000000000000000000000000000000000000000000000001"

[[task]]
name = "second"
request = "0x"
refused = "plugin-invalid-task"
"#;

    #[test]
    fn a_whole_file_is_read() {
        let tasks = parse(WHOLE).unwrap();
        assert_eq!(tasks.config["feed"], "EUR/USD");
        assert_eq!(tasks.config["number"], "7");
        let [first, second] = tasks.tasks.as_slice() else { unreachable!() };
        assert_eq!(
            (&first.task.request[..], first.task.index, first.task.reference_block.number),
            (&b"EUR"[..], 3, 100)
        );
        assert!(matches!(&first.expected, Some(Answer::Responses(responses)) if responses.len() == 1));
        assert_eq!(second.expected, Some(Answer::Refused("plugin-invalid-task".to_owned())));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (from, to, expected) in [
            ("index = 3", "indx = 3", ["line 12", "indx"]),
            ("name = \"second\"", "name = \"first\"", ["line 37", "already"]),
            ("name = \"second\"", "name = \"\"", ["line 37", "1 to 64"]),
            ("returns = \"0x02\"", "", ["line 10", "`returns` or `reverts`"]),
            ("request = \"EUR\"", "request = \"0x1\"", ["line 11", "not hexadecimal"]),
            ("key = \"0\"", "key = \"0\"\nother = 1", ["line 33", "other"]),
            ("time = 12", "time = -1", ["line 13", "-1"]),
            ("time = 12", "refused = \"x\"", ["line 10", "one of them"]),
            ("feed = \"EUR/USD\"", "feed = [1]", ["line 3", "expected text"]),
            ("not-a-real-one", "x", ["api-key", "bytes"]),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let why = parse(&text).unwrap_err();
            assert!(expected.iter().all(|part| why.contains(part)), "{to}: {why}");
        }
        let many: String = (0..257).map(|number| format!("[[task]]\nname = \"{number}\"\nrequest = \"\"\n")).collect();
        assert!(parse(&many).unwrap_err().contains("at most 256"));
    }

    #[test]
    fn the_file_of_a_new_project_tells_of_exactly_the_keys_that_there_are() {
        let told = include_str!("../../../../plugins/incredible-squaring/tasks.toml");
        let told: String =
            told.lines().filter_map(|line| line.strip_prefix("#   ")).map(|line| format!("{line}\n")).collect();
        let tasks = parse(&told).unwrap();
        assert_eq!((tasks.config.len(), tasks.tasks.len()), (1, 1));
        let unknown = |table: &str| parse(&format!("{table}\nunknown-key = 1\n")).unwrap_err();
        for table in [
            "",
            "[[task]]",
            "[[task]]\n[[task.call]]",
            "[[task]]\n[[task.header]]",
            "[[task]]\n[[task.log]]",
            "[[task]]\n[[task.response]]",
        ] {
            let why = unknown(table);
            let (_, keys) = why.split_once("expected").unwrap();
            for key in keys.split('`').skip(1).step_by(2) {
                let is_told = [format!("{key} = "), format!("[{key}]"), format!("{key}]]")];
                assert!(is_told.iter().any(|text| told.contains(text)), "{key} of {table:?}: {why}");
            }
        }
    }

    #[tokio::test]
    async fn the_chain_answers_what_was_recorded_and_notes_the_rest() {
        let tasks = parse(WHOLE).unwrap();
        let chain = tasks.tasks[0].chain();
        let to = Address::repeat_byte(0x22);
        let call = Bytes::from_static(&[1]);
        let bound = chain.bound;
        assert_eq!(chain.call(to, call.clone(), bound).await.unwrap()[..], [2]);
        let at = chain.at_number(90, bound).await.unwrap();
        assert_eq!(chain.call(to, call, at).await, Err(ChainReadError::Reverted(Bytes::new())));
        assert_eq!(chain.logs(to, &[], 90, 95, bound).await.unwrap().len(), 1);
        assert!(chain.logs(to, &[B256::ZERO], 90, 95, bound).await.unwrap().is_empty());
        assert_eq!(chain.header(None, bound).await.unwrap().timestamp, 12);
        assert!(chain.missed().is_empty());
        for _ in 0..2 * MAX_MISSED {
            assert!(matches!(chain.header(Some(90), bound).await, Err(ChainReadError::Unavailable(_))));
        }
        assert_eq!(chain.missed(), ["[[task.header]]\nblock = 90\ntime = 0"]);
    }

    #[test]
    fn bytes_are_written_so_that_they_are_read_again() {
        for bytes in [&b""[..], b"0", b"EUR/USD", b"0x12", b"\"", b"a\\n", b"\n", &[0xff; 3]] {
            let data = Data(Bytes::copy_from_slice(bytes));
            let text: toml::Table = format!("x = \"{}\"", data.written()).parse().unwrap();
            assert_eq!(text["x"].as_str().unwrap().parse(), Ok(data), "{bytes:?}");
        }
    }
}
