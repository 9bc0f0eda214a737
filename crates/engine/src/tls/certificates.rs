//! Which certificate a handshake shows: the one whose names cover the name that the client asks for (RFC 6066 §3), among
//! several the first whose key the client can check, else the first of all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::challenge::{self, Challenges};

/// A certificate with its key, and what is told about it.
pub(crate) struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    /// `DNS` names of the subject's alternative names, in lower case; a wildcard as `*.example.org`.
    pub(crate) names: Vec<String>,
    /// Of the certificate itself, for applications.
    pub(crate) pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn new(certified: CertifiedKey) -> Result<Self, String> {
        let leaf = certified.end_entity_cert().map_err(|error| error.to_string())?;
        let parsed =
            webpki::EndEntityCert::try_from(leaf).map_err(|error| format!("is no usable certificate: {error}"))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        Ok(Self { names, pem: pem(leaf), certified: Arc::new(certified) })
    }
}

/// The textual form of a certificate.
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    textual("CERTIFICATE", certificate)
}

/// The textual form of anything that has one (RFC 7468).
pub(super) fn textual(label: &str, contents: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in contents.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for at in 0..4 {
                let sextet = (bits >> (18 - 6 * at)) & 63;
                text.push(if at > group.len() { '=' } else { char::from(ALPHABET[sextet as usize]) });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

thread_local! {
    /// rustls does not say which certificate it was given: what the handshake that runs now shows.
    static SHOWN: RefCell<Option<Arc<Identity>>> = const { RefCell::new(None) };
}

/// What the handshake step that has just run has chosen.
pub(super) fn take_shown() -> Option<Arc<Identity>> {
    SHOWN.take()
}

#[derive(Debug)]
pub(super) struct Resolver {
    all: Vec<Arc<Identity>>,
    by_name: HashMap<String, Vec<usize>>,
    challenges: Challenges,
}

impl Resolver {
    pub(super) fn new(identities: Vec<Identity>, challenges: Challenges) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, identity) in identities.iter().enumerate() {
            for name in &identity.names {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Self { all: identities.into_iter().map(Arc::new).collect(), by_name, challenges }
    }

    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<Identity>> {
        let fits = |at: &&usize| self.all[**at].certified.key.choose_scheme(hello.signature_schemes()).is_some();
        if let Some(name) = hello.server_name().map(str::to_ascii_lowercase) {
            let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            for name in [Some(name), wildcard].into_iter().flatten() {
                if let Some(at) = self.by_name.get(&name).and_then(|found| found.iter().find(fits)) {
                    return self.all.get(*at);
                }
            }
        }
        let any: Vec<usize> = (0..self.all.len()).collect();
        any.iter().find(fits).and_then(|at| self.all.get(*at)).or(self.all.first())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(shown) = challenge::shown(&self.challenges, &hello) {
            return Some(shown);
        }
        let chosen = self.choose(&hello)?;
        SHOWN.set(Some(Arc::clone(chosen)));
        Some(Arc::clone(&chosen.certified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_lines_of_64_characters_and_padding() {
        for (length, tail) in [(1, "=="), (2, "="), (3, ""), (48, ""), (49, "==")] {
            let text = pem(&CertificateDer::from(vec![0xfb_u8; length]));
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 2 + length.div_ceil(48));
            assert!(lines.iter().all(|line| line.len() <= 64));
            let last = lines[lines.len() - 2];
            assert_eq!(last.len() % 4, 0);
            assert_eq!(last.trim_end_matches('='), &last[..last.len() - tail.len()]);
        }
        assert_eq!(pem(&CertificateDer::from(b"swell".to_vec())).lines().nth(1), Some("c3dlbGw="));
    }
}
