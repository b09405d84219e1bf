use std::time::Duration;

use eigenshift_plugin::manifest::{
    ConfigType, Fallback, Golden, KEYS, Key, Keyvalue, Kind, MAX_MANIFEST_BYTES, Need, Trigger, schema,
};
use eigenshift_plugin::{Import, Limits, Manifest, ManifestError};
use eigenshift_types::{Address, B256, Bytes};

use crate::guest::manifest;

/// Every key once.
const EVERYTHING: &str = r#"
name = "probe"
version = "1.0.0"
world = "0.1"
publisher = "Probe Labs"
imports = ["log", "chain", "config", "keyvalue", "http", "secrets"]
secrets = ["api-key", "other"]

[limits]
fuel = 20_000
memory-bytes = 1_048_576
keys-per-task = 8

[http]
allow = ["https://api.example.org", "https://*.example.org:8443"]
request-bytes = 1
response-bytes = 2
timeout = "1500ms"
concurrency = 3
requests-per-call = 5

[keyvalue]
bytes = 8192
keys = 7
value-bytes = 100
operations-per-call = 9

[config.region]
type = "string"
default = "eu"
doc = "Where prices come from."

[config.depth]
type = "integer"
default = -3

[config.verbose]
type = "boolean"
default = true

[config."max.age_s"]
type = "integer"

[[trigger]]
type = "timer"
name = "minute"
every = "1m"

[[trigger]]
type = "event"
address = "0x2222222222222222222222222222222222222222"
topics = ["0x1111111111111111111111111111111111111111111111111111111111111111"]

[runtime]
reuse-calls = 1000

[[golden]]
index = 7
request = "0x0102"
digest = "0x3333333333333333333333333333333333333333333333333333333333333333"
"#;

#[test]
fn defaults_are_finite() {
    let parsed = Manifest::parse("name = \"a\"\nversion = \"1\"\nworld = \"0.1\"").unwrap();
    let limits = Limits { fuel: 1_000_000_000, memory_bytes: 64 * 1024 * 1024, keys_per_task: 1 };
    assert_eq!(parsed.limits, limits);
    assert!(parsed.imports.is_empty() && parsed.secrets.is_empty() && parsed.config.is_empty());
    assert!(parsed.triggers.is_empty() && parsed.golden.is_empty());
    assert_eq!(parsed.reuse_calls, 0, "a fresh instance for each call");
    assert!(parsed.http.allow.is_empty(), "nowhere");
    assert_eq!((parsed.http.request_bytes, parsed.http.response_bytes), (64 * 1024, 1024 * 1024));
    assert_eq!((parsed.http.timeout, parsed.http.concurrency), (Duration::from_secs(5), 4));
    assert_eq!(parsed.http.requests_per_call, 8);
    let quota = Keyvalue { bytes: 16 << 20, keys: 10_000, value_bytes: 64 << 10, operations_per_call: 256 };
    assert_eq!(parsed.keyvalue, quota);
}

#[test]
fn every_key_is_read() {
    let parsed = Manifest::parse(EVERYTHING).unwrap();
    assert_eq!(parsed.name, "probe");
    assert_eq!(parsed.version, "1.0.0");
    assert_eq!(parsed.publisher.as_deref(), Some("Probe Labs"));
    assert_eq!(parsed.limits, Limits { fuel: 20_000, memory_bytes: 1_048_576, keys_per_task: 8 });
    assert_eq!(parsed.imports, Import::ALL.into());
    assert_eq!(parsed.secrets, ["api-key".to_owned(), "other".to_owned()].into());
    let allow: Vec<_> = parsed.http.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["https://api.example.org:443", "https://*.example.org:8443"]);
    assert_eq!((parsed.http.request_bytes, parsed.http.response_bytes), (1, 2));
    assert_eq!((parsed.http.timeout, parsed.http.concurrency), (Duration::from_millis(1500), 3));
    assert_eq!(parsed.http.requests_per_call, 5);
    let quota = Keyvalue { bytes: 8192, keys: 7, value_bytes: 100, operations_per_call: 9 };
    assert_eq!(parsed.keyvalue, quota);
    let config: Vec<_> =
        parsed.config.iter().map(|(key, value)| (key.as_str(), value.kind, value.default.as_deref())).collect();
    assert_eq!(
        config,
        [
            ("depth", ConfigType::Integer, Some("-3")),
            ("max.age_s", ConfigType::Integer, None),
            ("region", ConfigType::String, Some("eu")),
            ("verbose", ConfigType::Boolean, Some("true")),
        ]
    );
    assert_eq!(parsed.config["region"].doc.as_deref(), Some("Where prices come from."));
    let address = Address::repeat_byte(0x22);
    assert_eq!(
        parsed.triggers,
        [
            Trigger::Timer { name: "minute".to_owned(), every: Duration::from_secs(60) },
            Trigger::Event { address, topics: vec![B256::repeat_byte(0x11)] },
        ]
    );
    assert_eq!(parsed.reuse_calls, 1000);
    let golden = Golden { index: 7, request: Bytes::from_static(&[1, 2]), digest: B256::repeat_byte(0x33) };
    assert_eq!(parsed.golden, [golden]);
}

#[test]
fn mistakes_are_named_with_their_line_and_the_fix() {
    let cases = [
        (manifest("", "fuel = 1"), 6, "limits.fuel is 1; write a number from 1000 to 1000000000000"),
        (manifest("", "\nmemory-bytes = 10"), 7, "limits.memory-bytes"),
        (manifest("", "keys-per-task = 65"), 6, "1 to 64"),
        (manifest("", "keys-per-task = 0"), 6, "1 to 64"),
        (manifest("", "fuel = -5"), 6, "limits.fuel is -5"),
        (manifest("", "fuel = 99999999999999999999"), 6, "limits.fuel is 99999999999999999999"),
        (manifest("", "fuel = 1.5e9"), 6, "is a number"),
        (manifest("", "fuel = \"1\""), 6, "is a number"),
        (manifest("", "memory = 10"), 6, "no key limits.memory; there are fuel, memory-bytes, keys-per-task"),
        (manifest("import = []", ""), 4, "no key import; there are name, version, world"),
        (manifest("imports = [\"wasi\"]", ""), 4, "needs one of \"chain\", \"log\", \"config\""),
        (manifest("imports = [\n\"log\",\n\"log\"]", ""), 6, "has \"log\" twice"),
        (manifest("imports = \"log\"", ""), 4, "is a list"),
        (manifest("limits = 5", "").replace("[limits]", ""), 4, "write [limits]"),
        (manifest("", "").replace("0.1", "0.9"), 3, "world needs one of \"0.1\""),
        (manifest("", "").replace("probe", ""), 1, "name needs 1 to 64 bytes"),
        (manifest("", "").replace("probe", "a\\u0007"), 1, "without control characters"),
        (manifest("", "").replace("\"probe\"", "probe"), 1, ""),
        (manifest("name = \"again\"", ""), 4, ""),
        (manifest("", "[http]\nallow = [\"https://x.org/path\"]"), 6, "has no effect without \"http\""),
        (manifest("imports = [\"http\"]", "[http]\nallow = [\"x.org\"]"), 7, "\"x.org\" is no entry: write http://"),
        (manifest("imports = [\"http\"]", "[http]\nallow = [\"https://127.1\"]"), 7, "four decimal numbers"),
        (manifest("imports = [\"http\"]", "[http]\ntimeout = \"5\""), 7, "needs a duration in quotes"),
        (manifest("imports = [\"http\"]", "[http]\ntimeout = 5"), 7, "needs a duration in quotes"),
        (manifest("imports = [\"http\"]", "[http]\nfollow = true"), 7, "no key http.follow; there are allow"),
        (manifest("", "[keyvalue]"), 6, "has no effect without \"keyvalue\""),
        (
            manifest("imports = [\"keyvalue\"]", "[keyvalue]\nbytes = 4096\nvalue-bytes = 4097"),
            8,
            "keyvalue.value-bytes is 4097, more than keyvalue.bytes, 4096",
        ),
        (manifest("secrets = [\"a\"]", ""), 4, "has no effect without \"secrets\""),
        (manifest("imports = [\"secrets\"]\nsecrets = [\"A\"]", ""), 5, "of a-z, 0-9 and `-`"),
        (manifest("", "[config.a]\ntype = \"string\""), 6, "has no effect without \"config\""),
        (manifest("imports = [\"config\"]", "[config.a]"), 6, "config.a.type is missing; add it"),
        (manifest("imports = [\"config\"]", "[config.\"A b\"]\ntype = \"string\""), 6, "of a-z, 0-9, `-`, `_` and `.`"),
        (manifest("imports = [\"config\"]", "[config.a]\ntype = \"float\""), 7, "needs one of \"string\""),
        (
            manifest("imports = [\"config\"]", "[config.a]\ntype = \"integer\"\ndefault = \"1\""),
            8,
            "config.a.default is no integer",
        ),
        (
            manifest("imports = [\"config\"]", "[config.a]\ntype = \"boolean\"\ndefault = 1"),
            8,
            "config.a.default is no boolean",
        ),
        (manifest("imports = [\"config\"]", "[config.a]\ntype = \"string\"\ndefault = 1.5"), 8, "is text"),
        (manifest("", "[[trigger]]\nname = \"a\""), 6, "trigger[0].type is missing"),
        (manifest("", "[[trigger]]\ntype = \"timer\"\nname = \"a\""), 6, "trigger[0].every is missing"),
        (
            manifest("", "[[trigger]]\ntype = \"timer\"\nname = \"a\"\nevery = \"1s\"\naddress = \"0x\""),
            10,
            "trigger[0].address is only there with type = \"event\"",
        ),
        (
            manifest("", &"[[trigger]]\ntype = \"timer\"\nname = \"a\"\nevery = \"1s\"\n".repeat(2)),
            10,
            "two timers called \"a\"",
        ),
        (manifest("", "[[golden]]\nrequest = \"0x\"\ndigest = \"0x12\""), 8, "needs \"0x\" and 32 bytes"),
        (manifest("", "[[golden]]\nrequest = \"0x0\""), 7, "in hexadecimal"),
        (manifest("", "[[golden]]\nrequest = \"00\""), 7, "in hexadecimal"),
        (manifest("", "[[golden]]\nrequest = \"0x+1\""), 7, "in hexadecimal"),
        (manifest("golden = [1]", ""), 4, "golden[0] is a table"),
        (manifest("golden = 1", ""), 4, "write [[golden]]"),
        (manifest("", "[runtime]\nfuel = 1"), 7, "no key runtime.fuel; there are reuse-calls"),
    ];
    for (text, line, message) in cases {
        let error = Manifest::parse(&text).expect_err(&text);
        let said = error.to_string();
        assert!(said.starts_with(&format!("avs.toml line {line}: ")), "{said}\n{text}");
        assert!(said.contains(message), "{said}\n{text}");
    }
    assert!(Manifest::parse("name = \"a\"\nversion = \"1\"").unwrap_err().to_string().contains("world is missing"));
}

#[test]
fn mistakes_have_codes() {
    let code = |text: &str| Manifest::parse(text).unwrap_err().code();
    assert_eq!(code("name = "), "manifest-syntax");
    assert_eq!(code("nam = 1"), "manifest-unknown-key");
    assert_eq!(code("name = \"a\""), "manifest-missing-key");
    assert_eq!(code("name = 1"), "manifest-value");
    let long = format!("# {}", "x".repeat(70_000));
    assert_eq!(Manifest::parse(&long), Err(ManifestError::TooLarge { len: 70_002 }));
    assert_eq!(code(&long), "manifest-too-large");
}

/// A manifest whose key at `path` of the table has `value`, with whatever else that needs.
fn with(row: &Key, value: &str) -> String {
    let mut top = vec![("name", "\"a\"".to_owned()), ("version", "\"1\"".to_owned()), ("world", "\"0.1\"".to_owned())];
    let imports: Vec<_> = Import::ALL.iter().map(|import| format!("\"{import}\"")).collect();
    top.push(("imports", format!("[{}]", imports.join(", "))));
    let mut below = String::new();
    match row.path.rsplit_once('.') {
        None => {
            top.retain(|(key, _)| *key != row.path);
            top.push((row.path, value.to_owned()));
        }
        Some((parent, key)) => {
            let header = match parent.strip_suffix("[]") {
                Some(list) => format!("[[{list}]]"),
                None => format!("[{}]", parent.replace('*', "key")),
            };
            let kind = match row.need {
                Need::With(kind) => kind,
                _ => "string",
            };
            let siblings = [
                ("config.*", "type", format!("\"{kind}\"")),
                ("trigger[]", "type", format!("\"{kind}\"")),
                ("trigger[]", "name", "\"a\"".to_owned()),
                ("trigger[]", "every", "\"1s\"".to_owned()),
                ("trigger[]", "address", format!("\"0x{}\"", "22".repeat(20))),
                ("trigger[]", "topics", "[]".to_owned()),
                ("golden[]", "request", "\"0x\"".to_owned()),
                ("golden[]", "digest", format!("\"0x{}\"", "11".repeat(32))),
            ];
            below = format!("{header}\n");
            for (around, sibling, text) in siblings {
                let of_kind = KEYS.iter().any(|other| {
                    other.path == format!("{around}.{sibling}")
                        && (other.need == Need::Always || other.need == Need::With(kind))
                });
                if around == parent && sibling != key && of_kind {
                    below.push_str(&format!("{sibling} = {text}\n"));
                }
            }
            below.push_str(&format!("{} = {value}\n", key.replace('*', "key")));
        }
    }
    let top: String = top.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    top + &below
}

/// Values at the bounds of a kind, and values beyond them.
fn bounds(kind: &Kind) -> (Vec<String>, Vec<String>) {
    let text = |len: u64| format!("\"{}\"", "a".repeat(usize::try_from(len).unwrap()));
    let hex = |len: u64| format!("\"0x{}\"", "ab".repeat(usize::try_from(len).unwrap()));
    let below = |min: u64, value: &dyn Fn(u64) -> String| min.checked_sub(1).map(value);
    match *kind {
        Kind::Text { max: 300, .. } => {
            // An entry of the allow-list cannot be as long as its row allows.
            (vec!["\"http://a\"".to_owned()], vec![text(301), text(0)])
        }
        Kind::Text { min, max, .. } => {
            let over = [Some(text(max + 1)), below(min, &text), Some("5".to_owned()), Some("\"\\u0000\"".to_owned())];
            (vec![text(min), text(max)], over.into_iter().flatten().collect())
        }
        Kind::Integer { min, max } => {
            let number = |number: u64| number.to_string();
            let over = [Some(number(max + 1)), below(min, &number), Some("-1".to_owned()), Some("true".to_owned())];
            (vec![number(min), number(max)], over.into_iter().flatten().collect())
        }
        Kind::Duration { min_ms, max_ms } => {
            let time = |ms: u64| format!("\"{ms}ms\"");
            let over =
                [time(max_ms + 1), time(min_ms - 1), "\"5 s\"".to_owned(), "\"99999999999999999999h\"".to_owned()];
            (vec![time(min_ms), time(max_ms)], over.into())
        }
        Kind::Hex { min, max } => {
            let over =
                [Some(hex(max + 1)), below(min, &hex), Some("\"0xzz\"".to_owned()), Some("\"0xabc\"".to_owned())];
            (vec![hex(min), hex(max)], over.into_iter().flatten().collect())
        }
        Kind::Choice(choices) => (
            choices.iter().map(|choice| format!("\"{choice}\"")).collect(),
            vec!["\"other\"".to_owned(), "\"\"".to_owned(), "1".to_owned()],
        ),
        Kind::List { of, max } => {
            let (good, bad) = bounds(of);
            // Distinct items: of a choice there are no more than allowed.
            let many = |count: u64| -> Vec<String> {
                match of {
                    Kind::Choice(_) => good.iter().cycle().take(usize::try_from(count).unwrap()).cloned().collect(),
                    Kind::Hex { max, .. } => (0..count)
                        .map(|i| format!("\"0x{i:0len$x}\"", len = usize::try_from(2 * max).unwrap()))
                        .collect(),
                    Kind::Text { max: 300, .. } => (0..count).map(|i| format!("\"http://a{i}\"")).collect(),
                    _ => (0..count).map(|i| format!("\"a{i}\"")).collect(),
                }
            };
            let list = |items: &[String]| format!("[{}]", items.join(", "));
            let mut over: Vec<_> = bad.iter().map(|item| list(std::slice::from_ref(item))).collect();
            over.push(list(&many(max + 1)));
            over.push(list(&[good[0].clone(), good[0].clone()]));
            (vec![list(&[]), list(&many(max))], over)
        }
        Kind::Scalar { max } => (vec![text(0), text(max)], vec![text(max + 1), "1.5".to_owned(), "[]".to_owned()]),
        Kind::Section => (vec![], vec!["1".to_owned()]),
        Kind::Named { max } => {
            let many = |count: u64| {
                let keys: Vec<_> = (0..count).map(|i| format!("k{i} = {{ type = \"string\" }}")).collect();
                format!("{{ {} }}", keys.join(", "))
            };
            let long = format!("{{ {} = {{ type = \"string\" }} }}", "k".repeat(65));
            (vec![many(0), many(max)], vec![many(max + 1), long, "1".to_owned(), "{ key = 1 }".to_owned()])
        }
        Kind::Entries { max } => {
            let entry = |i: u64| format!("{{ type = \"timer\", name = \"t{i}\", every = \"1s\" }}");
            let many = |count: u64| format!("[{}]", (0..count).map(entry).collect::<Vec<_>>().join(", "));
            (vec![many(0), many(max)], vec![many(max + 1), "1".to_owned(), "[1]".to_owned()])
        }
    }
}

#[test]
fn every_bound_of_every_key_holds() {
    for row in KEYS {
        let (mut good, bad) = bounds(&row.kind);
        match row.path {
            "golden" => {
                let entry = format!("{{ request = \"0x\", digest = \"0x{}\" }}", "11".repeat(32));
                good = vec!["[]".to_owned(), format!("[{}]", vec![entry; 16].join(", "))];
            }
            // The smallest store has no room for the largest value that is allowed without being written.
            "keyvalue.bytes" => drop(good.remove(0)),
            // The type decides which other keys there must be; `mistakes_are_named_with_their_line_and_the_fix` has them.
            "trigger[].type" => good.clear(),
            _ => {}
        }
        for value in good {
            let text = with(row, &value);
            Manifest::parse(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", row.path));
        }
        for value in bad {
            let text = with(row, &value);
            let said = Manifest::parse(&text).expect_err(&text).to_string();
            let place = row.path.replace(".*", ".key").replace("[]", "[0]");
            assert!(said.contains(place.split('[').next().unwrap()), "{place}: {said}");
            assert!(said.starts_with("avs.toml line "), "{said}");
        }
    }
}

#[test]
fn the_defaults_are_within_their_own_bounds() {
    for row in KEYS {
        let value = match row.default {
            Fallback::None => continue,
            Fallback::Number(number) => number.to_string(),
            Fallback::Text(text) => format!("\"{text}\""),
        };
        let text = with(row, &value);
        Manifest::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", row.path));
    }
}

#[test]
fn every_key_is_in_the_manifest_that_has_every_key() {
    for row in KEYS {
        let name = row.path.rsplit(['.', ']']).next().unwrap();
        let shown = match name {
            "" | "*" => continue,
            name => name,
        };
        assert!(EVERYTHING.contains(shown), "{} is not in EVERYTHING", row.path);
    }
}

#[test]
fn hostile_documents_are_refused_in_bounded_time() {
    for text in [
        "[".repeat(MAX_MANIFEST_BYTES),
        format!("a = {}", "[".repeat(MAX_MANIFEST_BYTES - 10)),
        format!("a = {}", "{b=".repeat(20_000)),
        "a.".repeat(30_000) + "b = 1",
        "[a]\n".repeat(16_000),
        (0..8_000).map(|i| format!("k{i}=1\n")).collect(),
    ] {
        let error = Manifest::parse(&text).unwrap_err();
        assert!(error.to_string().len() < 1024, "{}", error.code());
    }
}

#[test]
fn the_committed_schema_is_the_table_of_keys() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/avs-toml.schema.json");
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == schema(), "run `cargo xtask schema`");
}

#[test]
fn the_schema_has_every_key_with_its_bounds() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    for row in KEYS {
        let mut node = &schema;
        for part in row.path.split('.') {
            let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
            node = if name == "*" { &node["additionalProperties"] } else { &node["properties"][name] };
            if list {
                node = &node["items"];
            }
        }
        assert!(node.is_object(), "{}", row.path);
        assert_eq!(node["description"], row.doc, "{}", row.path);
        match row.kind {
            Kind::Integer { min, max } => {
                assert_eq!((node["minimum"].as_u64(), node["maximum"].as_u64()), (Some(min), Some(max)));
            }
            Kind::Section => assert_eq!(node["additionalProperties"], false, "{}", row.path),
            _ => {}
        }
    }
    assert_eq!(schema["required"], serde_json::json!(["name", "version", "world"]));
    assert_eq!(schema["properties"]["trigger"]["items"]["additionalProperties"], false);
}
