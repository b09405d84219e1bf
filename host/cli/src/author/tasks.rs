//! `tasks.toml`: recorded tasks, with what the world was like and what the plugin answered.
//!
//! Every key is told of at the head of `plugins/incredible-squaring/tasks.toml`, which is every new project's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use eigenshift_plugin::capability::egress::Target;
use eigenshift_plugin::{SecretValue, Secrets, Signable, Task};
use eigenshift_types::{Address, B256, BlockRef, Bytes, Service};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;
use zeroize::Zeroizing;

use super::chain::{RecordedChain, made_up};
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
pub(super) struct Call {
    pub to: Address,
    pub data: Data,
    pub block: Option<u64>,
    pub returns: Option<Data>,
    pub reverts: Option<Data>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub block: u64,
    pub time: u64,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub address: Address,
    #[serde(default)]
    pub topics: Vec<B256>,
    #[serde(default)]
    pub data: Data,
    pub block: u64,
}

/// A request to another host, and what came of it, as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    method: Option<String>,
    url: String,
    /// The request's; none takes any.
    body: Option<Data>,
    status: Option<u16>,
    #[serde(default)]
    headers: HashMap<String, String>,
    /// The response's body.
    returns: Option<Data>,
    /// Whether the host is not reached.
    #[serde(default)]
    fails: bool,
}

/// The same, read.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Exchange {
    method: Method,
    /// As hosts are asked for it.
    url: String,
    body: Option<Bytes>,
    /// None where the host is not reached.
    answer: Option<HostAnswer>,
}

#[derive(Debug, PartialEq, Eq)]
struct HostAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TryFrom<Written> for Exchange {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { method, url, body, status, headers, returns, fails } = written;
        let method = method.map_or(Ok(Method::GET), |method| {
            method.parse().map_err(|error| format!("the method {method:?}: {error}"))
        })?;
        let (target, after) = Target::of(&url).map_err(|why| format!("the url {url:?}: {why}"))?;
        let answer = match (returns, fails) {
            (Some(Data(body)), false) => {
                let status = status.map_or(Ok(StatusCode::OK), StatusCode::from_u16);
                let status = status.map_err(|error| format!("the status: {error}"))?;
                let headers = HeaderMap::try_from(&headers).map_err(|error| format!("the headers: {error}"))?;
                Some(HostAnswer { status, headers, body })
            }
            (None, true) if status.is_none() && headers.is_empty() => None,
            (None, true) => return Err("with `fails = true` there is no status and no header".to_owned()),
            _ => return Err("write either `returns`, the answer's body, or `fails = true`".to_owned()),
        };
        Ok(Self { method, url: target.url(after), body: body.map(|Data(body)| body), answer })
    }
}

impl Exchange {
    /// Whether the request is the recorded one.
    pub fn is_for(&self, request: &http::Request<Bytes>) -> bool {
        self.method == request.method()
            && request.uri() == self.url.as_str()
            && self.body.as_ref().is_none_or(|body| body == request.body())
    }

    /// The answer; none where the host is not reached.
    pub fn response(&self) -> Option<http::Response<Bytes>> {
        let HostAnswer { status, headers, body } = self.answer.as_ref()?;
        let mut response = http::Response::new(body.clone());
        *response.status_mut() = *status;
        response.headers_mut().clone_from(headers);
        Some(response)
    }
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
    #[serde(default, rename = "http")]
    exchanges: Vec<Exchange>,
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
            exchanges: Vec::new(),
            responses: Vec::new(),
            refused: None,
        };
        entry.recorded().ok()
    }

    /// The chain as the task saw it.
    #[must_use]
    pub fn chain(&self) -> RecordedChain {
        let Task { reference_block, reference_time, .. } = self.task;
        RecordedChain::new(reference_block, reference_time, Arc::clone(&self.reads))
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

/// What was recorded of the chain and of other hosts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    pub calls: Vec<Call>,
    pub headers: Vec<Block>,
    pub logs: Vec<Log>,
    pub exchanges: Vec<Exchange>,
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        let name = self.name.as_ref();
        if !(1..=MAX_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(format!("a task's name has 1 to {MAX_NAME} bytes, all of them to be seen"));
        }
        let reads = [self.calls.len(), self.headers.len(), self.logs.len(), self.exchanges.len()];
        if reads.iter().any(|reads| *reads > MAX_READS) {
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
        let reads = Entries { calls: self.calls, headers: self.headers, logs: self.logs, exchanges: self.exchanges };
        Ok(Recorded { name: self.name.into_inner(), task, expected, reads: reads.into() })
    }
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

[[task.http]]
method = "POST"
url = "https://api.example.org:443?q"
body = "b"
status = 404
headers = { x-own = "1" }
returns = "{}"

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
            ("name = \"second\"", "name = \"first\"", ["line 45", "already"]),
            ("name = \"second\"", "name = \"\"", ["line 45", "1 to 64"]),
            ("returns = \"0x02\"", "", ["line 10", "`returns` or `reverts`"]),
            ("request = \"EUR\"", "request = \"0x1\"", ["line 11", "not hexadecimal"]),
            ("key = \"0\"", "key = \"0\"\nother = 1", ["line 41", "other"]),
            ("time = 12", "time = -1", ["line 13", "-1"]),
            ("time = 12", "refused = \"x\"", ["line 10", "one of them"]),
            ("feed = \"EUR/USD\"", "feed = [1]", ["line 3", "expected text"]),
            ("not-a-real-one", "x", ["api-key", "bytes"]),
            ("https://api", "api", ["line 31", "no scheme"]),
            ("method = \"POST\"", "method = \"PO ST\"", ["line 31", "method"]),
            ("status = 404", "status = 4", ["line 31", "status"]),
            ("x-own = \"1\"", "\"x own\" = \"1\"", ["line 31", "header"]),
            ("returns = \"{}\"", "", ["line 31", "either `returns`"]),
            ("returns = \"{}\"", "fails = true", ["line 31", "no status"]),
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
            "[[task]]\n[[task.http]]",
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

    #[test]
    fn bytes_are_written_so_that_they_are_read_again() {
        for bytes in [&b""[..], b"0", b"EUR/USD", b"0x12", b"\"", b"a\\n", b"\n", &[0xff; 3]] {
            let data = Data(Bytes::copy_from_slice(bytes));
            let text: toml::Table = format!("x = \"{}\"", data.written()).parse().unwrap();
            assert_eq!(text["x"].as_str().unwrap().parse(), Ok(data), "{bytes:?}");
        }
    }
}
