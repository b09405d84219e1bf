//! Bundles on disk, and plugins made of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_chain::Chain;
use eigenshift_engine::callbacks::Callbacks;
use eigenshift_engine::logics::{Bundles, LoadFailure, PART_BYTES, ShadowLogic};
use eigenshift_engine::wasm::WasmCallbacks;
use eigenshift_env::{Env, Pool};
use eigenshift_ledger::apply::bundles::{MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES};
use eigenshift_plugin::{Bundle, CallError, Grants, Host, LoadError, Tenant};
use eigenshift_types::{B256, Bytes, Service};
use parking_lot::RwLock;
use serde::Deserialize;

/// Largest file.
const MAX_FILE: u64 = 4 + MAX_COMPONENT_BYTES as u64 + MAX_MANIFEST_BYTES as u64;

const SUFFIX: &str = ".bundle";
/// Of an empty file that says that the operator approved the bundle.
const APPROVED: &str = ".approved";

/// Whether a trusted publisher's signature is enough for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// It is.
    #[default]
    Automatic,
    /// The operator says yes to each bundle itself; before that, its node does not report it ready.
    Manual,
}

/// The operator's word on bundles.
pub(crate) struct Approvals {
    how: Approval,
    given: RwLock<BTreeSet<B256>>,
}

impl Approvals {
    pub fn new(how: Approval) -> Self {
        Self { how, given: RwLock::default() }
    }
}

/// The bundles of one AVS, each in a file named after its digest. What is read is held against the name.
pub(crate) struct Store {
    pub env: Env,
    pub directory: PathBuf,
    pub io: Pool,
    pub host: Host,
    /// All versions share what the AVS may use.
    pub tenant: Tenant,
    /// What versions in the shadow of the active one share.
    pub shadow: Tenant,
    pub grants: Grants,
    pub approvals: Approvals,
    pub service: Service,
    pub chain: Arc<dyn Chain>,
}

fn path(directory: &Path, digest: B256) -> PathBuf {
    directory.join(format!("{digest:x}{SUFFIX}"))
}

fn approval_path(directory: &Path, digest: B256) -> PathBuf {
    directory.join(format!("{digest:x}{APPROVED}"))
}

/// The bundle of a file that ends so; none for other files.
fn digest_of(path: &Path, suffix: &str) -> Option<B256> {
    path.file_name()?.to_str()?.strip_suffix(suffix)?.parse().ok()
}

fn disk(error: &dyn std::fmt::Display) -> LoadFailure {
    LoadFailure::NotNow(format!("the disk: {error}"))
}

/// Whether another try may end otherwise.
fn is_transient(error: &LoadError) -> bool {
    match error {
        LoadError::Internal(_) => true,
        LoadError::Describe(error) => {
            matches!(error, CallError::Busy | CallError::Deadline | CallError::Internal(_))
        }
        _ => false,
    }
}

impl Store {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Env, &Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, LoadFailure> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let done = self.io.run(move || work(&env, &directory)).await.map_err(|error| disk(&error))?;
        done.map_err(|error| disk(&error))
    }

    /// Keeps the bundle that the operator configured, which approves it, and recalls what the operator approved before.
    ///
    /// # Errors
    /// The disk's, as [`LoadFailure::NotNow`].
    pub async fn begin(&self, configured: &Bundle) -> Result<(), LoadFailure> {
        self.put(configured).await?;
        let files = self.blocking(|env, directory| env.disk.list(directory)).await?;
        let approved = files.iter().filter_map(|path| digest_of(path, APPROVED));
        self.approvals.given.write().extend(approved.chain([configured.digest()]));
        Ok(())
    }

    async fn put(&self, bundle: &Bundle) -> Result<(), LoadFailure> {
        let (digest, bytes) = (bundle.digest(), bundle.to_bytes());
        self.blocking(move |env, directory| {
            env.disk.create_dir_all(directory)?;
            env.disk.write_atomic(&path(directory, digest), &bytes)
        })
        .await
    }

    /// The callbacks of a bundle.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn callbacks(&self, bundle: Bundle) -> Result<Arc<WasmCallbacks>, LoadError> {
        self.callbacks_for(&self.tenant, bundle).await
    }

    async fn callbacks_for(&self, tenant: &Tenant, bundle: Bundle) -> Result<Arc<WasmCallbacks>, LoadError> {
        let plugin = self.host.load_for(tenant, bundle, &self.grants).await?;
        Ok(Arc::new(WasmCallbacks::new(plugin, self.service.clone(), Arc::clone(&self.chain))))
    }

    async fn load_for(&self, tenant: &Tenant, digest: B256) -> Result<Arc<WasmCallbacks>, LoadFailure> {
        let bytes = self.blocking(move |env, directory| env.disk.read(&path(directory, digest), MAX_FILE)).await?;
        let bytes = bytes.ok_or_else(|| LoadFailure::NotNow(format!("bundle {digest} is not on disk")))?;
        let bundle = Bundle::from_bytes(&bytes.into()).filter(|bundle| bundle.digest() == digest);
        let Some(bundle) = bundle else {
            // Fetched anew with the next try.
            self.blocking(move |env, directory| env.disk.remove(&path(directory, digest))).await?;
            return Err(LoadFailure::NotNow(format!("the file of bundle {digest} was damaged")));
        };
        self.callbacks_for(tenant, bundle).await.map_err(|error| {
            if is_transient(&error) {
                LoadFailure::NotNow(error.to_string())
            } else {
                LoadFailure::Refused(error.to_string())
            }
        })
    }
}

#[async_trait]
impl Bundles for Store {
    async fn has(&self, digest: B256) -> bool {
        let listed =
            self.blocking(move |env, directory| Ok(env.disk.list(directory)?.contains(&path(directory, digest))));
        listed.await.unwrap_or(false)
    }

    async fn part(&self, digest: B256, offset: u64) -> Option<(u64, Bytes)> {
        let reading = self.blocking(move |env, directory| {
            let path = path(directory, digest);
            // Opening would make it.
            if !env.disk.list(directory)?.contains(&path) {
                return Ok(None);
            }
            let file = env.disk.open(&path)?;
            let length = file.len()?;
            let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut part = vec![0; left.min(PART_BYTES)];
            file.read_at(offset, &mut part)?;
            Ok((!part.is_empty()).then(|| (length, part.into())))
        });
        reading.await.ok().flatten()
    }

    async fn keep(&self, digest: B256, bytes: Bytes) -> Result<(), LoadFailure> {
        match Bundle::from_bytes(&bytes).filter(|bundle| bundle.digest() == digest) {
            Some(bundle) => self.put(&bundle).await,
            // Whoever sent it is to blame, not the bundle.
            None => Err(LoadFailure::NotNow(format!("what was fetched is not bundle {digest}"))),
        }
    }

    async fn load(&self, digest: B256) -> Result<Arc<dyn Callbacks>, LoadFailure> {
        self.load_for(&self.tenant, digest).await.map(|callbacks| callbacks as Arc<dyn Callbacks>)
    }

    async fn load_shadow(&self, digest: B256) -> Result<Arc<dyn ShadowLogic>, LoadFailure> {
        self.load_for(&self.shadow, digest).await.map(|callbacks| callbacks as Arc<dyn ShadowLogic>)
    }

    async fn kept(&self) -> Result<Vec<B256>, LoadFailure> {
        let listing = self.blocking(|env, directory| env.disk.list(directory));
        let files = listing.await?;
        // An approval may be there before its bundle.
        let of = |path: &PathBuf| digest_of(path, SUFFIX).or_else(|| digest_of(path, APPROVED));
        Ok(files.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn remove(&self, digest: B256) -> Result<(), LoadFailure> {
        self.blocking(move |env, directory| {
            env.disk.remove(&approval_path(directory, digest))?;
            env.disk.remove(&path(directory, digest))
        })
        .await?;
        self.approvals.given.write().remove(&digest);
        Ok(())
    }

    fn is_approved(&self, digest: B256) -> bool {
        self.approvals.how == Approval::Automatic || self.approvals.given.read().contains(&digest)
    }

    async fn approve(&self, digest: B256) -> Result<(), LoadFailure> {
        self.blocking(move |env, directory| {
            env.disk.create_dir_all(directory)?;
            env.disk.write_atomic(&approval_path(directory, digest), &[])
        })
        .await?;
        self.approvals.given.write().insert(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_file_holds_the_longest_bundle_and_names_no_directory() {
        let bundle = Bundle::new(vec![1; 10], "name = \"x\"");
        assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Some(bundle.clone()));
        assert_eq!(Bundle::from_bytes(&bundle.to_bytes().slice(..13)), None, "cut within the manifest");
        assert_eq!(Bundle::from_bytes(&Bytes::from_static(&[0xff; 6])), None);
        let path = path(Path::new("/d"), bundle.digest());
        assert_eq!(path.parent(), Some(Path::new("/d")));
        assert_eq!(digest_of(&path, SUFFIX), Some(bundle.digest()));
        assert_eq!(digest_of(&approval_path(Path::new("/d"), bundle.digest()), APPROVED), Some(bundle.digest()));
        for other in ["/d/notes", "/d/x.bundle", "/d/.bundle"] {
            assert_eq!(digest_of(Path::new(other), SUFFIX), None);
        }
    }
}
