//! Tasks with known answers: a bundle that gets one of its own wrong is not used.

use eigenshift_types::{Address, B256, BlockRef, Service};

use crate::error::{CallError, LoadError};
use crate::manifest::{Golden, Manifest};
use crate::sandbox::call::Code;
use crate::track::v0_1::Exports;
use crate::values::Task;

/// The AVS that golden tasks are for: there is none of that name, and no chain.
const AVS: &str = "golden";

/// Why a golden task failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldenError {
    /// A callback gave no result.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The digest is not among those that the plugin wants signed.
    #[error("it wants {found} digests signed, and {expected} is not among them")]
    Digest {
        /// The manifest's.
        expected: B256,
        /// How many there were.
        found: usize,
    },
}

/// Runs every golden task of a manifest, with nothing that could differ between operators: no chain, the manifest's own
/// configuration.
pub(crate) async fn check(manifest: &Manifest, exports: &Exports, code: &Code) -> Result<(), LoadError> {
    for (number, golden) in manifest.golden.iter().enumerate() {
        run(golden, exports, code).await.map_err(|why| LoadError::Golden { number, why })?;
    }
    Ok(())
}

async fn run(golden: &Golden, exports: &Exports, code: &Code) -> Result<(), GoldenError> {
    let avs = AVS.parse().map_err(|_| CallError::Internal("no name for golden tasks".to_owned()))?;
    let task = Task {
        index: golden.index,
        request: golden.request.clone(),
        service: Service { avs, chain_id: 0, service_manager: Address::ZERO },
        reference_block: BlockRef { number: 0, hash: B256::ZERO },
        reference_time: 0,
    };
    let answers = exports.on_golden(code, &task).await?;
    let items = exports.on_submit(code, &task, &answers).await?;
    if items.iter().any(|item| item.digest == golden.digest) {
        return Ok(());
    }
    Err(GoldenError::Digest { expected: golden.digest, found: items.len() })
}
