//! Answer other operators and this node's administrator over HTTP.
//!
//! For `eigenshift-node`, which starts both listeners.
//!
//! # Layout
//! - [`avss`]: which AVSs this node has, and how each stands; [`logs`]: the newest lines of each; [`metrics`].
//! - [`public`]: join, responses, status, tasks, certificates, health, metrics: for everybody.
//! - [`admin`]: tasks, rotation, bundles: loopback, with a token; [`hosting`]: adding, pausing, resuming and removing AVSs.
//! - [`error`]: refusals, `{code, message}`; [`body`]: bounded bodies; [`serve`]: bounded connections.
//!
//! # Guarantees
//! - Bodies, headers, connections and waiting are bounded; whatever is over is refused with a code.
//! - Every refusal has a 4xx or 5xx and a body `{"code": ..., "message": ...}`, unknown paths and methods too.
//! - The admin token is compared in constant time and never printed.
//!
//! # Not here
//! What is checked of a join or a response (`eigenshift-engine`); TLS for the public listener (a reverse proxy's).

pub mod admin;
pub mod avss;
pub mod body;
pub mod error;
pub mod hosting;
pub mod logs;
pub mod metrics;
pub mod public;
pub mod serve;

pub use avss::Avss;
pub use error::ApiError;
pub use logs::Logs;
