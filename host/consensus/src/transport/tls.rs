//! Mutual TLS 1.3 with the node keys themselves: no certificate authority, the keys are the trust store.

use std::fmt;
use std::sync::Arc;

use eigenshift_types::{B256, NodeKey, NodePublicKey};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use crate::error::Error;

/// The head of an Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4); the key's 32 bytes follow.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const NAME: &str = "eigenshift";

/// The Ed25519 key of a certificate; none if it has another kind of key.
pub(super) fn key_of(certificate: &CertificateDer<'_>) -> Option<NodePublicKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let spki = parsed.subject_public_key_info();
    let key = spki.as_ref().strip_prefix(&SPKI_HEAD)?;
    B256::try_from(key).ok().map(NodePublicKey)
}

/// This node's certificate and key, from which the configurations are made.
pub(super) struct Credentials {
    provider: Arc<CryptoProvider>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    pub(super) fn new(key: &NodeKey) -> Result<Self, Error> {
        let tls = |error: rcgen::Error| Error::Tls(error.to_string());
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
        let pair = rcgen::KeyPair::try_from(&pkcs8).map_err(tls)?;
        let parameters = rcgen::CertificateParams::new(vec![NAME.to_owned()]).map_err(tls)?;
        let certificate = parameters.self_signed(&pair).map_err(tls)?.der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { provider, certificate, key: PrivateKeyDer::Pkcs8(pkcs8) })
    }

    /// A listener's configuration: whoever `admits` says may connect.
    pub(super) fn server(
        &self,
        admits: Arc<dyn Fn(&NodePublicKey) -> bool + Send + Sync>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let verifier = Arc::new(Pinned { provider: Arc::clone(&self.provider), admits });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Every connection proves the key afresh.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// A dialler's configuration: only the holder of `expected` is accepted.
    pub(super) fn client(&self, expected: NodePublicKey) -> Result<Arc<ClientConfig>, Error> {
        let admits = Arc::new(move |key: &NodePublicKey| *key == expected);
        let verifier = Arc::new(Pinned { provider: Arc::clone(&self.provider), admits });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn tls(error: rustls::Error) -> Error {
    Error::Tls(error.to_string())
}

/// The name in every certificate. It says nothing: the key is what is checked.
pub(super) fn server_name() -> Result<ServerName<'static>, Error> {
    ServerName::try_from(NAME).map_err(|error| Error::Tls(error.to_string()))
}

/// Accepts a certificate for its key alone. rustls checks that the peer holds that key, by the handshake's signature.
struct Pinned {
    provider: Arc<CryptoProvider>,
    admits: Arc<dyn Fn(&NodePublicKey) -> bool + Send + Sync>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match key_of(certificate) {
            Some(key) if (self.admits)(&key) => Ok(()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
