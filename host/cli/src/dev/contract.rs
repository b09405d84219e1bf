//! The contract of the AVS that is being developed.

use std::path::Path;

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_json_abi::JsonAbi;
use alloy_primitives::Address;
use serde_json::Value;

use crate::author::AuthorError;
use crate::author::project;

/// Longest compiler's output.
const MAX_ARTIFACT: u64 = 8 * 1024 * 1024;

/// How an argument is written that is the operator registry's address, known only once that is deployed.
const REGISTRY: &str = "registry";

/// An argument of the constructor.
#[derive(Debug)]
enum Argument {
    Registry,
    Value(DynSolValue),
}

/// A contract to be deployed: what a compiler (solc, Foundry, Hardhat) left, read and checked.
#[derive(Debug)]
pub struct Contract {
    /// As `Setup::deploy` takes it.
    compiled: String,
    arguments: Vec<Argument>,
}

/// The constructor's arguments, of these types.
fn arguments(types: &[String], given: &[String]) -> Result<Vec<Argument>, String> {
    match (types, given) {
        ([], []) => return Ok(Vec::new()),
        ([only], []) if only == "address" => return Ok(vec![Argument::Registry]),
        _ => {}
    }
    if types.len() != given.len() {
        return Err(format!(
            "its constructor takes ({}): write --argument for each of them, in order, and {REGISTRY:?} for the address of the operator registry",
            types.join(", ")
        ));
    }
    let argument = |(number, (of, text)): (usize, (&String, &String))| {
        if of == "address" && text == REGISTRY {
            return Ok(Argument::Registry);
        }
        let value = DynSolType::parse(of).and_then(|of| of.coerce_str(text));
        value.map(Argument::Value).map_err(|error| format!("argument {}, {text:?}, is no {of}: {error}", number + 1))
    };
    types.iter().zip(given).enumerate().map(argument).collect()
}

impl Contract {
    /// Reads a compiler's JSON, with arguments for the constructor. Blocks.
    ///
    /// # Errors
    /// [`AuthorError::Contract`].
    pub fn read(path: &Path, given: &[String]) -> Result<Self, AuthorError> {
        let text = project::text(path, MAX_ARTIFACT)?;
        Self::parse(&text, given).map_err(|why| AuthorError::Contract { path: path.to_owned(), why })
    }

    fn parse(text: &str, given: &[String]) -> Result<Self, String> {
        let mut artifact: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Foundry puts it one level lower.
        let bytecode = artifact.get("bytecode").and_then(|code| code.get("object").unwrap_or(code).as_str());
        let bytecode = bytecode.ok_or("there is no `bytecode` in it: give a compiler's JSON for one contract")?;
        let compiled = serde_json::json!({ "bytecode": bytecode }).to_string();
        eigenshift_chain::deploy::init_code(&compiled).map_err(|error| error.to_string())?;
        let abi = artifact.get_mut("abi").map(Value::take).ok_or("there is no `abi` in it")?;
        let abi: JsonAbi = serde_json::from_value(abi).map_err(|error| format!("its `abi`: {error}"))?;
        let inputs = abi.constructor.map(|constructor| constructor.inputs).unwrap_or_default();
        let types: Vec<String> = inputs.iter().map(|input| input.selector_type().into_owned()).collect();
        Ok(Self { compiled, arguments: arguments(&types, given)? })
    }

    /// What the chain is given: compiled code and constructor's arguments.
    pub fn deployment(&self, registry: Address) -> (&str, Vec<u8>) {
        let value = |argument: &Argument| match argument {
            Argument::Registry => DynSolValue::Address(registry),
            Argument::Value(value) => value.clone(),
        };
        (&self.compiled, DynSolValue::Tuple(self.arguments.iter().map(value).collect()).abi_encode_params())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use alloy_sol_types::SolValue;

    use super::*;

    fn constructor(types: &[&str]) -> String {
        let inputs: Vec<Value> = types.iter().map(|of| serde_json::json!({ "type": of, "name": "" })).collect();
        let of = serde_json::json!({ "type": "constructor", "stateMutability": "nonpayable", "inputs": inputs });
        serde_json::json!({ "abi": [of], "bytecode": "0x60" }).to_string()
    }

    fn parse(text: &str, given: &[&str]) -> Result<Contract, String> {
        Contract::parse(text, &given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn compilers_outputs_are_read_and_what_is_none_is_refused() {
        let registry = Address::repeat_byte(7);
        let plain = parse(r#"{"abi":[],"bytecode":{"object":"0x60"}}"#, &[]).unwrap();
        assert!(plain.deployment(registry).1.is_empty());
        for bad in [
            &constructor(&["uint7"]),
            r#"{"abi":[{"type":"constructor","inputs":[7]}],"bytecode":"0x60"}"#,
            r#"{"abi":[],"bytecode":"0x"}"#,
            r#"{"abi":[],"bytecode":"0x__$lib$__"}"#,
            r#"{"bytecode":"0x60"}"#,
            "[]",
            "no json",
        ] {
            assert!(parse(bad, &["1"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_constructor_gets_the_arguments_that_it_takes() {
        let registry = Address::repeat_byte(7);
        let with = parse(&constructor(&["address"]), &[]).unwrap();
        assert_eq!(with.deployment(registry).1, registry.abi_encode());
        let many = constructor(&["string", "address", "uint64", "address[]"]);
        let other = Address::repeat_byte(8);
        let given = ["EUR/USD", "registry", "12", &format!("[{other}]")];
        let (text, number) = ("EUR/USD".to_owned(), 12_u64);
        let expected = (text, registry, number, vec![other]).abi_encode_params();
        assert_eq!(parse(&many, &given).unwrap().deployment(registry).1, expected);
        for (types, given, why) in [
            (&["address", "address"][..], &[][..], "(address, address): write --argument"),
            (&["uint256"], &[], "(uint256): write --argument"),
            (&[], &["1"], "takes (): write"),
            (&["address"], &["registry", "1"], "takes (address)"),
            (&["uint256"], &["registry"], "argument 1, \"registry\", is no uint256"),
            (&["bool", "uint8"], &["true", "256"], "argument 2, \"256\", is no uint8"),
            (&["address"], &["0x01"], "argument 1, \"0x01\", is no address"),
        ] {
            let said = parse(&constructor(types), given).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
