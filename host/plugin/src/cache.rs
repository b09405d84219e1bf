//! Compiled code on disk.
//!
//! Loading a file of machine code executes whatever is in it. So each file carries an HMAC-SHA256 under a random key that
//! only this host has, over the file's name and content; a file that does not verify is treated as not there. The name
//! is a hash over the component, the engine's exact version and settings, and the processor's features: code from before
//! an upgrade, or from another machine, is never found.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eigenshift_env::{Disk, Env};
use eigenshift_types::B256;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroizing;

const KEY_FILE: &str = "cache.key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";
/// Machine code of the largest components measured (Python, 18 MB) is about 60 MB.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// Files kept; every bundle of every AVS has one, and each upgrade leaves old ones behind.
const MAX_FILES: usize = 128;

/// Compiled code under a directory of this host's own. Its methods block.
pub(crate) struct Cache {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Lets what only implements [`Hash`] into a sha256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Cache {
    /// Opens the cache of a directory that only this user may use; makes directory and key if they are not there.
    ///
    /// # Errors
    /// The file system's; `PermissionDenied` when others may use the directory too.
    pub(crate) fn open(env: &Env, directory: &Path) -> io::Result<Self> {
        env.disk.create_dir_all(directory)?;
        if !env.disk.is_private(directory)? {
            let fix =
                format!("others may use {}: `chmod 700` it, or name another cache directory", directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, fix));
        }
        let path = directory.join(KEY_FILE);
        // A key file of another length is nobody's key; a new key makes every old file worthless, which is all it takes.
        let found = match env.disk.read(&path, KEY_BYTES as u64) {
            Ok(found) => found.map(Zeroizing::new),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(error),
        };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        match found.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok()) {
            Some(bytes) => *key = bytes,
            None => {
                env.random.fill(key.as_mut_slice());
                env.disk.write_atomic(&path, key.as_slice())?;
            }
        }
        Ok(Self { disk: Arc::clone(&env.disk), directory: directory.to_owned(), key })
    }

    /// The name under which a component's code for this engine lies.
    pub(crate) fn name(engine: &Engine, component: B256) -> String {
        let mut hasher = Sha256Hasher(Sha256::new());
        hasher.write(b"eigenshift compiled component v1");
        hasher.write(component.as_slice());
        // Its hash has the full version, every setting that changes code, and the features of this processor; the header
        // inside the file has the major version only.
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let digest: [u8; 32] = hasher.0.finalize().into();
        format!("{:x}.{EXTENSION}", B256::from(digest))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Option<Hmac<Sha256>> {
        // An HMAC takes a key of any length; were that ever to change, nothing would be read or written.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice()).ok()?;
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(code);
        Some(mac)
    }

    /// The code of that name, if this host wrote it and it is whole. Anything else is removed.
    pub(crate) fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.directory.join(name);
        let file = match self.disk.read(&path, MAX_FILE_BYTES) {
            Ok(file) => file?,
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled code cannot be read, compiling again: {error}");
                return None;
            }
        };
        let component = self.open_file(engine, name, &file);
        if component.is_none() {
            tracing::warn!(path = %path.display(), "this host did not write this compiled code, or it is damaged; compiling again");
            self.remove(&path);
        }
        component
    }

    fn open_file(&self, engine: &Engine, name: &str, file: &[u8]) -> Option<Component> {
        let (tag, code) = file.split_first_chunk::<TAG_BYTES>()?;
        self.mac(name, code)?.verify_slice(tag).ok()?;
        #[allow(unsafe_code, reason = "the tag proves that this host got these very bytes from `Component::serialize`")]
        // SAFETY: `deserialize` asks for bytes from `Component::serialize`, unchanged. The tag is over name and code under
        // a key that is in no file but this directory's, which only this user can read; it was checked just now, on the
        // bytes in memory that are handed over.
        let component = unsafe { Component::deserialize(engine, code) };
        component.ok()
    }

    /// Keeps code for the next start. Failing costs a compile then, so it is only reported.
    pub(crate) fn store(&self, name: &str, component: &Component) {
        let code = match component.serialize() {
            Ok(code) => code,
            Err(error) => {
                tracing::warn!("compiled code cannot be kept: {error:#}");
                return;
            }
        };
        let Some(mac) = self.mac(name, &code) else { return };
        let mut file = Vec::with_capacity(TAG_BYTES + code.len());
        file.extend_from_slice(&mac.finalize().into_bytes());
        file.extend_from_slice(&code);
        self.make_room();
        let path = self.directory.join(name);
        if let Err(error) = self.disk.write_atomic(&path, &file) {
            tracing::warn!(path = %path.display(), "compiled code cannot be kept: {error}");
        }
    }

    fn make_room(&self) {
        let files = self.disk.list(&self.directory).unwrap_or_default();
        let code: Vec<_> = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).collect();
        // Which ones does not matter much: what is still needed is compiled again.
        for path in code.iter().take((code.len() + 1).saturating_sub(MAX_FILES)) {
            self.remove(path);
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(path = %path.display(), "cannot be removed: {error}");
        }
    }
}
