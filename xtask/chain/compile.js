// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Compiles contracts: node compile.js CONTRACTS_DIR OUT_DIR
//
// Every *.sol in CONTRACTS_DIR is compiled (imports between them are written "./Name.sol"). For each contract that can
// be deployed OUT_DIR/Name.json is written: {"abi": [...], "bytecode": "0x..."}. The output depends on nothing but the
// sources and the compiler's version: no metadata hash, no paths, no times; so it can be committed, and compared after
// compiling again. Errors and warnings alike end it with exit code 1 before anything is written.
//
// `solc` comes from NODE_PATH or from a node_modules folder beside this file, at the version of package-lock.json.
"use strict";

const fs = require("fs");
const path = require("path");
const solc = require("solc");

// EIP-170: what a chain accepts as the code of a contract.
const MAX_RUNTIME_BYTES = 24576;

function fail(message) {
  console.error(message);
  process.exit(1);
}

const [contractsDir, outDir, ...rest] = process.argv.slice(2);
if (!contractsDir || !outDir || rest.length > 0) fail("usage: node compile.js CONTRACTS_DIR OUT_DIR");

// In the order of code units, not of a locale.
const names = fs.readdirSync(contractsDir).filter((name) => name.endsWith(".sol")).sort();
if (names.length === 0) fail(`no .sol file in ${contractsDir}`);

const input = {
  language: "Solidity",
  sources: Object.fromEntries(
    names.map((name) => [name, { content: fs.readFileSync(path.join(contractsDir, name), "utf8") }]),
  ),
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "prague",
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: {
      "*": { "": ["ast"], "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] },
    },
  },
};

// All files are given above, so every import that reaches this callback is one that does not exist.
const output = JSON.parse(
  solc.compile(JSON.stringify(input), { import: (file) => ({ error: `${file} is not in ${contractsDir}` }) }),
);

const messages = output.errors || [];
for (const message of messages) console.error(message.formattedMessage || message.message);
if (messages.length > 0) fail(`${messages.length} message(s) from solc ${solc.version()}; warnings count as errors`);

const artifacts = new Map();
for (const file of names) {
  for (const node of output.sources[file].ast.nodes) {
    if (node.nodeType !== "ContractDefinition" || node.contractKind !== "contract" || node.abstract) continue;
    const { abi, evm } = output.contracts[file][node.name];
    if (artifacts.has(node.name)) fail(`${file}: a second contract named ${node.name}`);
    if (!/^[0-9a-f]+$/.test(evm.bytecode.object)) fail(`${file}: ${node.name} needs linking, which is not supported`);
    const size = evm.deployedBytecode.object.length / 2;
    if (size > MAX_RUNTIME_BYTES) fail(`${file}: ${node.name} has ${size} bytes of code; ${MAX_RUNTIME_BYTES} is the most`);
    artifacts.set(node.name, { size, json: { abi, bytecode: `0x${evm.bytecode.object}` } });
  }
}
if (artifacts.size === 0) fail(`no contract to deploy in ${contractsDir}`);

fs.mkdirSync(outDir, { recursive: true });
for (const [name, { size, json }] of artifacts) {
  fs.writeFileSync(path.join(outDir, `${name}.json`), `${JSON.stringify(json, null, 2)}\n`);
  console.log(`${name} ${size} bytes`);
}
