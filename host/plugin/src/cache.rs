//! Compiled code on disk.
//!
//! Loading a file of machine code executes whatever is in it. So each file carries an HMAC-SHA256 under a random key that
//! only this host has, over the file's name and content; a file that does not verify is treated as not there. The name
//! has the engine's exact version and settings with the processor's features, and the component's hash: code from before
//! an upgrade, or from another machine, is never found, and goes at the next start.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eigenshift_env::{Clock, Disk, Env};
use eigenshift_types::B256;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroizing;

use crate::compile::MAX_CODE;

const KEY_FILE: &str = "cache.key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";
/// What a file ends in while it is written; one that is left was not finished.
const TEMPORARY: &str = "cwasm.tmp";
const MAX_FILE_BYTES: u64 = (MAX_CODE + TAG_BYTES) as u64;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Files: each component of each AVS has one, and each new version leaves the old one behind.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { files: 256, bytes: 4 * 1024 * 1024 * 1024 }
    }
}

/// Compiled code under a directory of this host's own. Its methods block.
pub(crate) struct Cache {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
    /// What names of code for this engine begin with.
    engine: String,
    room: Room,
}

impl Cache {
    /// Opens the cache of a directory that only this user may use, for the engine of that identity; makes directory and key
    /// if they are not there, and removes what other engines left.
    ///
    /// # Errors
    /// The file system's; `PermissionDenied` when the directory is another user's, or others may look into it.
    pub(crate) fn open(env: &Env, directory: &Path, engine: B256, room: Room) -> io::Result<Self> {
        env.disk.create_dir_all(directory)?;
        if !env.disk.is_private(directory)? {
            let fix = format!(
                "{} is not this user's alone: `chown` it to this user and `chmod 700` it, or name another cache directory",
                directory.display()
            );
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
        let (disk, clock) = (Arc::clone(&env.disk), Arc::clone(&env.clock));
        let cache = Self { disk, clock, directory: directory.to_owned(), key, engine: format!("{engine:x}-"), room };
        cache.remove_others()?;
        Ok(cache)
    }

    /// Code of another version of the engine, of other settings or of another processor is never loaded again.
    fn remove_others(&self) -> io::Result<()> {
        for path in self.disk.list(&self.directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let unfinished = name.ends_with(TEMPORARY);
            if unfinished || (name.ends_with(EXTENSION) && !name.starts_with(&self.engine)) {
                self.remove(&path);
            }
        }
        Ok(())
    }

    /// The name under which a component's code lies.
    fn name(&self, component: B256) -> String {
        format!("{}{component:x}.{EXTENSION}", self.engine)
    }

    fn mac(&self, name: &str, code: &[u8]) -> Option<Hmac<Sha256>> {
        // An HMAC takes a key of any length; were that ever to change, nothing would be read or written.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice()).ok()?;
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(code);
        Some(mac)
    }

    /// The code of a component, if this host wrote it and it is whole. Anything else is removed.
    pub(crate) fn load(&self, engine: &Engine, component: B256) -> Option<Component> {
        let name = self.name(component);
        let path = self.directory.join(&name);
        let file = match self.disk.read(&path, MAX_FILE_BYTES) {
            Ok(file) => file?,
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled code cannot be read, compiling again: {error}");
                return None;
            }
        };
        let component = self.open_file(engine, &name, &file);
        if component.is_none() {
            tracing::warn!(path = %path.display(), "this host did not write this compiled code, or it is damaged; compiling again");
            self.remove(&path);
        } else {
            self.touch(&path);
        }
        component
    }

    fn open_file(&self, engine: &Engine, name: &str, file: &[u8]) -> Option<Component> {
        let (tag, code) = file.split_first_chunk::<TAG_BYTES>()?;
        self.mac(name, code)?.verify_slice(tag).ok()?;
        #[allow(unsafe_code, reason = "the tag proves that this host wrote these very bytes for this engine")]
        // SAFETY: `deserialize` asks for bytes from `Component::serialize` or `Engine::precompile_component`, unchanged. The
        // tag is over name and code under a key that is in no file but this directory's, which only this user can read; it
        // was checked just now, on the bytes in memory that are handed over. What this host writes is what it ran.
        let component = unsafe { Component::deserialize(engine, code) };
        component.ok()
    }

    /// Keeps code for the next start; `in_use` is not removed to make room for it. Failing costs a compile then, so it is
    /// only reported.
    pub(crate) fn store(&self, component: B256, code: &[u8], in_use: &BTreeSet<B256>) {
        let name = self.name(component);
        let path = self.directory.join(&name);
        let Some(mac) = self.mac(&name, code) else { return };
        let mut file = Vec::with_capacity(TAG_BYTES + code.len());
        file.extend_from_slice(&mac.finalize().into_bytes());
        file.extend_from_slice(code);
        let kept: BTreeSet<PathBuf> = in_use.iter().map(|used| self.directory.join(self.name(*used))).collect();
        if !self.make_room(file.len() as u64, &kept) {
            tracing::warn!(path = %path.display(), "no room for this compiled code: all that is kept is in use");
            return;
        }
        match self.disk.write_atomic(&path, &file) {
            Ok(()) => self.touch(&path),
            Err(error) => tracing::warn!(path = %path.display(), "compiled code cannot be kept: {error}"),
        }
    }

    /// Removes what was used longest ago until there is room for one more file of that length. Whether there is.
    fn make_room(&self, len: u64, kept: &BTreeSet<PathBuf>) -> bool {
        if len > self.room.bytes {
            return false;
        }
        let files = self.disk.list(&self.directory).unwrap_or_default();
        let mut code: Vec<(u64, u64, PathBuf)> = files
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
            .map(|path| {
                let usage = self.disk.usage(&path).ok().flatten();
                (usage.map_or(0, |usage| usage.used_ms), usage.map_or(0, |usage| usage.len), path)
            })
            .collect();
        code.sort();
        let (mut count, mut bytes) = (code.len(), code.iter().map(|(_, len, _)| len).sum::<u64>());
        let full = |count: usize, bytes: u64| count >= self.room.files || bytes.saturating_add(len) > self.room.bytes;
        for (_, len, path) in code.iter().filter(|(_, _, path)| !kept.contains(path)) {
            if !full(count, bytes) {
                break;
            }
            self.remove(path);
            count -= 1;
            bytes = bytes.saturating_sub(*len);
        }
        !full(count, bytes)
    }

    fn touch(&self, path: &Path) {
        if let Err(error) = self.disk.touch(path, self.clock.unix_ms()) {
            tracing::debug!(path = %path.display(), "the time of use cannot be noted: {error}");
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(path = %path.display(), "cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use eigenshift_env::sim;
    use futures::future::BoxFuture;

    use super::*;

    /// Goes on by a second with every look.
    #[derive(Default)]
    struct Looks(AtomicU64);

    impl Clock for Looks {
        fn unix_ms(&self) -> u64 {
            1000 * self.0.fetch_add(1, Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn env() -> Env {
        let env = Env { clock: Arc::new(Looks::default()), ..Env::real() };
        Env { disk: Arc::new(sim::MemoryDisk::default()), ..env }
    }

    const ENGINE: B256 = B256::repeat_byte(1);

    fn component(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    fn open(env: &Env, room: Room) -> Cache {
        Cache::open(env, Path::new("cache"), ENGINE, room).unwrap()
    }

    fn has(cache: &Cache, number: u8) -> bool {
        cache.disk.usage(&cache.directory.join(cache.name(component(number)))).unwrap().is_some()
    }

    fn use_again(cache: &Cache, number: u8) {
        cache.touch(&cache.directory.join(cache.name(component(number))));
    }

    const THREE: Room = Room { files: 3, bytes: 1 << 20 };

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = open(&env(), THREE);
        let none = BTreeSet::new();
        for number in [1, 2, 3] {
            cache.store(component(number), b"code", &none);
        }
        use_again(&cache, 1);
        cache.store(component(4), b"code", &none);
        assert_eq!([1, 2, 3, 4].map(|number| has(&cache, number)), [true, false, true, true]);
    }

    #[test]
    fn code_in_use_never_makes_room() {
        let cache = open(&env(), THREE);
        let mut in_use = BTreeSet::new();
        for number in [1, 2, 3] {
            cache.store(component(number), b"code", &in_use);
            in_use.insert(component(number));
        }
        cache.store(component(4), b"code", &in_use);
        assert_eq!([1, 2, 3, 4].map(|number| has(&cache, number)), [true, true, true, false]);
        in_use.remove(&component(2));
        cache.store(component(4), b"code", &in_use);
        assert_eq!([1, 2, 3, 4].map(|number| has(&cache, number)), [true, false, true, true]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let cache = open(&env(), Room { files: 100, bytes: 300 });
        let none = BTreeSet::new();
        for number in [1, 2, 3] {
            cache.store(component(number), &[0; 100 - TAG_BYTES], &none);
        }
        cache.store(component(4), &[0; 200 - TAG_BYTES], &none);
        assert_eq!([1, 2, 3, 4].map(|number| has(&cache, number)), [false, false, true, true]);
        cache.store(component(5), &[0; 400], &none);
        assert!(!has(&cache, 5), "larger than all the room there is");
    }

    #[test]
    fn what_other_engines_left_goes_at_the_start() {
        let env = env();
        let cache = open(&env, THREE);
        cache.store(component(1), b"code", &BTreeSet::new());
        let others = ["0123.cwasm", "x.cwasm.tmp", "0202-0101.cwasm"];
        for name in others.iter().chain(&["notes.txt"]) {
            env.disk.write_atomic(&Path::new("cache").join(name), b"old").unwrap();
        }
        let other = Cache::open(&env, Path::new("cache"), component(2), THREE).unwrap();
        assert!(!has(&cache, 1));
        other.store(component(1), b"code", &BTreeSet::new());
        drop(Cache::open(&env, Path::new("cache"), component(2), THREE).unwrap());
        assert!(has(&other, 1), "its own stays");
        let left = env.disk.list(Path::new("cache")).unwrap();
        assert_eq!(left.len(), 3, "key, code and what is none of its business: {left:?}");
    }
}
