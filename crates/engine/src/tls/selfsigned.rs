//! A certificate that vouches for itself (RFC 5280 §4.1), for development: ECDSA with P-256, for a list of names.

use std::net::IpAddr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair, ECDSA_P256_SHA256_ASN1_SIGNING};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::certificates::textual;
use super::der::{INTEGER, OBJECT, OCTET_STRING, SEQUENCE, SET};

const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
/// Explicit tags of the version and the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of alternative names (RFC 5280 §4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTHENTICATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// Makes a certificate and its key, both PEM. The times are UTCTime as RFC 5280 has it: `YYMMDDHHMMSSZ`.
#[pyfunction]
#[pyo3(signature = (names, not_before, not_after))]
pub(crate) fn self_signed(names: Vec<String>, not_before: &str, not_after: &str) -> PyResult<(String, String)> {
    let first = names.first().ok_or_else(|| PyValueError::new_err("a certificate needs a name"))?;
    let broken = |_| PyRuntimeError::new_err("no key could be made");
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(broken)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let mut serial = [0_u8; 16];
    random.fill(&mut serial).map_err(broken)?;
    // Positive, and of one length.
    serial[0] = serial[0] & 0x7f | 0x40;

    let algorithm = element(SEQUENCE, &[element(OBJECT, &[ECDSA_WITH_SHA256])]);
    let attribute = element(SEQUENCE, &[element(OBJECT, &[COMMON_NAME]), element(UTF8_STRING, &[first.as_bytes()])]);
    let name = element(SEQUENCE, &[element(SET, &[attribute])]);
    let validity =
        element(SEQUENCE, &[element(UTC_TIME, &[not_before.as_bytes()]), element(UTC_TIME, &[not_after.as_bytes()])]);
    let public = [&[0][..], key.public_key().as_ref()].concat();
    let kind = element(SEQUENCE, &[element(OBJECT, &[EC_PUBLIC_KEY]), element(OBJECT, &[P256])]);
    let public = element(SEQUENCE, &[kind, element(BIT_STRING, &[public])]);
    let extensions = element(
        SEQUENCE,
        &[
            extension(SUBJECT_ALTERNATIVE_NAME, false, &element(SEQUENCE, &alternatives(&names))),
            extension(BASIC_CONSTRAINTS, true, &element::<&[u8]>(SEQUENCE, &[])),
            // digitalSignature, the first of eight bits.
            extension(KEY_USAGE, true, &element(BIT_STRING, &[[7, 0x80]])),
            extension(EXTENDED_KEY_USAGE, false, &element(SEQUENCE, &[element(OBJECT, &[SERVER_AUTHENTICATION])])),
        ],
    );
    let body = element(
        SEQUENCE,
        &[
            // Version 3 is written as 2.
            element(VERSION, &[element(INTEGER, &[[2]])]),
            element(INTEGER, &[serial]),
            algorithm.clone(),
            name.clone(),
            validity,
            name,
            public,
            element(EXTENSIONS, &[extensions]),
        ],
    );
    let signature = key.sign(&random, &body).map_err(broken)?;
    let signature = element(BIT_STRING, &[[&[0][..], signature.as_ref()].concat()]);
    let certificate = element(SEQUENCE, &[body, algorithm, signature]);
    Ok((textual("CERTIFICATE", &certificate), textual("PRIVATE KEY", document.as_ref())))
}

fn alternatives(names: &[String]) -> Vec<Vec<u8>> {
    names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => element(IP_ADDRESS, &[address.octets()]),
            Ok(IpAddr::V6(address)) => element(IP_ADDRESS, &[address.octets()]),
            Err(_) => element(DNS_NAME, &[name.as_bytes()]),
        })
        .collect()
}

fn extension(object: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![element(OBJECT, &[object])];
    if critical {
        parts.push(element(BOOLEAN, &[[0xff]]));
    }
    parts.push(element(OCTET_STRING, &[value]));
    element(SEQUENCE, &parts)
}

/// One element of DER around its contents.
fn element<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part.as_ref()));
    out
}
