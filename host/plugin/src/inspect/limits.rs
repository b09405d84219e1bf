//! How complex a component may be, and what was counted.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::LoadError;
use crate::sandbox::limiter::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// Something that is counted in a component before it is compiled.
///
/// The bounds are the host's, not the operator's: a component that one operator loads, all of them load. The largest
/// components measured stay well below them. StarlingMonkey for JavaScript (12 MB): 12,681 functions, the largest of 172 KB,
/// weight 9 million, 10,000 data segments. `CPython` (18 MB): 38 modules, 13,492 functions, the largest of 427 KB, weight
/// 3.5 million, 1,464 aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Components within components, levels.
    ComponentNesting,
    /// Components, all levels.
    Components,
    /// Instances of components that instantiating the whole makes, counted through every level: a few components that
    /// each instantiate the one before twice make more than any compiler can hold.
    ComponentInstances,
    /// Components that are imported or taken out of an instance, so that nobody can tell what instantiating them makes.
    ForeignComponents,
    /// Core modules.
    CoreModules,
    /// Instances of core modules, counted through every level.
    CoreInstances,
    /// Types of core modules.
    CoreTypes,
    /// Functions that the core modules define.
    CoreFunctions,
    /// Bytes of the largest function.
    FunctionBytes,
    /// Local variables of the function that has most.
    FunctionLocals,
    /// Bytes times locals of the function where that is most: what the register allocator's work grows with.
    FunctionWeight,
    /// Globals of the core modules.
    Globals,
    /// Memories that the core modules define.
    Memories,
    /// Tables that the core modules define.
    Tables,
    /// Data segments.
    DataSegments,
    /// Element segments.
    ElementSegments,
    /// Imports of core modules and components.
    Imports,
    /// Exports of core modules and components.
    Exports,
    /// Component types, with those declared within others.
    Types,
    /// Levels of declarations within the definition of one component type.
    TypeNesting,
    /// Levels of the deepest component type: a list of a list has two.
    TypeDepth,
    /// Parts of the largest component type when it is written out in full.
    TypeParts,
    /// Functions lifted into or lowered out of the component model.
    CanonicalFunctions,
    /// Items of instances and outer components that are referred to.
    Aliases,
}

impl Limit {
    /// Every limit there is.
    pub const ALL: [Self; 24] = [
        Self::ComponentNesting,
        Self::Components,
        Self::ComponentInstances,
        Self::ForeignComponents,
        Self::CoreModules,
        Self::CoreInstances,
        Self::CoreTypes,
        Self::CoreFunctions,
        Self::FunctionBytes,
        Self::FunctionLocals,
        Self::FunctionWeight,
        Self::Globals,
        Self::Memories,
        Self::Tables,
        Self::DataSegments,
        Self::ElementSegments,
        Self::Imports,
        Self::Exports,
        Self::Types,
        Self::TypeNesting,
        Self::TypeDepth,
        Self::TypeParts,
        Self::CanonicalFunctions,
        Self::Aliases,
    ];

    /// Its name in errors and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ComponentNesting => "component-nesting",
            Self::Components => "components",
            Self::ComponentInstances => "component-instances",
            Self::ForeignComponents => "foreign-components",
            Self::CoreModules => "core-modules",
            Self::CoreInstances => "core-instances",
            Self::CoreTypes => "core-types",
            Self::CoreFunctions => "core-functions",
            Self::FunctionBytes => "function-bytes",
            Self::FunctionLocals => "function-locals",
            Self::FunctionWeight => "function-weight",
            Self::Globals => "globals",
            Self::Memories => "memories",
            Self::Tables => "tables",
            Self::DataSegments => "data-segments",
            Self::ElementSegments => "element-segments",
            Self::Imports => "imports",
            Self::Exports => "exports",
            Self::Types => "types",
            Self::TypeNesting => "type-nesting",
            Self::TypeDepth => "type-depth",
            Self::TypeParts => "type-parts",
            Self::CanonicalFunctions => "canonical-functions",
            Self::Aliases => "aliases",
        }
    }

    /// The most that is compiled.
    #[must_use]
    pub const fn max(self) -> u64 {
        match self {
            Self::ComponentNesting => 4,
            Self::Components => 64,
            Self::ComponentInstances => 256,
            Self::ForeignComponents => 0,
            Self::CoreModules => 64,
            // What a call's slot in the pool has.
            Self::CoreInstances => MAX_CORE_INSTANCES as u64,
            Self::Memories => MAX_MEMORIES as u64,
            Self::Tables => MAX_TABLES as u64,
            Self::CoreTypes => 20_000,
            Self::CoreFunctions => 100_000,
            Self::FunctionBytes => 1024 * 1024,
            Self::FunctionLocals => 10_000,
            Self::FunctionWeight => 100_000_000,
            Self::Globals => 20_000,
            Self::DataSegments => 50_000,
            Self::ElementSegments => 10_000,
            Self::Imports => 10_000,
            Self::Exports => 100_000,
            Self::Types => 10_000,
            Self::TypeNesting => 8,
            Self::TypeDepth => 32,
            Self::TypeParts => 20_000,
            Self::CanonicalFunctions => 10_000,
            Self::Aliases => 50_000,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was counted so far.
///
/// Invariant: no count is above its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<Limit, u64>);

impl Tally {
    pub(super) fn get(&self, limit: Limit) -> u64 {
        self.0.get(&limit).copied().unwrap_or(0)
    }

    /// Counts `more` of something.
    pub(super) fn add(&mut self, limit: Limit, more: u64) -> Result<(), LoadError> {
        self.most(limit, self.get(limit).saturating_add(more))
    }

    /// Notes that there is one with so much of something.
    pub(super) fn most(&mut self, limit: Limit, found: u64) -> Result<(), LoadError> {
        if found > limit.max() {
            return Err(LoadError::TooComplex { limit, found, max: limit.max() });
        }
        let entry = self.0.entry(limit).or_default();
        *entry = found.max(*entry);
        Ok(())
    }
}
