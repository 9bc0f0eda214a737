//! Client certificates (RFC 8446 §4.3.2): who asks for one and what happens without a good one.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::keys;

/// The verifier and, where a bad certificate is the application's to judge, the one that knows what is wrong with it.
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) judge: Option<Arc<dyn ClientCertVerifier>>,
}

/// `mode`: `none`, `ask`, `optional` or `required`.
pub(super) fn clients(
    mode: &str,
    authorities: Option<(&str, &[u8])>,
    revocations: &[(String, Vec<u8>)],
    provider: &Arc<CryptoProvider>,
) -> Result<Clients, String> {
    if mode == "none" {
        return Ok(Clients { verifier: WebPkiClientVerifier::no_client_auth(), judge: None });
    }
    let (file, text) = authorities.ok_or("--ssl-ca-certs is missing: whose client certificates are accepted?")?;
    let mut roots = RootCertStore::empty();
    for certificate in keys::certificates(text).map_err(|error| format!("{file} {error}"))? {
        roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
    }
    let mut lists = Vec::new();
    for (file, text) in revocations {
        let found: Vec<CertificateRevocationListDer<'static>> = CertificateRevocationListDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{file} is no valid PEM: {error}"))?;
        if found.is_empty() {
            return Err(format!("{file} contains no revocation list (-----BEGIN X509 CRL-----)"));
        }
        lists.extend(found);
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !lists.is_empty() {
        // A list speaks for its issuer; certificates of others are not refused for want of one.
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    if mode != "required" {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| format!("client certificates: {error}"))?;
    Ok(match mode {
        "ask" => Clients { verifier: Arc::new(Asking(Arc::clone(&verifier))), judge: Some(verifier) },
        _ => Clients { verifier, judge: None },
    })
}

/// Takes any certificate whose key the client proves to have.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
