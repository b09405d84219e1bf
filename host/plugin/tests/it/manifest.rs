use eigenshift_plugin::{Import, Limits, Manifest, ManifestError};

use crate::guest::manifest;

#[test]
fn defaults_are_finite() {
    let parsed = Manifest::parse("name = \"a\"\nversion = \"1\"\nworld = \"0.1\"").unwrap();
    let limits = Limits { fuel: 1_000_000_000, memory_bytes: 64 * 1024 * 1024, keys_per_task: 1 };
    assert_eq!(parsed.limits, limits);
    assert!(parsed.imports.is_empty());
}

#[test]
fn every_key_is_read() {
    let text = manifest("imports = [\"log\", \"chain\"]", "fuel = 20_000\nmemory-bytes = 1_048_576\nkeys-per-task = 8");
    let parsed = Manifest::parse(&text).unwrap();
    assert_eq!(parsed.name, "probe");
    assert_eq!(parsed.version, "1.0.0");
    assert_eq!(parsed.limits, Limits { fuel: 20_000, memory_bytes: 1_048_576, keys_per_task: 8 });
    assert_eq!(parsed.imports, [Import::Chain, Import::Log].into());
}

#[test]
fn mistakes_are_named_with_their_line_and_the_fix() {
    let cases = [
        (manifest("", "fuel = 1"), 6, "limits.fuel is 1; write a number from 10000 to 1000000000000"),
        (manifest("", "\nmemory-bytes = 10"), 7, "limits.memory-bytes"),
        (manifest("", "keys-per-task = 65"), 6, "1 to 64"),
        (manifest("", "keys-per-task = 0"), 6, "1 to 64"),
        (manifest("", "fuel = -5"), 6, ""),
        (manifest("", "memory = 10"), 6, "expected one of `fuel`, `memory-bytes`, `keys-per-task`"),
        (manifest("import = []", ""), 4, "unknown field `import`"),
        (manifest("imports = [\"wasi\"]", ""), 4, "expected `chain` or `log`"),
        (manifest("", "").replace("0.1", "0.9"), 3, "must be \"0.1\""),
        (manifest("", "").replace("probe", ""), 1, "name needs 1 to 64 bytes"),
        (manifest("", "").replace("probe", "a\\u0007"), 1, "without control characters"),
        (manifest("", "").replace("\"probe\"", "probe"), 1, ""),
    ];
    for (text, line, message) in cases {
        let error = Manifest::parse(&text).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with(&format!("avs.toml line {line}: ")), "{said}\n{text}");
        assert!(said.contains(message), "{said}\n{text}");
    }
    assert!(
        Manifest::parse("name = \"a\"\nversion = \"1\"").unwrap_err().to_string().contains("missing field `world`")
    );
    let long = format!("# {}", "x".repeat(70_000));
    assert_eq!(Manifest::parse(&long), Err(ManifestError::TooLarge { len: 70_002 }));
}
