//! TLS-ALPN-01 (RFC 8737 §3): an authority that is to certify a name connects with the application protocol `acme-tls/1`
//! alone and is shown a certificate that was made for this one look. The connection carries nothing and ends then.
//!
//! Who orders certificates and makes these is the parent (`swell.supervisor.acme`); this knows neither.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

use super::keys;

/// Offered only while there is a challenge.
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// `swell.worker.tls.Challenge`.
#[derive(FromPyObject)]
pub(super) struct Challenge {
    name: String,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// By name, in lower case.
pub(super) type Challenges = HashMap<String, Arc<CertifiedKey>>;

/// The certificates are taken as they are: their critical extension (RFC 8737 §3) is one that no verifier accepts.
pub(super) fn read(all: &[Challenge], provider: &CryptoProvider) -> Result<Challenges, String> {
    all.iter()
        .map(|challenge| {
            let Challenge { name, certificate, key } = challenge;
            let wrong = |error: String| format!("the challenge for {name}: {error}");
            let chain = keys::certificates(certificate).map_err(|error| wrong(format!("the certificate {error}")))?;
            let key = keys::private_key(key, None).map_err(|error| wrong(format!("the key {error}")))?;
            let key = provider.key_provider.load_private_key(key).map_err(|error| wrong(error.to_string()))?;
            Ok((name.to_ascii_lowercase(), Arc::new(CertifiedKey::new(chain, key))))
        })
        .collect()
}

/// What is shown to an authority; None where nobody asks for it, or for another name.
pub(super) fn shown(challenges: &Challenges, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
    let mut protocols = hello.alpn()?;
    if challenges.is_empty() || protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
        return None;
    }
    challenges.get(&hello.server_name()?.to_ascii_lowercase()).map(Arc::clone)
}
