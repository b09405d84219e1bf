//! What a team ships: a component and its manifest.

use eigenshift_types::{B256, Bytes};
use sha2::{Digest, Sha256};

/// A component and the text of its `avs.toml`: the thing that tasks pin. Cheap to clone but for the manifest's text.
///
/// Invariant: `digest` is that of the two others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    component: Bytes,
    manifest: String,
    digest: B256,
}

/// sha256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> B256 {
    B256::from(<[u8; 32]>::from(Sha256::digest(bytes)))
}

impl Bundle {
    /// Puts a component (WebAssembly binary) and the text of its `avs.toml` together. Nothing is checked yet but the
    /// digest: [`Host::load`](crate::Host::load) does the rest.
    #[must_use]
    pub fn new(component: impl Into<Bytes>, manifest: impl Into<String>) -> Self {
        let (component, manifest) = (component.into(), manifest.into());
        let mut both = Sha256::new();
        both.update(sha256(&component));
        both.update(sha256(manifest.as_bytes()));
        let digest = B256::from(<[u8; 32]>::from(both.finalize()));
        Self { component, manifest, digest }
    }

    /// The component's bytes.
    #[must_use]
    pub fn component(&self) -> &Bytes {
        &self.component
    }

    /// The text of `avs.toml`.
    #[must_use]
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// How it is kept and sent: length of the manifest (4 bytes, big-endian), manifest, component.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let manifest = self.manifest.as_bytes();
        let length = u32::try_from(manifest.len()).unwrap_or(u32::MAX);
        [length.to_be_bytes().as_slice(), manifest, &self.component].concat().into()
    }

    /// Reads what [`Bundle::to_bytes`] wrote; none if it is cut, or the manifest is no text.
    #[must_use]
    pub fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (manifest, _) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let manifest = std::str::from_utf8(manifest).ok()?;
        Some(Self::new(bytes.slice(4 + manifest.len()..), manifest))
    }

    /// sha256(sha256(component) || sha256(avs.toml)).
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.digest
    }
}
