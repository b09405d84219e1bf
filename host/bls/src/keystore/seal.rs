//! The seal: a digest of the whole file, by which a changed file is told from a wrong password.
//!
//! It stands at the end of the member `description`, which EIP-2335 gives to free text: Lighthouse refuses a file with
//! members that it does not know (`deny_unknown_fields` on its `JsonKeystore`), and every other reader takes any text
//! there. The digest is SHA-256 over the file's one text, which is compact JSON with members sorted, where the digest's
//! digits are cut out of the description. So white space and the order of members may change, nothing else.
//!
//! It is not keyed. It finds accidents; whoever may write the file can seal it anew, and then stands before the
//! checksum and the public key.

use sha2::{Digest, Sha256};

use super::Damage;
use super::tree::Tree;

const MARK: &str = "[eigenshift-seal sha256:";
const END: &str = "]";
const DIGITS: usize = 64;

/// How many bytes of the mark may be wrong before a file no longer counts as sealed. Random text does not come within
/// a dozen; a flipped byte in the mark must not make a sealed file one that never had a seal.
const TOLERANCE: usize = 3;

/// Adds the seal to a file without one.
pub(super) fn close(mut file: Tree, description: &str) -> Result<String, Damage> {
    let gap = if description.is_empty() { "" } else { " " };
    let before = format!("{description}{gap}{MARK}");
    let digits = digest(&file, &before)?;
    file.set("description", Tree::text(format!("{before}{digits}{END}")));
    file.to_json()
}

/// Whether a file has a seal; one that does not fit is an error.
pub(super) fn check(json: &[u8], file: &Tree) -> Result<bool, Damage> {
    if !is_marked(json) {
        return Ok(false);
    }
    let (before, digits) = file.member("description").and_then(Tree::as_text).and_then(parts).ok_or(Damage::Seal)?;
    if digest(file, before)? == digits { Ok(true) } else { Err(Damage::Seal) }
}

/// A description without its seal.
pub(super) fn without(description: &str) -> &str {
    let Some((before, _)) = parts(description) else { return description };
    let before = before.strip_suffix(MARK).unwrap_or(before);
    before.strip_suffix(' ').unwrap_or(before)
}

/// The text up to and with the mark, and the digits.
fn parts(description: &str) -> Option<(&str, &str)> {
    let sealed = description.strip_suffix(END)?;
    let (before, digits) = sealed.split_at_checked(sealed.len().checked_sub(DIGITS)?)?;
    before.ends_with(MARK).then_some((before, digits))
}

fn digest(file: &Tree, before: &str) -> Result<String, Damage> {
    let mut open = file.clone();
    open.set("description", Tree::text(format!("{before}{END}")));
    Ok(hex::encode(Sha256::digest(open.to_json()?)))
}

fn is_marked(json: &[u8]) -> bool {
    json.windows(MARK.len()).any(|window| {
        let wrong = window.iter().zip(MARK.as_bytes()).filter(|(found, expected)| found != expected).count();
        wrong <= TOLERANCE
    })
}
