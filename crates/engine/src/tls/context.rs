//! `swell._core.TlsContext`: everything a handshake needs, made from the contents of files and then constant.
//!
//! Python decides which files those are and when they have changed (`swell.worker.tls`); an error here says which file is
//! wrong and how, and leaves the context that is in use alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ::aws_lc_rs::digest;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::crypto::{aws_lc_rs, CryptoProvider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{version, ServerConfig};

use super::certificates::{Identity, Resolver};
use super::challenge::{self, Challenge};
use super::der::{Reader, ENUMERATED, SEQUENCE};
use super::keys;
use super::tickets::{Rules, Tickets};
use super::verify;

/// `swell.config.tls.Material`, read once.
#[derive(FromPyObject)]
struct Material {
    certificates: Vec<Certificate>,
    client_certificates: String,
    authorities: Option<(String, Vec<u8>)>,
    revocations: Vec<(String, Vec<u8>)>,
    profile: String,
    minimum_version: String,
    ticket_keys: Vec<Vec<u8>>,
    ticket_lifetime: u32,
    challenges: Vec<Challenge>,
    answers: Vec<(String, String)>,
}

/// One certificate chain with its key. The files are named in errors.
#[derive(FromPyObject)]
struct Certificate {
    certificate_file: String,
    certificate: Vec<u8>,
    key_file: String,
    key: Vec<u8>,
    password: Option<Vec<u8>>,
    staple: Option<Vec<u8>>,
}

#[pyclass(frozen, module = "swell._core")]
pub(crate) struct TlsContext {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) judge: Option<Arc<dyn ClientCertVerifier>>,
    /// There is something to show to an authority that asks for it ([`challenge`]).
    pub(crate) challenged: bool,
    /// What requests for these paths are answered with, in the application's place (RFC 8555 §8.3).
    pub(crate) answers: HashMap<Vec<u8>, String>,
    names: Vec<Vec<String>>,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsContext").field("names", &self.names).finish_non_exhaustive()
    }
}

#[pymethods]
impl TlsContext {
    /// Raises `ValueError` that says what is wrong with which file.
    #[new]
    fn new(material: &Bound<'_, PyAny>) -> PyResult<Self> {
        let material: Material = material.extract()?;
        build(&material).map_err(PyValueError::new_err)
    }

    /// The host names of each certificate, in their order.
    #[getter]
    fn names(&self) -> Vec<Vec<String>> {
        self.names.clone()
    }
}

fn build(material: &Material) -> Result<TlsContext, String> {
    let provider = Arc::new(provider(&material.profile));
    let versions: &[_] = match material.minimum_version.as_str() {
        "1.3" => &[&version::TLS13],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let identities = material
        .certificates
        .iter()
        .map(|certificate| identity(certificate, &provider))
        .collect::<Result<Vec<_>, _>>()?;
    if identities.is_empty() {
        return Err("there is no certificate".into());
    }
    let challenges = challenge::read(&material.challenges, &provider)?;
    let challenged = !challenges.is_empty();
    let names = identities.iter().map(|identity| identity.names.clone()).collect();
    let authorities = material.authorities.as_ref().map(|(file, text)| (file.as_str(), text.as_slice()));
    let clients = verify::clients(&material.client_certificates, authorities, &material.revocations, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients.verifier)
        .with_cert_resolver(Arc::new(Resolver::new(identities, challenges)));
    config.ticketer = Arc::new(Tickets::new(&material.ticket_keys, material.ticket_lifetime, rules(material))?);
    // Sessions are in tickets, which any worker can read.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let answers = material.answers.iter().map(|(path, text)| (path.clone().into_bytes(), text.clone())).collect();
    Ok(TlsContext { config: Arc::new(config), judge: clients.judge, challenged, answers, names })
}

/// Changes whenever a client certificate might be judged otherwise: by another mode, other authorities, other lists.
fn rules(material: &Material) -> Rules {
    let files = material.authorities.iter().chain(&material.revocations).map(|(_, contents)| contents.as_slice());
    let mut all = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(material.client_certificates.as_bytes()).chain(files) {
        all.update(&(part.len() as u64).to_le_bytes());
        all.update(part);
    }
    let mut rules = Rules::default();
    rules.copy_from_slice(all.finish().as_ref());
    rules
}

/// `modern`: TLS 1.3 alone; `intermediate`: with TLS 1.2's suites of forward secrecy and authenticated encryption.
fn provider(profile: &str) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if profile == "modern" {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    }
    provider
}

fn identity(certificate: &Certificate, provider: &CryptoProvider) -> Result<Identity, String> {
    let Certificate { certificate_file, key_file, .. } = certificate;
    let chain = keys::certificates(&certificate.certificate).map_err(|error| format!("{certificate_file} {error}"))?;
    let key = keys::private_key(&certificate.key, certificate.password.as_deref())
        .map_err(|error| format!("{key_file} {error}"))?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        format!("{key_file}: the private key cannot be used: it must be RSA (2048 bits or more), ECDSA or Ed25519")
    })?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(format!("{key_file} is not the key of the first certificate in {certificate_file}"));
        }
        Err(error) => return Err(format!("{certificate_file}: {error}")),
    }
    if let Some(staple) = &certificate.staple {
        stapled(staple).ok_or_else(|| {
            format!("--ssl-ocsp for {certificate_file}: it is no OCSP response in DER, or one that tells of a failure")
        })?;
    }
    certified.ocsp = certificate.staple.clone();
    Identity::new(certified).map_err(|error| format!("{certificate_file} {error}"))
}

/// Some for one whole `OCSPResponse` that was successful (RFC 6960 §4.2.1). What it says is between client and authority.
fn stapled(contents: &[u8]) -> Option<()> {
    let mut whole = Reader(contents);
    let mut response = whole.enter(SEQUENCE)?;
    let successful = response.expect(ENUMERATED)? == [0];
    (successful && !response.is_empty() && whole.is_empty()).then_some(())
}
