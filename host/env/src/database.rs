//! A redb database over the disk of an [`Env`](crate::Env).

use std::io;
use std::path::Path;

use crate::disk::{Disk, RandomAccess};

#[derive(Debug)]
struct Backend(Box<dyn RandomAccess>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// Opens a database, making it if it is not there. The caller holds the directory's lock.
///
/// # Errors
/// redb's: the file is no database, is corrupt, or cannot be read.
pub fn open(disk: &dyn Disk, path: &Path) -> Result<redb::Database, redb::DatabaseError> {
    let file = disk.open(path).map_err(redb::StorageError::Io)?;
    redb::Builder::new().create_with_backend(Backend(file))
}

/// As [`open`], with at most `cache_bytes` of pages in memory: redb's own bound is 1 GiB for each database, too much for
/// one of many.
///
/// # Errors
/// As [`open`].
pub fn open_with_cache(
    disk: &dyn Disk,
    path: &Path,
    cache_bytes: usize,
) -> Result<redb::Database, redb::DatabaseError> {
    let file = disk.open(path).map_err(redb::StorageError::Io)?;
    redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(Backend(file))
}
