//! https: the name that was decided upon is the name that the server proves.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::capability::http::Roots;

/// An authority, and a server's certificate for `name` by it.
fn certified(name: &str) -> (Roots, ServerConfig) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (Roots::of([root.der().clone()]).unwrap(), config)
}

fn serving(config: ServerConfig) -> (Serve, Arc<Mutex<Vec<String>>>) {
    let names = Arc::new(Mutex::new(Vec::new()));
    let (kept, acceptor) = (Arc::clone(&names), TlsAcceptor::from(Arc::new(config)));
    let serve: Serve = Arc::new(move |stream| {
        let (kept, acceptor) = (Arc::clone(&kept), acceptor.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            kept.lock().push(stream.get_ref().1.server_name().unwrap_or("none").to_owned());
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(HELLO).await;
            let _ = stream.shutdown().await;
        }
        .boxed()
    });
    (serve, names)
}

async fn https(serve: Serve, roots: Option<Roots>) -> Result<Answer, Error> {
    let policy = HttpPolicy { roots, ..HttpPolicy::default() };
    fetch(&client(&Recorder::new(serve), policy), limits(), get("https://api.example.org/")).await
}

#[tokio::test]
async fn the_server_proves_the_urls_name_whatever_the_address_is() {
    let (roots, config) = certified("api.example.org");
    let (serve, names) = serving(config);
    assert_eq!(https(serve.clone(), Some(roots)).await.unwrap().2, b"hello");
    assert_eq!(*names.lock(), ["api.example.org"]);
    let (others, _) = certified("api.example.org");
    assert!(matches!(https(serve.clone(), Some(others)).await, Err(Error::TlsCertificateError)), "not our authority");
    assert!(matches!(https(serve, None).await, Err(Error::ConfigurationError)), "no authority at all");

    let (roots, config) = certified("evil.org");
    let error = https(serving(config).0, Some(roots.clone())).await;
    assert!(matches!(error, Err(Error::TlsCertificateError)), "{error:?}");
    let clear: Serve = Arc::new(|mut stream| async move { drop(stream.write_all(HELLO).await) }.boxed());
    let error = https(clear, Some(roots)).await;
    assert!(matches!(error, Err(Error::TlsProtocolError)), "in the clear: {error:?}");
}

#[test]
fn roots_that_are_none_are_refused() {
    assert!(Roots::of([]).is_err());
    assert!(Roots::of([vec![1, 2, 3].into()]).is_err());
}
