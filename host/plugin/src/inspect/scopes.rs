//! Components within components, and how many instances the outermost makes.

use wasmparser::{ComponentInstance, ComponentInstanceSectionReader, Instance, InstanceSectionReader};

use super::limits::{Limit, Tally};
use super::malformed;
use crate::error::LoadError;

/// What instantiating a component once makes.
#[derive(Clone, Copy, Default)]
struct Makes {
    instances: u64,
    core_instances: u64,
}

impl Makes {
    fn and(self, other: Self) -> Self {
        Self {
            instances: self.instances.saturating_add(other.instances),
            core_instances: self.core_instances.saturating_add(other.core_instances),
        }
    }
}

/// A module or component whose end has not come.
#[derive(Default)]
struct Scope {
    is_component: bool,
    makes: Makes,
    /// Its index space of components.
    components: Vec<Makes>,
}

/// The modules and components that are open, outermost first.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

fn unknown(index: u32) -> LoadError {
    LoadError::Malformed(format!("there is no component {index}"))
}

impl Scopes {
    /// Whether everything has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the outermost component is the one that goes on.
    pub(super) fn is_outermost(&self) -> bool {
        self.0.len() == 1
    }

    pub(super) fn open(&mut self, is_component: bool, tally: &mut Tally) -> Result<(), LoadError> {
        self.0.push(Scope { is_component, ..Scope::default() });
        if is_component {
            tally.add(Limit::Components, 1)?;
            tally.most(Limit::ComponentNesting, self.0.len() as u64)?;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, tally: &mut Tally) -> Result<(), LoadError> {
        let Some(closed) = self.0.pop() else { return Ok(()) };
        match self.0.last_mut() {
            Some(around) if closed.is_component => around.components.push(closed.makes),
            Some(_) => {}
            None => {
                tally.most(Limit::ComponentInstances, closed.makes.instances)?;
                tally.most(Limit::CoreInstances, closed.makes.core_instances)?;
            }
        }
        Ok(())
    }

    fn makes(&self, outward: u32, index: u32) -> Option<Makes> {
        let scope = self.0.iter().rev().nth(usize::try_from(outward).ok()?)?;
        scope.components.get(usize::try_from(index).ok()?).copied()
    }

    /// An alias of a component around: `outward` levels up, 0 for this one.
    pub(super) fn outer_component(&mut self, outward: u32, index: u32) -> Result<(), LoadError> {
        let makes = self.makes(outward, index).ok_or_else(|| unknown(index))?;
        self.add_component(makes);
        Ok(())
    }

    /// An export gives what is exported a second index.
    pub(super) fn exported_component(&mut self, index: u32) -> Result<(), LoadError> {
        self.outer_component(0, index)
    }

    fn add_component(&mut self, makes: Makes) {
        if let Some(scope) = self.0.last_mut() {
            scope.components.push(makes);
        }
    }

    fn add_made(&mut self, made: Makes, tally: &mut Tally) -> Result<(), LoadError> {
        let Some(scope) = self.0.last_mut() else { return Ok(()) };
        scope.makes = scope.makes.and(made);
        // Already too much for the whole, if this one is ever instantiated.
        tally.most(Limit::ComponentInstances, scope.makes.instances)?;
        tally.most(Limit::CoreInstances, scope.makes.core_instances)
    }

    pub(super) fn core_instances(
        &mut self,
        section: &InstanceSectionReader<'_>,
        tally: &mut Tally,
    ) -> Result<(), LoadError> {
        for instance in section.clone() {
            if let Instance::Instantiate { .. } = instance.map_err(malformed)? {
                self.add_made(Makes { instances: 0, core_instances: 1 }, tally)?;
            }
        }
        Ok(())
    }

    pub(super) fn instances(
        &mut self,
        section: &ComponentInstanceSectionReader<'_>,
        tally: &mut Tally,
    ) -> Result<(), LoadError> {
        for instance in section.clone() {
            if let ComponentInstance::Instantiate { component_index, .. } = instance.map_err(malformed)? {
                let inner = self.makes(0, component_index).ok_or_else(|| unknown(component_index))?;
                self.add_made(inner.and(Makes { instances: 1, core_instances: 0 }), tally)?;
            }
        }
        Ok(())
    }
}
