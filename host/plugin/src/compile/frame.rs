//! What a host and its compiler say to each other.
//!
//! Request: magic, a key that is drawn for this one compilation, the component's length and the component. Reply: what
//! kind it is, which engine the code is for, length and bytes, and an HMAC-SHA256 under the key over all of that. Anything
//! else that comes out of the process (a torn answer, another program's output, a library's chatter) is no reply.

use eigenshift_types::B256;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"eigenshift wasm1";
const KEY: usize = 32;
const LEN: usize = 8;
const TAG: usize = 32;
const IDENTITY: usize = 32;
const CODE: u8 = 1;
const REASON: u8 = 2;

/// Longest reason, in bytes.
pub(super) const MAX_REASON: usize = 1024;

/// The secret of one compilation.
pub(super) struct Key(Zeroizing<[u8; KEY]>);

/// What the compiler answered.
pub(super) struct Reply<'a> {
    /// What the code is made for.
    pub identity: B256,
    /// The code, or why there is none.
    pub outcome: Result<&'a [u8], &'a [u8]>,
}

impl Key {
    pub(super) fn new(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn mac(&self, reply: &[u8]) -> Option<Hmac<Sha256>> {
        // An HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).ok()?;
        mac.update(reply);
        Some(mac)
    }
}

pub(super) fn request(key: &Key, component: &[u8]) -> Vec<u8> {
    let len = (component.len() as u64).to_be_bytes();
    [MAGIC.as_slice(), key.0.as_slice(), &len, component].concat()
}

/// The longest request for components of that size.
pub(super) fn request_len(max_component: u64) -> u64 {
    max_component.saturating_add((MAGIC.len() + KEY + LEN) as u64)
}

/// The longest reply with code of that size.
pub(super) const fn reply_len(max_code: usize) -> usize {
    max_code.saturating_add(1 + IDENTITY + LEN + TAG)
}

pub(super) fn read_request(input: &[u8], max_component: u64) -> Option<(Key, &[u8])> {
    let rest = input.strip_prefix(MAGIC)?;
    let (key, rest) = rest.split_first_chunk::<KEY>()?;
    let (len, component) = rest.split_first_chunk::<LEN>()?;
    let whole = u64::from_be_bytes(*len) == component.len() as u64 && component.len() as u64 <= max_component;
    whole.then(|| (Key::new(*key), component))
}

pub(super) fn reply(key: &Key, identity: B256, outcome: Result<&[u8], &[u8]>) -> Option<Vec<u8>> {
    let (kind, bytes) = match outcome {
        Ok(code) => (CODE, code),
        Err(reason) => (REASON, reason),
    };
    let len = (bytes.len() as u64).to_be_bytes();
    let mut reply = [&[kind], identity.as_slice(), &len, bytes].concat();
    let tag = key.mac(&reply)?.finalize().into_bytes();
    reply.extend_from_slice(&tag);
    Some(reply)
}

/// The reply, if the holder of the key wrote all of it.
pub(super) fn read_reply<'a>(key: &Key, output: &'a [u8]) -> Option<Reply<'a>> {
    let (sealed, tag) = output.split_last_chunk::<TAG>()?;
    key.mac(sealed)?.verify_slice(tag).ok()?;
    let (kind, rest) = sealed.split_first()?;
    let (identity, rest) = rest.split_first_chunk::<IDENTITY>()?;
    let (len, bytes) = rest.split_first_chunk::<LEN>()?;
    if u64::from_be_bytes(*len) != bytes.len() as u64 {
        return None;
    }
    let outcome = match *kind {
        CODE => Ok(bytes),
        REASON if bytes.len() <= MAX_REASON => Err(bytes),
        _ => return None,
    };
    Some(Reply { identity: B256::from(*identity), outcome })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]
    use super::*;

    const IDENTITY: B256 = B256::repeat_byte(3);

    #[test]
    fn a_request_is_whole_and_within_its_bound() {
        let key = Key::new([7; 32]);
        let bytes = request(&key, b"component");
        assert_eq!(bytes.len() as u64, request_len(9));
        let (read, component) = read_request(&bytes, 9).unwrap();
        assert_eq!((read.0.as_slice(), component), (&[7; 32][..], &b"component"[..]));
        assert!(read_request(&bytes, 8).is_none());
        for len in 0..bytes.len() {
            assert!(read_request(&bytes[..len], 9).is_none(), "torn at {len}");
        }
        assert!(read_request(&[bytes, vec![0]].concat(), 100).is_none());
    }

    #[test]
    fn a_reply_counts_only_whole_and_from_the_holder_of_the_key() {
        let key = Key::new([7; 32]);
        let bytes = reply(&key, IDENTITY, Ok(b"code")).unwrap();
        assert_eq!(bytes.len(), reply_len(4));
        let read = read_reply(&key, &bytes).unwrap();
        assert_eq!((read.identity, read.outcome), (IDENTITY, Ok(&b"code"[..])));
        assert!(read_reply(&Key::new([8; 32]), &bytes).is_none(), "another compilation's");
        for at in 0..bytes.len() {
            assert!(read_reply(&key, &bytes[..at]).is_none(), "torn at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read_reply(&key, &changed).is_none(), "changed at {at}");
        }
        assert!(read_reply(&key, &[b"warning: ".as_slice(), &bytes].concat()).is_none(), "chatter before it");
        assert!(read_reply(&key, &[&bytes, b"bye".as_slice()].concat()).is_none(), "chatter after it");
        assert!(read_reply(&key, &request(&key, b"component")).is_none(), "a program that says what it is told");
    }

    #[test]
    fn a_reason_is_bounded() {
        let key = Key::new([7; 32]);
        let said = |len| reply(&key, IDENTITY, Err(&vec![b'x'; len])).unwrap();
        assert!(read_reply(&key, &said(MAX_REASON)).is_some_and(|reply| reply.outcome.is_err()));
        assert!(read_reply(&key, &said(MAX_REASON + 1)).is_none());
    }
}
