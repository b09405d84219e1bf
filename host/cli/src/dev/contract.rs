//! The contract of the AVS that is being developed.

use std::path::Path;

use alloy_primitives::Address;
use alloy_sol_types::SolValue;
use serde_json::Value;

use crate::author::AuthorError;
use crate::author::project;

/// Longest compiler's output.
const MAX_ARTIFACT: u64 = 8 * 1024 * 1024;

/// A contract to be deployed: what a compiler (solc, Foundry, Hardhat) left, read and checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Contract {
    /// As `Setup::deploy` takes it.
    compiled: String,
    /// Whether its constructor takes the registry's address.
    takes_registry: bool,
}

impl Contract {
    /// Reads a compiler's JSON. Blocks.
    ///
    /// # Errors
    /// [`AuthorError::Contract`].
    pub fn read(path: &Path) -> Result<Self, AuthorError> {
        let text = project::text(path, MAX_ARTIFACT)?;
        Self::parse(&text).map_err(|why| AuthorError::Contract { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let artifact: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Foundry puts it one level lower.
        let bytecode = artifact.get("bytecode").and_then(|code| code.get("object").unwrap_or(code).as_str());
        let bytecode = bytecode.ok_or("there is no `bytecode` in it: give a compiler's JSON for one contract")?;
        let functions = artifact.get("abi").and_then(Value::as_array).ok_or("there is no `abi` in it")?;
        let is_constructor = |item: &&Value| item.get("type").and_then(Value::as_str) == Some("constructor");
        let inputs = functions.iter().find(is_constructor).and_then(|item| item.get("inputs")?.as_array());
        let types: Vec<&str> = inputs
            .into_iter()
            .flatten()
            .map(|input| input.get("type").and_then(Value::as_str).unwrap_or("?"))
            .collect();
        let takes_registry = match types.as_slice() {
            [] => false,
            ["address"] => true,
            other => {
                return Err(format!(
                    "its constructor takes ({}); here it may take nothing, or one address, which is the operator registry's: deploy yours from a small contract of that kind",
                    other.join(", ")
                ));
            }
        };
        let compiled = serde_json::json!({ "bytecode": bytecode }).to_string();
        eigenshift_chain::deploy::init_code(&compiled).map_err(|error| error.to_string())?;
        Ok(Self { compiled, takes_registry })
    }

    /// What the chain is given: compiled code and constructor's arguments.
    pub fn deployment(&self, registry: Address) -> (&str, Vec<u8>) {
        (&self.compiled, if self.takes_registry { registry.abi_encode() } else { Vec::new() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn compilers_outputs_are_read_and_constructors_that_cannot_be_called_refused() {
        let constructor =
            |types: &str| format!(r#"{{"abi":[{{"type":"constructor","inputs":[{types}]}}],"bytecode":"0x60"}}"#);
        let address = r#"{"type":"address"}"#;
        let registry = Address::repeat_byte(7);
        let plain = Contract::parse(r#"{"abi":[],"bytecode":{"object":"0x60"}}"#).unwrap();
        assert!(plain.deployment(registry).1.is_empty());
        let with = Contract::parse(&constructor(address)).unwrap();
        assert_eq!(with.deployment(registry).1, registry.abi_encode());
        let bad = [
            constructor(&format!("{address},{address}")),
            constructor(r#"{"type":"uint256"}"#),
            constructor("7"),
            r#"{"abi":[],"bytecode":"0x"}"#.to_owned(),
            r#"{"abi":[],"bytecode":"0x__$lib$__"}"#.to_owned(),
            r#"{"bytecode":"0x60"}"#.to_owned(),
            "[]".to_owned(),
            "no json".to_owned(),
        ];
        for bad in bad {
            assert!(Contract::parse(&bad).is_err(), "{bad}");
        }
    }
}
