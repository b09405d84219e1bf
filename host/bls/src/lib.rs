//! Sign, verify and add up BLS signatures exactly as EigenLayer's contracts check them.
//!
//! For the crates that hold a key, collect signatures or check certificates.
//!
//! # Layout
//! - [`scheme`]: what both BLS schemes offer, and the laws that the tests hold them to.
//! - [`bn254`]: EigenLayer's scheme: signatures and operator ids in G1, verification keys in G2.
//! - [`bls12381`]: Ethereum's scheme: keys in G1, signatures in G2.
//! - [`any`]: keys and signatures of whichever curve a cluster uses.
//! - [`error`]: why bytes are not a point or a key.
//! - [`keystore`]: key files: secrets encrypted under a password, as other tools write and read them.
//!
//! # Guarantees
//! - Bytes become points only if they are the one canonical encoding of a point of the right group; the identity is
//!   refused wherever a single operator's key or signature is meant.
//! - Everything here is a pure function of its arguments, batch verification too, so that it may decide in a
//!   replicated state machine: equal inputs give equal verdicts on every node.
//! - Secret keys are zeroised on drop and can be neither printed nor serialised but by asking for their bytes.
//! - No input makes it panic.
//!
//! # Not here
//! - Stakes, thresholds and certificates (`eigenshift-aggregation`), key files on disk (the node).
//! - Constant-time arithmetic: the curve library's multiplications take time that depends on the scalar. Whoever can
//!   measure single signings on the operator's own machine is outside what this defends against.

pub mod any;
mod batch;
pub mod bls12381;
pub mod bn254;
pub mod error;
pub mod keystore;
pub mod scheme;
mod transcript;

pub use any::{ContractKey, Curve, PreparedKey, PublicKey, SecretKey, Signature};
pub use error::DecodeError;
pub use scheme::Scheme;
