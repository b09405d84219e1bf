//! Write an AVS's logic as an EigenShift plugin: implement [`Avs`], call [`export!`], compile to WebAssembly.
//!
//! For AVS teams. A whole plugin:
//!
//! ```
//! use eigenshift_guest::{Avs, Chain, Task, TaskError, abi_payload, sol};
//!
//! sol! {
//!     struct Question { uint32 number; }
//!     struct Answer { uint32 taskIndex; uint64 doubled; }
//! }
//! abi_payload!(Question, Answer);
//!
//! struct Doubling;
//!
//! impl Avs for Doubling {
//!     type Request = Question;
//!     type Response = Answer;
//!     type Extension = ();
//!     const NAME: &'static str = "doubling";
//!     const VERSION: &'static str = "1.0.0";
//!     const SCHEMA: &'static str = "(uint32 number) -> (uint32 taskIndex, uint64 doubled)";
//!
//!     fn on_task_request(task: &Task<Question>, _chain: &Chain) -> Result<Vec<Answer>, TaskError> {
//!         Ok(vec![Answer { taskIndex: task.index, doubled: u64::from(task.request.number) * 2 }])
//!     }
//! }
//!
//! eigenshift_guest::export!(Doubling);
//! ```
//!
//! # Layout
//! - [`Avs`] (`avs`): the callbacks of a task's life, with defaults for all but the work itself.
//! - [`TaskSource`], [`TaskSubmission`], [`Rotation`], [`OperatorDirectory`] (`optional`): what a plugin may add.
//! - [`codec`]: how `T`, `K` and the extension become bytes: Solidity ABI or JSON.
//! - [`types`]: tasks, blocks, keys, what is signed; [`error`]: why a callback has no result.
//! - [`chain`]: contract reads at the block of the call; [`log`]: lines in the operator's log.
//! - [`testing`] (not in WebAssembly): a chain made of canned answers, for `cargo test` on the host.
//! - `glue` and `wit`: the way to and from the WIT package `eigenshift:avs@0.1.0`. Nobody calls them by hand.
//!
//! # Guarantees
//! - A component exports the interfaces named in [`export!`] and no others, and imports only what its code uses.
//! - A response whose encoding is not the one this SDK would produce never reaches [`Avs::check`]: two byte strings can
//!   not stand for one answer.
//! - Equal bytes in, equal bytes out: nothing here uses a clock, randomness or a randomly seeded map.
//! - A panic is written to the operator's log with its place before the instance traps.
//! - What a usual call allocates, up to 64 KiB, is in its memory from the start (`eigenshift plugin build` sees to it): a
//!   memory that grows makes a call cost half as much again. For an allocator of your own, leave out the feature `allocator`.
//!
//! # Not here
//! Keys and signing (the host's), HTTP and storage (later tracks of the WIT package), turning the compiled module into a
//! component (`eigenshift plugin build`).

mod avs;
pub mod chain;
pub mod codec;
pub mod error;
#[doc(hidden)]
pub mod glue;
pub mod log;
mod optional;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod types;
#[doc(hidden)]
pub mod wit;

pub use alloy_primitives::{self, Address, B256, U256, keccak256};
pub use alloy_sol_types;
pub use avs::Avs;
pub use chain::Chain;
pub use codec::Payload;
pub use error::{ChainError, DirectoryError, Rejection, SourceError, SubmissionError, TaskError};
pub use optional::{OperatorDirectory, Rotation, TaskSource, TaskSubmission};
pub use types::*;

/// The one of Rust's standard library, in a release that begins with the heap that the linker set aside
/// (`--initial-heap`) instead of growing the memory in every call.
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Declares Solidity types and interfaces, as `alloy_sol_types::sol!` does, without a dependency of your own on it.
#[macro_export]
macro_rules! sol {
    ($($solidity:tt)*) => {
        $crate::alloy_sol_types::sol! {
            #![sol(alloy_sol_types = $crate::alloy_sol_types)]
            $($solidity)*
        }
    };
}

/// Makes a type the plugin of this crate: `export!(MyAvs)`, or with optional interfaces
/// `export!(MyAvs; TaskSource, TaskSubmission, Rotation, OperatorDirectory)`.
///
/// The component exports exactly these interfaces; the host acts on those it finds. Invoke it once, in the crate that is
/// compiled to WebAssembly (`crate-type = ["cdylib", "rlib"]`). On other targets it only checks that the traits are there.
#[macro_export]
macro_rules! export {
    ($avs:ty $(; $($optional:ident),+ $(,)?)?) => {
        $crate::__export_one!(Avs, $avs);
        $($($crate::__export_one!($optional, $avs);)+)?
    };
}

/// One interface of [`export!`]: names the adapter, which the generated macros want as a plain identifier, and exports it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_one {
    (Avs, $avs:ty) => {
        $crate::__export_one!(@ lifecycle, __EigenshiftLifecycle, Avs, $avs);
    };
    (TaskSource, $avs:ty) => {
        $crate::__export_one!(@ task_source, __EigenshiftTaskSource, TaskSource, $avs);
    };
    (TaskSubmission, $avs:ty) => {
        $crate::__export_one!(@ task_submission, __EigenshiftTaskSubmission, TaskSubmission, $avs);
    };
    (Rotation, $avs:ty) => {
        $crate::__export_one!(@ rotation, __EigenshiftRotation, Rotation, $avs);
    };
    (OperatorDirectory, $avs:ty) => {
        $crate::__export_one!(@ operator_directory, __EigenshiftOperatorDirectory, OperatorDirectory, $avs);
    };
    (@ $world:ident, $alias:ident, $trait:ident, $avs:ty) => {
        const _: () = {
            const fn implements<T: $crate::$trait>() {}
            implements::<$avs>();
        };
        #[cfg(target_arch = "wasm32")]
        type $alias = $crate::glue::Adapter<$avs>;
        #[cfg(target_arch = "wasm32")]
        $crate::wit::$world::export_component!($alias with_types_in $crate::wit::$world);
    };
}
