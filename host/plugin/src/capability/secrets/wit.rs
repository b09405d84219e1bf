//! What a guest sees of its secrets.

use std::sync::atomic::Ordering;

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{SecretValue, Secrets};
use crate::sandbox::imports::CallState;

mod bindings {
    #![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::indexing_slicing)]
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is the macro's code")]

    wasmtime::component::bindgen!({
        path: "../../wit/deps/secrets",
        world: "eigenshift:secrets/imports",
        imports: { default: trappable },
        with: { "eigenshift:secrets/store.secret": crate::SecretValue },
    });
}

use bindings::eigenshift::secrets::store as wit;

/// The interface's name without its version, its track, and the version that is served.
pub(in crate::capability) const INTERFACE: &str = "eigenshift:secrets/store";
pub(in crate::capability) const TRACK: &str = "0.1.";
pub(in crate::capability) const VERSION: &str = "0.1.0";

/// Secrets that a call may open and reveal.
const MAX_USES: u32 = 256;

/// The secrets of one call.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// None when every one is denied.
    open: Option<Secrets>,
    uses: u32,
}

impl Access {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { open: Some(secrets), uses: 0 }
    }

    fn used(&mut self) -> Result<&Secrets, wit::SecretError> {
        let secrets = self.open.as_ref().ok_or(wit::SecretError::AccessDenied)?;
        if self.uses >= MAX_USES {
            return Err(wit::SecretError::Other(format!("secrets-quota: a call may use secrets {MAX_USES} times")));
        }
        self.uses += 1;
        Ok(secrets)
    }
}

impl wit::Host for CallState {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<SecretValue>, wit::SecretError>> {
        self.count_host_call()?;
        let found = match self.secrets.used() {
            Ok(secrets) => secrets.get(&name).cloned().ok_or(wit::SecretError::NoSuchSecret),
            Err(denied) => Err(denied),
        };
        let full = || wit::SecretError::Other("secrets-quota: this call holds too many handles; drop some".to_owned());
        Ok(found.and_then(|secret| self.table.push(secret).map_err(|_| full())))
    }
}

impl wit::HostSecret for CallState {
    fn reveal(&mut self, secret: Resource<SecretValue>) -> wasmtime::Result<Result<Vec<u8>, wit::SecretError>> {
        self.count_host_call()?;
        let bytes = self.table.get(&secret)?.bytes().to_vec();
        Ok(match self.secrets.used() {
            Ok(_) => {
                self.totals.secrets_revealed.fetch_add(1, Ordering::Relaxed);
                Ok(bytes)
            }
            Err(denied) => Err(denied),
        })
    }

    fn drop(&mut self, secret: Resource<SecretValue>) -> wasmtime::Result<()> {
        self.count_host_call()?;
        self.table.delete(secret)?;
        Ok(())
    }
}

pub(in crate::capability) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<CallState>>(linker, |state| state)
}
