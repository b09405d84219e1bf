//! Whose certificates count.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::capability::egress::Host;

/// Certificate authorities that are believed. Cheap to clone.
#[derive(Clone)]
pub struct Roots(Arc<ClientConfig>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots")
    }
}

/// Why there are no certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// None was found.
    #[error("no certificate authorities were found: {0}; install ca-certificates, or set SSL_CERT_FILE")]
    None(String),
    /// The library refuses them.
    #[error("the certificate authorities cannot be used: {0}")]
    Tls(String),
}

impl Roots {
    /// Those of the operating system, or of the file in `SSL_CERT_FILE`. Blocks.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn system() -> Result<Self, RootsError> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err(RootsError::None(found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
        Self::of(found.certs)
    }

    /// These certificates. Those that are malformed are left out, as the system's store may hold such.
    ///
    /// # Errors
    /// [`RootsError`] when none is left.
    pub fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        let (added, ignored) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(RootsError::None(format!("{ignored} are malformed")));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| RootsError::Tls(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

/// The name that a server has to prove: the URL's host, whatever address it led to.
pub(super) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::Address(address) => Some(ServerName::from(*address)),
    }
}
