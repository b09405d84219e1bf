//! `eigenshift plugin new|build|test`: what a plugin's author needs, from the first file to the recorded tasks.
//!
//! - `template`: the files of a new project, embedded. `new`: writes them.
//! - `project`: a folder or a component, its language, its bundle. `build`: sources become a component.
//! - `tasks`: `tasks.toml`; `chain`, `hosts`: what it says of the chain and of other hosts, `missed`: what it does not.
//!   `record`: writes answers into it. `trial`: runs its tasks. `test`: the command. `lines`: what plugins log meanwhile.
//! - `error`: why not, with a code.

mod build;
mod chain;
mod error;
mod hosts;
mod lines;
mod missed;
mod new;
pub mod project;
mod record;
pub mod tasks;
mod template;
mod test;
mod trial;

pub use build::{BuildArgs, build};
pub use error::AuthorError;
pub use lines::log;
pub use new::{NewArgs, new};
pub use test::{TestArgs, test};
pub use trial::{host, keyvalue};
