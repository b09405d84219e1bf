//! Every key of `avs.toml`: the one table that the parser, the editors' schema and the tests go by.
//!
//! A path's parts are divided by dots; `*` is any name, `[]` an entry of an array of tables.

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A table with the keys below its path.
    Section,
    /// A table of at most `max` sections, each under a name of its own; they are at `path.*`.
    Named {
        /// Most names.
        max: u64,
    },
    /// At most `max` entries of an array of tables.
    Entries {
        /// Most entries.
        max: u64,
    },
    /// Text of so many bytes.
    Text {
        /// Shortest.
        min: u64,
        /// Longest.
        max: u64,
        /// What it looks like.
        form: Form,
    },
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A duration: a whole number and `ms`, `s`, `m` or `h`.
    Duration {
        /// Shortest, milliseconds.
        min_ms: u64,
        /// Longest, milliseconds.
        max_ms: u64,
    },
    /// `0x` and so many bytes in hexadecimal.
    Hex {
        /// Fewest.
        min: u64,
        /// Most.
        max: u64,
    },
    /// One of these.
    Choice(&'static [&'static str]),
    /// At most `max` different ones of these.
    List {
        /// What each is.
        of: &'static Kind,
        /// Most.
        max: u64,
    },
    /// Text, a whole number or a boolean, as the `type` beside it says.
    Scalar {
        /// Longest as text, bytes.
        max: u64,
    },
}

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No control characters.
    Line,
    /// a-z, 0-9 and `-`.
    Name,
    /// a-z, 0-9, `-`, `_` and `.`.
    ConfigKey,
    /// An entry of an allow-list: scheme, host, port.
    Entry,
}

impl Form {
    /// For people.
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Line => "without control characters",
            Self::Name => "of a-z, 0-9 and `-`",
            Self::ConfigKey => "of a-z, 0-9, `-`, `_` and `.`",
            Self::Entry => "like https://*.example.org:8443",
        }
    }

    /// For editors.
    pub(super) const fn pattern(self) -> &'static str {
        match self {
            Self::Line => r"^[^\u0000-\u001f\u007f]*$",
            Self::Name => "^[a-z0-9-]*$",
            Self::ConfigKey => "^[a-z0-9._-]*$",
            Self::Entry => r"^https?://[^/?#@\s]+$",
        }
    }

    pub(super) fn fits(self, text: &str) -> bool {
        let of = |more: &[u8]| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
        };
        match self {
            // Whether an entry is one is for the allow-list to say.
            Self::Line | Self::Entry => !text.contains(char::is_control),
            Self::Name => of(b"-"),
            Self::ConfigKey => of(b"-_."),
        }
    }
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Always,
    /// Never.
    Never,
    /// When the `type` beside it is this one; with another it must not be there.
    With(&'static str),
}

/// What holds when a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing in particular.
    None,
    /// This number.
    Number(u64),
    /// This text.
    Text(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it is.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// What holds without it.
    pub default: Fallback,
    /// For people.
    pub doc: &'static str,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// Names of imports, triggers and types of configuration values.
pub(super) const IMPORTS: &[&str] = &["chain", "log", "config", "keyvalue", "http", "secrets"];
pub(super) const TIMER: &str = "timer";
pub(super) const EVENT: &str = "event";
pub(super) const STRING: &str = "string";
pub(super) const INTEGER: &str = "integer";
pub(super) const BOOLEAN: &str = "boolean";

/// The WIT track that this host serves.
pub const WORLD: &str = "0.1";

const fn key(path: &'static str, kind: Kind, default: Fallback, doc: &'static str) -> Key {
    Key { path, kind, need: Need::Never, default, doc }
}

const fn number(path: &'static str, min: u64, max: u64, default: u64, doc: &'static str) -> Key {
    key(path, Kind::Integer { min, max }, Fallback::Number(default), doc)
}

const fn section(path: &'static str, doc: &'static str) -> Key {
    key(path, Kind::Section, Fallback::None, doc)
}

const fn needed(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, need: Need::Always, default: Fallback::None, doc }
}

const fn with(kind_of: &'static str, path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, need: Need::With(kind_of), default: Fallback::None, doc }
}

const fn text(min: u64, max: u64, form: Form) -> Kind {
    Kind::Text { min, max, form }
}

/// Every key.
pub const KEYS: &[Key] = &[
    needed("name", text(1, 64, Form::Line), "Name of the AVS's logic, for people."),
    needed("version", text(1, 64, Form::Line), "Version of the AVS's logic, for people."),
    needed("world", Kind::Choice(&[WORLD]), "WIT track that the component was built against."),
    key(
        "publisher",
        text(1, 128, Form::Line),
        Fallback::None,
        "Who publishes the bundle, for people. The key that signs it comes from the cluster or the chain, never from here.",
    ),
    key(
        "imports",
        Kind::List { of: &Kind::Choice(IMPORTS), max: IMPORTS.len() as u64 },
        Fallback::None,
        "What the plugin needs to import. Calls of anything else are answered access-denied.",
    ),
    key(
        "secrets",
        Kind::List { of: &text(1, 64, Form::Name), max: 16 },
        Fallback::None,
        "Names of secrets that the operator is to provide.",
    ),
    section("limits", "What one call may use: the same on every operator."),
    number(
        "limits.fuel",
        1_000,
        1_000_000_000_000,
        1_000_000_000,
        "Fuel of a call: about one a WebAssembly instruction.",
    ),
    number(
        "limits.memory-bytes",
        64 * KIB,
        1024 * MIB,
        64 * MIB,
        "Bytes of all memories and tables of a call, summed.",
    ),
    number("limits.keys-per-task", 1, 64, 1, "Response keys that a task may have."),
    section("http", "Requests to other hosts; needs `http` among the imports."),
    key(
        "http.allow",
        Kind::List { of: &text(1, 300, Form::Entry), max: 64 },
        Fallback::None,
        "Where requests may go: scheme, host, port if it is not the scheme's. `*.` in front allows every name below.",
    ),
    number("http.request-bytes", 0, 16 * MIB, 64 * KIB, "Bytes of a request's body."),
    number("http.response-bytes", 1, 16 * MIB, MIB, "Bytes of a response's body."),
    key(
        "http.timeout",
        Kind::Duration { min_ms: 100, max_ms: 60_000 },
        Fallback::Text("5s"),
        "Longest time of a request, from looking the name up to the last byte.",
    ),
    number("http.concurrency", 1, 16, 4, "Requests of a call at the same time."),
    number("http.requests-per-call", 1, 64, 8, "Requests of a call."),
    section("keyvalue", "Storage of the AVS's own on each operator; needs `keyvalue` among the imports."),
    number("keyvalue.bytes", 4 * KIB, 1024 * MIB, 16 * MIB, "Bytes of all keys and values."),
    number("keyvalue.keys", 1, 1_000_000, 10_000, "Keys."),
    number("keyvalue.value-bytes", 1, MIB, 64 * KIB, "Bytes of a value."),
    number("keyvalue.operations-per-call", 1, 10_000, 256, "Operations of a call."),
    key(
        "config",
        Kind::Named { max: 64 },
        Fallback::None,
        "Values that an operator may set; needs `config` among the imports.",
    ),
    section("config.*", "One value."),
    needed("config.*.type", Kind::Choice(&[STRING, INTEGER, BOOLEAN]), "What the value is."),
    key(
        "config.*.default",
        Kind::Scalar { max: 4 * KIB },
        Fallback::None,
        "The value where the operator sets none; without it the operator must set one. The pure callbacks see no other.",
    ),
    key("config.*.doc", text(1, KIB, Form::Line), Fallback::None, "What the value is for, for the operator."),
    key(
        "trigger",
        Kind::Entries { max: 16 },
        Fallback::None,
        "What makes the leader ask the plugin for a task; needs a component that exports `task-source`.",
    ),
    needed("trigger[].type", Kind::Choice(&[TIMER, EVENT]), "What it is."),
    with(TIMER, "trigger[].name", text(1, 64, Form::Name), "Name of the timer, as the plugin is given it."),
    with(
        TIMER,
        "trigger[].every",
        Kind::Duration { min_ms: 1000, max_ms: 720 * HOUR_MS },
        "Time between two of its slots.",
    ),
    with(EVENT, "trigger[].address", Kind::Hex { min: 20, max: 20 }, "The contract that emits."),
    with(
        EVENT,
        "trigger[].topics",
        Kind::List { of: &Kind::Hex { min: 32, max: 32 }, max: 64 },
        "First topics; with none, every event of the contract.",
    ),
    section("runtime", "How calls are run."),
    number(
        "runtime.reuse-calls",
        0,
        10_000,
        0,
        "Calls of one callback that an instance serves before it is replaced; 0: a fresh instance for each call, which costs a Rust plugin next to nothing and an interpreter a millisecond. What a call leaves behind, the next one finds: answers must not depend on it.",
    ),
    key("golden", Kind::Entries { max: 16 }, Fallback::None, "Tasks with known answers, run before a bundle is used."),
    number("golden[].index", 0, u32::MAX as u64, 0, "The task's index."),
    needed("golden[].request", Kind::Hex { min: 0, max: 16 * KIB }, "The task's request."),
    needed(
        "golden[].digest",
        Kind::Hex { min: 32, max: 32 },
        "A digest that the plugin must want signed for it, without a chain and with the default configuration.",
    ),
];

/// The row of a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The last part of a row's path when it is right below `parent`.
pub(super) fn below(key: &Key, parent: &str) -> Option<&'static str> {
    let name = match parent {
        "" => key.path,
        _ => key.path.strip_prefix(parent)?.strip_prefix('.')?,
    };
    (!name.contains(['.', '['])).then_some(name)
}

/// The rows right below a path, in the table's order.
pub(super) fn children(parent: &str) -> impl Iterator<Item = (&'static str, &'static Key)> {
    KEYS.iter().filter_map(move |key| below(key, parent).map(|name| (name, key)))
}

/// A path one part longer.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
