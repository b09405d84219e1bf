//! Files.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A file system. All calls block: they belong on a thread of their own, or at start-up.
pub trait Disk: Send + Sync {
    /// Makes a directory and its parents; private to this user.
    ///
    /// # Errors
    /// The file system's.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Whether a directory is this user's, and nobody else may see or change what is in it. True in a world without users.
    ///
    /// # Errors
    /// The file system's.
    fn is_private(&self, _directory: &Path) -> io::Result<bool> {
        Ok(true)
    }

    /// Reads a whole file of at most `max` bytes; none if it does not exist.
    ///
    /// # Errors
    /// The file system's; `InvalidData` when the file is longer.
    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a file: temporary file, fsync, rename, fsync of the directory. Private to this user. After an error the
    /// old file is still there.
    ///
    /// # Errors
    /// The file system's. An fsync that failed is not retried.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file; that it is not there is no error.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Notes that a file is used at this time, milliseconds since 1970. For whoever keeps what was used last; a world that
    /// keeps no times forgets it.
    ///
    /// # Errors
    /// The file system's.
    fn touch(&self, _path: &Path, _unix_ms: u64) -> io::Result<()> {
        Ok(())
    }

    /// Length and time of last use of a file; none if it is not there, or in a world that keeps no times.
    ///
    /// # Errors
    /// The file system's.
    fn usage(&self, _path: &Path) -> io::Result<Option<Usage>> {
        Ok(None)
    }

    /// The entries of a directory, sorted; empty if there is none.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Takes the exclusive lock of a directory, held until the result is dropped; none if another process holds it.
    ///
    /// # Errors
    /// The file system's.
    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Opens a file for reading and writing at any place, making it if it is not there.
    ///
    /// # Errors
    /// The file system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn RandomAccess>>;
}

/// How large a file is, and when it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub len: u64,
    /// When it was last written or touched, milliseconds since 1970.
    pub used_ms: u64,
}

/// A held lock; dropping it gives it back.
pub trait Lock: Send + Sync {}

/// A file that is read and written at any place.
pub trait RandomAccess: Debug + Send + Sync + 'static {
    /// Length in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    ///
    /// # Errors
    /// The file system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills the buffer from `offset`.
    ///
    /// # Errors
    /// The file system's; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes the bytes at `offset`.
    ///
    /// # Errors
    /// The file system's.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends with zeros.
    ///
    /// # Errors
    /// The file system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The file system's; after one, nothing is known about what is on disk.
    fn sync(&self) -> io::Result<()>;
}
