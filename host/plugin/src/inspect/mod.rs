//! Looks at a component before anything of it is compiled.
//!
//! Compiling is where a component costs most before it has run an instruction, and neither fuel nor memory limits hold
//! there. So everything that makes work for a compiler is counted first, in one pass over the bytes that takes memory in
//! proportion to them, and [`LoadError::TooComplex`] names what there is too much of. The structure is validated on the
//! way; functions' bodies are only measured, the compiler validates them.
//!
//! - `limits`: what is counted and the bounds.
//! - `scopes`: components within components, and how often they are instantiated.
//! - `types`: component types, without recursion over hostile nesting.
//! - here: the pass, and [`Report`], which says what was found and what would be granted.

mod limits;
mod scopes;
mod types;

use std::fmt;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    FunctionBody, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};
use wasmtime::Engine;

use crate::capability::{Verdict, verdict};
use crate::error::LoadError;
use crate::host::Grants;
use crate::manifest::Manifest;
use crate::sandbox::text::{MAX_TEXT, clean};
pub use limits::Limit;
use limits::Tally;
use scopes::Scopes;
use types::Extents;

/// The header of a WebAssembly binary: magic, version, layer.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// An interface, or a function by itself, that a component imports or exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its full name; at most 1 KiB, control characters escaped.
    pub name: String,
    /// Names of its functions; none for a function by itself, and for an interface of types only.
    pub functions: Vec<String>,
}

/// What a component is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the component.
    pub bytes: usize,
    /// What it imports, as written in it.
    pub imports: Vec<Interface>,
    /// What it exports.
    pub exports: Vec<Interface>,
    tally: Tally,
}

impl Report {
    /// How much there is of something.
    #[must_use]
    pub fn count(&self, limit: Limit) -> u64 {
        self.tally.get(limit)
    }

    /// What would become of each import under a manifest and an operator's grants, in the order of `imports`.
    #[must_use]
    pub fn verdicts(&self, manifest: &Manifest, grants: &Grants) -> Vec<(&Interface, Verdict)> {
        self.imports.iter().map(|import| (import, verdict(&import.name, manifest, grants))).collect()
    }
}

impl fmt::Display for Report {
    /// One line per fact: sizes with their bounds, then imports and exports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bytes {}", self.bytes)?;
        for limit in Limit::ALL {
            writeln!(f, "{limit} {} of {}", self.count(limit), limit.max())?;
        }
        for (what, interfaces) in [("import", &self.imports), ("export", &self.exports)] {
            for Interface { name, functions } in interfaces {
                writeln!(f, "{what} {name} {}", functions.join(" "))?;
            }
        }
        Ok(())
    }
}

/// What the engine has switched on; see `sandbox::settings`. More is refused here, less where it is compiled.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::COMPONENT_MODEL
}

fn malformed(error: BinaryReaderError) -> LoadError {
    // The message may hold names out of the component.
    LoadError::Malformed(clean(&error.to_string(), MAX_TEXT))
}

/// Refuses what is no component by what it is instead.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    let Some((version, _)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return Err(LoadError::NotWasm);
    };
    match version {
        &CORE_MODULE => Err(LoadError::CoreModule),
        [_, _, layer @ ..] if *layer == COMPONENT_LAYER => Ok(()),
        _ => Err(LoadError::NotWasm),
    }
}

/// Counts and bounds everything in a component; nothing is compiled. Takes about as long as copying the bytes a few times:
/// not for an async thread when the component is an interpreter's.
///
/// # Errors
/// [`LoadError::TooComplex`] when there is too much of something, [`LoadError::Malformed`] when it is broken, and the errors
/// for what is no component.
pub fn inspect(bytes: &[u8]) -> Result<Report, LoadError> {
    check_header(bytes)?;
    let mut pass = Pass {
        whole: bytes,
        validator: Validator::new_with_features(features()),
        tally: Tally::default(),
        scopes: Scopes::default(),
        extents: Extents::default(),
        names: Names::default(),
    };
    let mut types = None;
    for payload in Parser::new(0).parse_all(bytes) {
        if let Some(end) = pass.take(&payload.map_err(malformed)?)? {
            types = Some(end);
        }
    }
    let types = types.ok_or_else(|| LoadError::Malformed("it has no end".to_owned()))?;
    let interfaces = |names: &[String], is_import| {
        let interface =
            |name: &String| Interface { name: clean(name, MAX_TEXT), functions: functions(&types, name, is_import) };
        names.iter().map(interface).collect()
    };
    Ok(Report {
        bytes: bytes.len(),
        imports: interfaces(&pass.names.imports, true),
        exports: interfaces(&pass.names.exports, false),
        tally: pass.tally,
    })
}

fn functions(types: &Types, name: &str, is_import: bool) -> Vec<String> {
    let types = types.as_ref();
    let item = if is_import { types.component_item_for_import(name) } else { types.component_item_for_export(name) };
    let instance = match item.map(|item| item.ty) {
        Some(ComponentEntityType::Instance(id)) => types.get(id),
        _ => None,
    };
    let exports = instance.into_iter().flat_map(|instance| &instance.exports);
    let functions = exports.filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)));
    functions.map(|(name, _)| clean(name, MAX_TEXT)).collect()
}

/// Names at the outermost level.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

struct Pass<'a> {
    whole: &'a [u8],
    validator: Validator,
    tally: Tally,
    scopes: Scopes,
    extents: Extents,
    names: Names,
}

impl Pass<'_> {
    /// Counts, then validates: what there is too much of is not looked at any further. Types at the end of the outermost
    /// component.
    fn take(&mut self, payload: &Payload<'_>) -> Result<Option<Types>, LoadError> {
        self.count(payload)?;
        if let Payload::ComponentTypeSection(section) = payload {
            types::section(section, self.whole, &mut self.validator, &mut self.extents, &mut self.tally)?;
            return Ok(None);
        }
        match self.validator.payload(payload).map_err(malformed)? {
            ValidPayload::End(types) if self.scopes.is_closed() => Ok(Some(types)),
            _ => Ok(None),
        }
    }

    fn count(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        let tally = &mut self.tally;
        match payload {
            Payload::Version { encoding, .. } => self.scopes.open(*encoding == Encoding::Component, tally),
            Payload::End(_) => self.scopes.close(tally),
            Payload::ModuleSection { .. } => tally.add(Limit::CoreModules, 1),
            Payload::TypeSection(section) => tally.add(Limit::CoreTypes, section.count().into()),
            Payload::CoreTypeSection(section) => tally.add(Limit::CoreTypes, section.count().into()),
            Payload::ImportSection(section) => tally.add(Limit::Imports, section.count().into()),
            Payload::FunctionSection(section) => tally.add(Limit::CoreFunctions, section.count().into()),
            Payload::TableSection(section) => tally.add(Limit::Tables, section.count().into()),
            Payload::MemorySection(section) => tally.add(Limit::Memories, section.count().into()),
            Payload::GlobalSection(section) => tally.add(Limit::Globals, section.count().into()),
            Payload::ExportSection(section) => tally.add(Limit::Exports, section.count().into()),
            Payload::ElementSection(section) => tally.add(Limit::ElementSegments, section.count().into()),
            Payload::DataSection(section) => tally.add(Limit::DataSegments, section.count().into()),
            Payload::CodeSectionEntry(body) => function(body, tally),
            Payload::ComponentCanonicalSection(section) => tally.add(Limit::CanonicalFunctions, section.count().into()),
            Payload::InstanceSection(section) => self.scopes.core_instances(section, tally),
            Payload::ComponentInstanceSection(section) => self.scopes.instances(section, tally),
            Payload::ComponentAliasSection(section) => {
                tally.add(Limit::Aliases, section.count().into())?;
                for alias in section.clone() {
                    match alias.map_err(malformed)? {
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            tally.add(Limit::ForeignComponents, 1)?;
                        }
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            self.scopes.outer_component(count, index)?;
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Payload::ComponentImportSection(section) => {
                tally.add(Limit::Imports, section.count().into())?;
                for import in section.clone() {
                    let import = import.map_err(malformed)?;
                    if matches!(import.ty, ComponentTypeRef::Component(_)) {
                        tally.add(Limit::ForeignComponents, 1)?;
                    }
                    if self.scopes.is_outermost() {
                        self.names.imports.push(import.name.name.to_owned());
                    }
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                tally.add(Limit::Exports, section.count().into())?;
                for export in section.clone() {
                    let export = export.map_err(malformed)?;
                    if export.kind == ComponentExternalKind::Component {
                        self.scopes.exported_component(export.index)?;
                    }
                    if self.scopes.is_outermost() {
                        self.names.exports.push(export.name.name.to_owned());
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn function(body: &FunctionBody<'_>, tally: &mut Tally) -> Result<(), LoadError> {
    let bytes = body.range().len() as u64;
    tally.most(Limit::FunctionBytes, bytes)?;
    let mut locals: u64 = 0;
    for group in body.get_locals_reader().map_err(malformed)? {
        let (count, _) = group.map_err(malformed)?;
        locals = locals.saturating_add(count.into());
    }
    tally.most(Limit::FunctionLocals, locals)?;
    tally.most(Limit::FunctionWeight, locals.saturating_mul(bytes))
}
