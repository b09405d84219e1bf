//! Component types, bounded before anything recurses over them.
//!
//! `wasmparser` reads a component type that is declared within another by recursion without a bound, so that 3 KB of
//! nested declarations overflow the stack, which ends the process; wasmtime reads with it. [`Cursor`] walks the same bytes
//! in a loop first. Each type is then handed to the validator by itself, so that the next one, which may be twice as large
//! as this one, is not reached once this one is too large.

use std::collections::HashMap;

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentValType,
};
use wasmparser::types::TypesRef;
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternName, ComponentImport, ComponentType, ComponentTypeRef,
    ComponentTypeSectionReader, CoreType, Validator,
};

use super::limits::{Limit, Tally};
use super::malformed;
use crate::error::LoadError;

/// Bytes of a component type that begin another list of declarations.
const COMPONENT: u8 = 0x41;
const INSTANCE: u8 = 0x42;

/// Reads types without recursion.
struct Cursor<'a> {
    bytes: &'a [u8],
    reader: BinaryReader<'a>,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, reader: BinaryReader::new(bytes, offset) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.reader.current_position()).copied()
    }

    /// Reads one type, to its end.
    fn one(&mut self, tally: &mut Tally) -> Result<(), LoadError> {
        // How many declarations of each open list are still to come.
        let mut open: Vec<u32> = Vec::new();
        self.begin(&mut open, tally)?;
        while let Some(left) = open.last_mut() {
            let Some(less) = left.checked_sub(1) else {
                open.pop();
                continue;
            };
            *left = less;
            self.declaration(&mut open, tally)?;
        }
        Ok(())
    }

    fn begin(&mut self, open: &mut Vec<u32>, tally: &mut Tally) -> Result<(), LoadError> {
        tally.add(Limit::Types, 1)?;
        if matches!(self.peek(), Some(COMPONENT | INSTANCE)) {
            self.reader.read_u8().map_err(malformed)?;
            open.push(self.reader.read_var_u32().map_err(malformed)?);
            tally.most(Limit::TypeNesting, open.len() as u64)
        } else {
            self.reader.read::<ComponentType<'_>>().map(drop).map_err(malformed)
        }
    }

    /// One declaration within a component's or an instance's type.
    fn declaration(&mut self, open: &mut Vec<u32>, tally: &mut Tally) -> Result<(), LoadError> {
        match self.reader.read_u8().map_err(malformed)? {
            0x00 => {
                tally.add(Limit::CoreTypes, 1)?;
                self.reader.read::<CoreType<'_>>().map(drop).map_err(malformed)
            }
            0x01 => self.begin(open, tally),
            0x02 => {
                tally.add(Limit::Aliases, 1)?;
                self.reader.read::<ComponentAlias<'_>>().map(drop).map_err(malformed)
            }
            0x03 => {
                tally.add(Limit::Imports, 1)?;
                self.reader.read::<ComponentImport<'_>>().map(drop).map_err(malformed)
            }
            0x04 => {
                tally.add(Limit::Exports, 1)?;
                self.reader.read::<ComponentExternName<'_>>().map_err(malformed)?;
                self.reader.read::<ComponentTypeRef>().map(drop).map_err(malformed)
            }
            other => Err(LoadError::Malformed(format!("{other:#04x} begins no declaration"))),
        }
    }
}

/// Levels and parts of a type that is written out in full.
#[derive(Clone, Copy, Default)]
struct Extent {
    depth: u64,
    parts: u64,
}

impl Extent {
    const LEAF: Self = Self { depth: 0, parts: 1 };

    fn with(self, part: Self) -> Self {
        Self { depth: self.depth.max(part.depth), parts: self.parts.saturating_add(part.parts) }
    }
}

/// Extents of the types that were looked at; each is computed once.
#[derive(Default)]
pub(super) struct Extents(HashMap<ComponentAnyTypeId, Extent>);

impl Extents {
    fn any(&mut self, id: ComponentAnyTypeId, types: TypesRef<'_>) -> Extent {
        if let Some(known) = self.0.get(&id) {
            return *known;
        }
        // The validator has taken all of them, so none is nested deeper than it allows: a hundred levels.
        let inner = match id {
            ComponentAnyTypeId::Resource(_) => Extent::default(),
            ComponentAnyTypeId::Defined(id) => self.defined(id, types),
            ComponentAnyTypeId::Func(id) => types.get(id).map_or_else(Extent::default, |function| {
                let values = function.params.iter().map(|(_, value)| *value).chain(function.result);
                self.values(values, types)
            }),
            ComponentAnyTypeId::Instance(id) => types.get(id).map_or_else(Extent::default, |instance| {
                self.entities(instance.exports.values().map(|item| &item.ty), types)
            }),
            ComponentAnyTypeId::Component(id) => types.get(id).map_or_else(Extent::default, |component| {
                let items = component.imports.values().chain(component.exports.values());
                self.entities(items.map(|item| &item.ty), types)
            }),
        };
        let extent = Extent { depth: inner.depth + 1, parts: inner.parts.saturating_add(1) };
        self.0.insert(id, extent);
        extent
    }

    fn values(&mut self, values: impl Iterator<Item = ComponentValType>, types: TypesRef<'_>) -> Extent {
        values.fold(Extent::default(), |sum, value| {
            sum.with(match value {
                ComponentValType::Primitive(_) => Extent::LEAF,
                ComponentValType::Type(id) => self.any(id.into(), types),
            })
        })
    }

    fn entities<'a>(&mut self, entities: impl Iterator<Item = &'a ComponentEntityType>, types: TypesRef<'_>) -> Extent {
        entities.fold(Extent::default(), |sum, entity| {
            sum.with(match entity {
                ComponentEntityType::Module(_) => Extent::LEAF,
                ComponentEntityType::Func(id) => self.any((*id).into(), types),
                ComponentEntityType::Value(value) => self.values(std::iter::once(*value), types),
                ComponentEntityType::Type { referenced, .. } => self.any(*referenced, types),
                ComponentEntityType::Instance(id) => self.any((*id).into(), types),
                ComponentEntityType::Component(id) => self.any((*id).into(), types),
            })
        })
    }

    fn defined(&mut self, id: ComponentDefinedTypeId, types: TypesRef<'_>) -> Extent {
        let Some(defined) = types.get(id) else { return Extent::default() };
        match defined {
            ComponentDefinedType::Record(record) => self.values(record.fields.values().copied(), types),
            ComponentDefinedType::Variant(variant) => {
                let cases = Extent { depth: 0, parts: variant.cases.len() as u64 };
                cases.with(self.values(variant.cases.values().filter_map(|case| case.ty), types))
            }
            ComponentDefinedType::Tuple(tuple) => self.values(tuple.types.iter().copied(), types),
            ComponentDefinedType::Flags(names) => Extent { depth: 0, parts: names.len() as u64 },
            ComponentDefinedType::Enum(names) => Extent { depth: 0, parts: names.len() as u64 },
            ComponentDefinedType::List { element: value, .. } => self.values(std::iter::once(*value), types),
            ComponentDefinedType::Option { ty: value, .. } => self.values(std::iter::once(*value), types),
            ComponentDefinedType::Result { ok, err, .. } => self.values(ok.iter().chain(err).copied(), types),
            // Handles, primitives, and what is switched off.
            _ => Extent::LEAF,
        }
    }
}

/// Bounds and validates a section of component types.
pub(super) fn section(
    section: &ComponentTypeSectionReader<'_>,
    whole: &[u8],
    validator: &mut Validator,
    extents: &mut Extents,
    tally: &mut Tally,
) -> Result<(), LoadError> {
    let start = section.original_position();
    let body = whole.get(start..section.range().end).unwrap_or_default();
    let mut cursor = Cursor::new(body, start);
    for _ in 0..section.count() {
        let from = cursor.reader.current_position();
        cursor.one(tally)?;
        let item = body.get(from..cursor.reader.current_position()).unwrap_or_default();
        // A section of one.
        let alone = [&[1], item].concat();
        let alone = ComponentTypeSectionReader::new(BinaryReader::new(&alone, start + from)).map_err(malformed)?;
        validator.component_type_section(&alone).map_err(malformed)?;
        let Some(types) = validator.types(0) else { continue };
        let Some(newest) = types.component_type_count().checked_sub(1) else { continue };
        let extent = extents.any(types.component_any_type_at(newest), types);
        tally.most(Limit::TypeDepth, extent.depth)?;
        tally.most(Limit::TypeParts, extent.parts)?;
    }
    if cursor.peek().is_some() {
        return Err(LoadError::Malformed("bytes after the last type of a section".to_owned()));
    }
    Ok(())
}
