//! Files that commands are pointed to: each with a bound, secrets apart from the rest.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::CliError;

pub(crate) const MAX_MANIFEST: u64 = 64 * 1024;
pub(crate) const MAX_COMPONENT: u64 = 32 * 1024 * 1024;
/// A key in hexadecimal, with whatever blanks are around it.
const MAX_KEY: u64 = 1024;

pub(crate) fn file(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::File { path: path.to_owned(), why: why.to_string() }
}

/// Reads what an open file holds into a buffer that does not move: no copies are left behind.
fn read(open: std::fs::File, most: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    // Not by the size that the system tells: a device has none.
    open.take(most + 1).read_to_end(into).map(|_| ())
}

fn bounded(path: &Path, bytes: usize, most: u64) -> Result<(), CliError> {
    if bytes as u64 > most {
        return Err(file(path, format!("it is longer than that: at most {most} bytes are taken")));
    }
    Ok(())
}

pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|open| read(open, most, &mut bytes)).map_err(|error| file(path, error))?;
    bounded(path, bytes.len(), most)?;
    Ok(bytes)
}

/// Whether every user of the machine may read it.
const fn is_open(mode: u32) -> bool {
    mode & 0o004 != 0
}

/// A file that is nobody else's business; says so where everybody may read it.
pub(crate) fn read_private(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let open = std::fs::File::open(path).map_err(|error| file(path, error))?;
    if open.metadata().is_ok_and(|metadata| is_open(metadata.permissions().mode())) {
        let path = path.display();
        tracing::warn!("every user of this machine can read the secret in {path}: chmod 600 {path}");
    }
    // Room for all of it, and for the look that finds its end: a vector that grows leaves what it held behind.
    let room = usize::try_from(most).unwrap_or(0).saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    read(open, most, &mut bytes).map_err(|error| file(path, error))?;
    bounded(path, bytes.len(), most)?;
    Ok(bytes)
}

/// A secret key file: 64 hexadecimal digits, `0x` allowed.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let bytes = read_private(path, MAX_KEY)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(file(path, "expected a secret key of 64 hexadecimal digits"));
    }
    Ok(Zeroizing::new(digits.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_digits_and_nothing_else_is_one() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &[u8]| {
            std::fs::write(place.path(), text).unwrap();
            read_secret(place.path()).map(|digits| digits.to_string())
        };
        let digits = "0f".repeat(32);
        assert_eq!(read(digits.as_bytes()).unwrap(), digits);
        assert_eq!(read(format!(" 0x{digits}\r\n").as_bytes()).unwrap(), digits);
        for text in [&b""[..], b"0x", &[0xff; 64], format!("0x0x{digits}").as_bytes(), &digits.as_bytes()[1..]] {
            assert!(read(text).unwrap_err().to_string().contains("64 hexadecimal digits"));
        }
        // As long as one likes, like a device.
        let why = read(&vec![b' '; 1 << 20]).unwrap_err().to_string();
        assert!(why.contains("at most 1024 bytes"), "{why}");
        assert!(read_secret(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_secret_is_open_when_everybody_may_read_it() {
        assert!(is_open(0o100_644) && is_open(0o100_004));
        assert!(!is_open(0o100_600) && !is_open(0o100_640));
    }
}
