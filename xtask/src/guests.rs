//! The plugins: compiled, made components, checked.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use eigenshift_build::{Library, TARGET, encode};
use wit_component::DecodedWasm;

use crate::place::{self, Place};

const PACKAGE: &str = "eigenshift:avs";

/// A plugin that ships with the project, and exactly what its component may ask for and offer.
pub struct Guest {
    /// Name of its folder in `plugins/` and of its component.
    pub name: &'static str,
    /// Interfaces that it uses: what its manifest lists.
    pub imports: &'static [&'static str],
    /// Interfaces that it imports and never calls: an interpreter's tool imports all that the world has.
    pub unused: &'static [&'static str],
    /// Interfaces that it implements.
    pub exports: &'static [&'static str],
    /// What its tool exports for itself. The host does not look at it.
    pub leftover: Option<&'static str>,
}

const GUESTS: &[Guest] = &[
    Guest { name: "incredible-squaring", imports: &["log"], unused: &[], exports: &["task-lifecycle"], leftover: None },
    Guest {
        name: "price-oracle",
        imports: &["chain", "log"],
        unused: &[],
        exports: &["task-lifecycle", "task-source", "task-submission"],
        leftover: None,
    },
];

/// Builds every guest and puts components and manifests into [`Place::components`].
pub fn build(place: &Place) -> Result<()> {
    let library = Library::find(&place.cache, &place.root)?;
    eprintln!("setup: compiling the plugins for {TARGET} with the {}", library.way());
    compile(place, &library)?;
    std::fs::create_dir_all(place.components())?;
    for guest in GUESTS {
        let built = guest.finish(place)?;
        eprintln!("setup: plugin {} is {built}", guest.name);
    }
    Ok(())
}

fn compile(place: &Place, library: &Library) -> Result<()> {
    let mut cargo = place.cargo(&place.plugins());
    cargo.args(["build", "--quiet", "--locked"]);
    library.prepare(&mut cargo, &place.plugins().join("target"), &place.root, "/eigenshift")?;
    for guest in GUESTS {
        cargo.args(["--package", guest.name]);
    }
    place::run(&mut cargo, "compiling the plugins")
}

impl Guest {
    /// Makes the compiled module a component.
    fn finish(&self, place: &Place) -> Result<String> {
        let module = eigenshift_build::module(&place.plugins().join("target"), self.name);
        let module = std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        let component = encode(&module).with_context(|| format!("{}: cannot be made a component", self.name))?;
        self.publish(place, &component)
    }

    /// Checks a component, and writes it with its manifest beside it. Says where it is.
    pub fn publish(&self, place: &Place, component: &[u8]) -> Result<String> {
        self.check(&Interfaces::of(component)?)?;

        let manifest_path = place.plugins().join(self.name).join("avs.toml");
        let manifest = std::fs::read_to_string(&manifest_path)
            .with_context(|| format!("cannot read {}", manifest_path.display()))?;
        let grant = format!("imports = {:?}", self.imports);
        ensure!(
            manifest.lines().any(|line| line.trim() == grant),
            "{} must hold the line `{grant}`: that is what the component uses",
            manifest_path.display()
        );

        let folder = place.components();
        let component_path = folder.join(format!("{}.wasm", self.name));
        let changed = place::write_if_changed(&component_path, component)?
            | place::write_if_changed(&folder.join(format!("{}.avs.toml", self.name)), manifest.as_bytes())?;
        let shown = component_path.strip_prefix(&place.root).unwrap_or(&component_path);
        let state = if changed { "written" } else { "unchanged" };
        Ok(format!("{} ({} KB, {state})", shown.display(), component.len().div_ceil(1024)))
    }

    /// Exactly the interfaces expected, all of our package: a plugin that drags in anything else would need a host that
    /// offers it, and one that exports less than it should would lose a feature without a word.
    fn check(&self, found: &Interfaces) -> Result<()> {
        let names = |list: &[&str]| list.iter().map(|name| format!("{PACKAGE}/{name}@0.1.0")).collect::<BTreeSet<_>>();
        let (mut imports, mut exports) = (found.imports.clone(), found.exports.clone());
        // Types only: no function comes with it.
        imports.remove(&format!("{PACKAGE}/types@0.1.0"));
        if let Some(leftover) = self.leftover {
            exports.remove(leftover);
        }
        let imported = &names(self.imports) | &names(self.unused);
        for (what, found, expected) in [("imports", imports, imported), ("exports", exports, names(self.exports))] {
            if found != expected {
                bail!("{}: {what} {found:?}, expected {expected:?}", self.name);
            }
        }
        Ok(())
    }
}

/// Names of what a component imports and exports.
struct Interfaces {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Interfaces {
    fn of(component: &[u8]) -> Result<Self> {
        let decoded = wit_component::decode(component).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let DecodedWasm::Component(resolve, world) = decoded else { bail!("a WIT package, not a component") };
        let world = resolve.worlds.get(world).context("a component without a world")?;
        let names = |items: Vec<_>| items.into_iter().map(|key| resolve.name_world_key(key)).collect();
        Ok(Self { imports: names(world.imports.keys().collect()), exports: names(world.exports.keys().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(imports: &[&str], exports: &[&str]) -> Interfaces {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Interfaces { imports: own(imports), exports: own(exports) }
    }

    const GUEST: Guest =
        Guest { name: "x", imports: &["log"], unused: &[], exports: &["task-lifecycle"], leftover: None };

    #[test]
    fn a_component_with_exactly_the_expected_interfaces_passes() {
        let found = interfaces(
            &["eigenshift:avs/types@0.1.0", "eigenshift:avs/log@0.1.0"],
            &["eigenshift:avs/task-lifecycle@0.1.0"],
        );
        assert!(GUEST.check(&found).is_ok());
    }

    #[test]
    fn a_foreign_import_or_a_surplus_or_missing_interface_is_refused() {
        let lifecycle = "eigenshift:avs/task-lifecycle@0.1.0";
        let log = "eigenshift:avs/log@0.1.0";
        for (imports, exports) in [
            (vec![log, "wasi:cli/environment@0.2.0"], vec![lifecycle]),
            (vec![log, "eigenshift:avs/chain@0.1.0"], vec![lifecycle]),
            (vec![], vec![lifecycle]),
            (vec![log], vec![]),
            (vec![log], vec![lifecycle, "eigenshift:avs/rotation@0.1.0"]),
        ] {
            assert!(GUEST.check(&interfaces(&imports, &exports)).is_err(), "{imports:?} {exports:?}");
        }
    }

    #[test]
    fn a_tool_s_leftovers_are_those_named_and_no_others() {
        let guest = Guest { unused: &["chain"], leftover: Some("exports"), ..GUEST };
        let names = |list: &[&str]| list.iter().map(|name| format!("{PACKAGE}/{name}@0.1.0")).collect::<Vec<_>>();
        let found = |imports: &[&str], leftover: &[&str]| {
            let mut exports: BTreeSet<String> = names(&["task-lifecycle"]).into_iter().collect();
            exports.extend(leftover.iter().map(|name| (*name).to_owned()));
            Interfaces { imports: names(imports).into_iter().collect(), exports }
        };
        assert!(guest.check(&found(&["chain", "log"], &["exports"])).is_ok());
        assert!(guest.check(&found(&["chain", "log"], &["exports", "wasi:cli/run@0.2.0"])).is_err());
        assert!(guest.check(&found(&["log"], &["exports"])).is_err());
    }
}
