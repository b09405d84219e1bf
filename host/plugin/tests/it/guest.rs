//! Builds components from hand-written core modules, so that a guest can be as hostile as the canonical ABI allows.
//!
//! A module has fixed data (below) and one body per exported function. Memory up to `HEAP` is the module's own; what the
//! host passes in lies above.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eigenshift_plugin::Bundle;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub const LIFECYCLE: &str = "eigenshift:avs/task-lifecycle@0.1.0";
pub const SOURCE: &str = "eigenshift:avs/task-source@0.1.0";
pub const SUBMISSION: &str = "eigenshift:avs/task-submission@0.1.0";
pub const ROTATION: &str = "eigenshift:avs/rotation@0.1.0";
pub const DIRECTORY: &str = "eigenshift:avs/operator-directory@0.1.0";

/// Where fixed data lies: four answer bytes, a key, 32 bytes of 0x11 (a digest), 20 of 0x22 (an address), a 32-byte one.
pub const ANSWER: u32 = 2048;
pub const KEY: u32 = 2064;
pub const DIGEST: u32 = 2080;
pub const ADDRESS: u32 = 2112;
pub const ONE: u32 = 2144;
/// Free for bodies to build results in.
pub const SCRATCH: u32 = 4096;
pub const HEAP: u32 = 131_072;

const TASK: &str = "(param i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i32 i64)";

/// Little-endian words as the text of a data segment.
fn words(words: &[u32]) -> String {
    words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
}

/// A body that writes words to [`SCRATCH`] and returns their address: a result in memory.
pub fn result(values: &[u32]) -> String {
    let stores: String = values
        .iter()
        .enumerate()
        .map(|(i, value)| format!("(i32.store (i32.const {}) (i32.const {value}))", SCRATCH as usize + 4 * i))
        .collect();
    format!("{stores} (i32.const {SCRATCH})")
}

#[derive(Clone)]
pub struct Guest {
    /// Module text before the functions: imports.
    pub imports: String,
    /// Module text after the functions: globals, tables, helpers.
    pub extra: String,
    /// Body per exported function, by full name.
    pub bodies: BTreeMap<String, String>,
    /// What the world exports and imports.
    pub world: String,
    /// Replaces the WIT package; none takes the released one.
    pub wit: Option<String>,
    /// How its strings are encoded.
    pub encoding: StringEncoding,
    /// Core modules that are instantiated beside the guest.
    pub beside: Vec<String>,
    /// `avs.toml`.
    pub manifest: String,
}

pub const IMPORT_LOG: &str = r#"(import "eigenshift:avs/log@0.1.0" "emit" (func $emit (param i32 i32 i32)))"#;
pub const IMPORT_CALL: &str =
    r#"(import "eigenshift:avs/chain@0.1.0" "call" (func $call (param i32 i32 i32 i32 i32 i64 i32)))"#;
pub const IMPORT_HEADER: &str = r#"(import "eigenshift:avs/chain@0.1.0" "header" (func $header (param i32 i64 i32)))"#;
pub const IMPORT_LOGS: &str =
    r#"(import "eigenshift:avs/chain@0.1.0" "logs" (func $logs (param i32 i32 i32 i32 i64 i64 i32)))"#;

pub const IMPORT_CONFIG_GET: &str =
    r#"(import "wasi:config/store@0.2.0-rc.1" "get" (func $config_get (param i32 i32 i32)))"#;
pub const IMPORT_CONFIG_ALL: &str =
    r#"(import "wasi:config/store@0.2.0-rc.1" "get-all" (func $config_all (param i32)))"#;

pub const KEYVALUE: &str = "wasi:keyvalue/store@0.2.0-draft2";
pub const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft2";
pub const IMPORT_KEYVALUE: &str = r#"
    (import "wasi:keyvalue/store@0.2.0-draft2" "open" (func $kv_open (param i32 i32 i32)))
    (import "wasi:keyvalue/store@0.2.0-draft2" "[method]bucket.get" (func $kv_get (param i32 i32 i32 i32)))
    (import "wasi:keyvalue/store@0.2.0-draft2" "[method]bucket.set" (func $kv_set (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:keyvalue/store@0.2.0-draft2" "[resource-drop]bucket" (func $kv_drop (param i32)))"#;
pub const IMPORT_ATOMICS: &str = r#"
    (import "wasi:keyvalue/atomics@0.2.0-draft2" "[static]cas.new" (func $cas_new (param i32 i32 i32 i32)))
    (import "wasi:keyvalue/atomics@0.2.0-draft2" "[resource-drop]cas" (func $cas_drop (param i32)))
    (import "wasi:keyvalue/atomics@0.2.0-draft2" "swap" (func $cas_swap (param i32 i32 i32 i32)))"#;

/// What the tests use of WASI 0.2, each after those that it uses.
const WASI: [(&str, &str); 7] = [
    ("io.wit", include_str!("wit/io.wit")),
    ("clocks.wit", include_str!("wit/clocks.wit")),
    ("random.wit", include_str!("wit/random.wit")),
    ("filesystem.wit", include_str!("wit/filesystem.wit")),
    ("cli.wit", include_str!("wit/cli.wit")),
    ("sockets.wit", include_str!("wit/sockets.wit")),
    ("http.wit", include_str!("wit/http.wit")),
];

pub const SECRETS: &str = "eigenshift:secrets/store@0.1.0";
pub const IMPORT_SECRETS: &str = r#"
    (import "eigenshift:secrets/store@0.1.0" "open" (func $secret_open (param i32 i32 i32)))
    (import "eigenshift:secrets/store@0.1.0" "[method]secret.reveal" (func $secret_reveal (param i32 i32)))"#;

fn signature(function: &str) -> String {
    match function.split_once('#').unwrap().1 {
        "describe" => "(result i32)".to_owned(),
        "on-task-request" => format!("{TASK} (result i32)"),
        "on-submit-task-to-leader" => format!("{TASK} (param i32 i32) (result i32)"),
        "is-answered" => format!("{TASK} (param i64 i32 i32) (result i32)"),
        // More than sixteen flat parameters: one pointer.
        "on-leader-process-task-response" | "on-trigger" | "submit" => "(param i32) (result i32)".to_owned(),
        "event-filters" => "(param i32 i32 i64 i32 i32) (result i32)".to_owned(),
        "next" => "(param i32 i32 i32 i32 i32 i32 i32) (result i32)".to_owned(),
        "is-registered-operator" | "fetch-operator-url" => {
            "(param i32 i32 i64 i32 i32 i64 i32 i32 i32 i32) (result i32)".to_owned()
        }
        other => panic!("no signature for {other}"),
    }
}

impl Default for Guest {
    /// Answers `01 02 03 04` under the key `k` and the digest of 32 times 0x11.
    fn default() -> Self {
        let mut guest = Self {
            imports: String::new(),
            extra: String::new(),
            bodies: BTreeMap::new(),
            world: format!("import eigenshift:avs/chain@0.1.0; import eigenshift:avs/log@0.1.0; export {LIFECYCLE};"),
            wit: None,
            encoding: StringEncoding::UTF8,
            beside: Vec::new(),
            manifest: manifest("imports = [\"chain\", \"log\"]", ""),
        };
        guest.body("describe", "(i32.const 16)");
        guest.body("on-task-request", &result(&[0, SCRATCH + 12, 1, ANSWER, 4]));
        guest
            .body("on-submit-task-to-leader", &result(&[0, SCRATCH + 12, 1, KEY, 1, ANSWER, 4, DIGEST, 32, ANSWER, 0]));
        // The task's index is the first word of the arguments.
        let index = format!("(i32.store (i32.const {}) (i32.load (local.get 0)))", SCRATCH + 4);
        guest.body("on-leader-process-task-response", &format!("{} {index}", result(&[0, 0, KEY, 1, DIGEST, 32])));
        guest
    }
}

pub fn manifest(top: &str, limits: &str) -> String {
    format!("name = \"probe\"\nversion = \"1.0.0\"\nworld = \"0.1\"\n{top}\n[limits]\n{limits}\n")
}

impl Guest {
    /// Sets the body of a lifecycle function.
    pub fn body(&mut self, function: &str, body: &str) -> &mut Self {
        self.bodies.insert(format!("{LIFECYCLE}#{function}"), body.to_owned());
        self
    }

    /// A default guest with one body replaced.
    pub fn with(function: &str, body: &str) -> Self {
        let mut guest = Self::default();
        guest.body(function, body);
        guest
    }

    pub fn limits(mut self, limits: &str) -> Self {
        self.manifest = manifest("imports = [\"chain\", \"log\"]", limits);
        self
    }

    /// Adds an optional interface.
    pub fn export(&mut self, interface: &str, functions: &[(&str, String)]) -> &mut Self {
        self.world.push_str(&format!("export {interface};"));
        for (function, body) in functions {
            self.bodies.insert(format!("{interface}#{function}"), body.clone());
        }
        self
    }

    pub fn core(&self) -> Vec<u8> {
        let functions: String = self
            .bodies
            .iter()
            .map(|(name, body)| format!("(func (export \"{name}\") {} {body})\n", signature(name)))
            .collect();
        let described = words(&[1024, 5, 1029, 3, 1032, 4]);
        let text = format!(
            r#"(module
            {imports}
            (memory (export "memory") 3)
            (global $heap (mut i32) (i32.const {HEAP}))
            (data (i32.const 16) "{described}")
            (data (i32.const 1024) "probe1.0none")
            (data (i32.const {ANSWER}) "\01\02\03\04")
            (data (i32.const {KEY}) "k2")
            (data (i32.const {DIGEST}) "{digest}")
            (data (i32.const {ADDRESS}) "{address}")
            (data (i32.const {last}) "\01")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (global.set $heap (i32.add (local.get $at) (local.get 3)))
              (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
                (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16)))))))
              (local.get $at))
            {functions}
            {extra})"#,
            imports = self.imports,
            extra = self.extra,
            digest = "\\11".repeat(32),
            address = "\\22".repeat(20),
            last = ONE + 31,
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub fn component(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        match &self.wit {
            Some(text) => drop(resolve.push_str("package.wit", text).unwrap()),
            None => drop(resolve.push_path(wit_folder()).unwrap()),
        }
        for package in ["config", "keyvalue", "secrets"] {
            resolve.push_path(wit_folder().join("../deps").join(package)).unwrap();
        }
        for (name, text) in WASI {
            resolve.push_str(name, text).unwrap();
        }
        let world = format!("package test:guest; world guest {{ {} }}", self.world);
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut module = self.core();
        embed_component_metadata(&mut module, &resolve, world, self.encoding).unwrap();
        let component =
            ComponentEncoder::default().module(&module).unwrap().validate(true).encode().expect("the probe encodes");
        self.beside.iter().fold(component, |component, module| beside(component, &wat::parse_str(module).unwrap()))
    }

    pub fn bundle(&self) -> Bundle {
        Bundle::new(self.component(), self.manifest.clone())
    }
}

pub fn wit_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit/v0.1")
}

/// The released WIT package as one text.
pub fn wit_text() -> String {
    let mut text = String::new();
    for file in ["types", "imports", "lifecycle", "optional"] {
        let source = std::fs::read_to_string(wit_folder().join(format!("{file}.wit"))).unwrap();
        let body = source.replacen("package eigenshift:avs@0.1.0;", "", 1);
        text.push_str(&body);
    }
    format!("package eigenshift:avs@0.1.0;\n{text}")
}

pub fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn read_leb(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// Appends a core module and an instance of it to a component: sections 1 and 2 of the component binary format.
pub fn beside(mut component: Vec<u8>, module: &[u8]) -> Vec<u8> {
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        let id = component[at];
        at += 1;
        let size = read_leb(&component, &mut at);
        at += size;
        modules += usize::from(id == 1);
    }
    component.push(1);
    component.extend(leb(module.len()));
    component.extend(module);
    let instance: Vec<u8> = [vec![1, 0], leb(modules), vec![0]].concat();
    component.push(2);
    component.extend(leb(instance.len()));
    component.extend(instance);
    component
}

/// A core module of functions that are within every bound for their size, and long to compile: each is one straight line
/// over 64 locals.
pub fn bomb(functions: usize, bytes: usize) -> Vec<u8> {
    let section = |id: u8, body: &[u8]| [vec![id], leb(body.len()), body.to_vec()].concat();
    let mut code = Vec::with_capacity(bytes + 16);
    // Locals: one group of 64 i32.
    code.extend([1, 64, 0x7f]);
    for step in 0.. {
        if code.len() + 8 > bytes {
            break;
        }
        let local = |n: usize| u8::try_from((step * 7 + n * 13) % 64).unwrap();
        // c = a * b + step
        code.extend([0x20, local(0), 0x20, local(1), 0x6c, 0x41, local(3), 0x6a, 0x21, local(2)]);
    }
    code.push(0x0b);
    let body = [leb(code.len()), code].concat();
    let mut bodies = leb(functions);
    for _ in 0..functions {
        bodies.extend(&body);
    }
    let types = [1, 0x60, 0, 0];
    let declared = [leb(functions), vec![0; functions]].concat();
    [b"\0asm\x01\0\0\0".to_vec(), section(1, &types), section(3, &declared), section(10, &bodies)].concat()
}
