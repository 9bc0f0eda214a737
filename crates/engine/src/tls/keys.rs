//! Certificates and private keys from PEM (RFC 7468), and keys in a password's protection: PKCS#8 (RFC 5958 §3) with PBES2
//! (RFC 8018 §6.2), PBKDF2 and AES-CBC, which is what OpenSSL writes today.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey, AES_128, AES_192, AES_256,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::der::{Reader, NULL, OBJECT, OCTET_STRING, SEQUENCE};

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// `hmacWith…`: the last number after 1.2.840.113549.2.
const DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
/// `aes…-CBC-PAD`: the last number after 2.16.840.1.101.3.4.1.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 1];
/// More would keep the loop waiting for seconds; OpenSSL's default is 2,048, RFC 8018 asks for a thousand at least.
const ITERATIONS_MAX: u64 = 10_000_000;

const CONVERT: &str = "convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW";

pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(not_pem)?;
    if all.is_empty() {
        return Err("contains no certificate (-----BEGIN CERTIFICATE-----)".into());
    }
    Ok(all)
}

/// The first private key.
pub(super) fn private_key(text: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(encrypted) = encrypted(text)? {
        let password = password.ok_or("is encrypted: give its password with --ssl-keyfile-password")?;
        return decrypt(&encrypted, password).map(|key| PrivatePkcs8KeyDer::from(key).into());
    }
    if text.windows(10).any(|window| window == b",ENCRYPTED") {
        return Err(format!("is encrypted in an old format that is not read: {CONVERT}"));
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err("contains no private key (-----BEGIN PRIVATE KEY-----)".into()),
        Err(error) => Err(not_pem(error)),
    }
}

fn not_pem(error: pem::Error) -> String {
    format!("is no valid PEM: {error}")
}

/// The contents of the first encrypted key, if there is one.
fn encrypted(text: &[u8]) -> Result<Option<Vec<u8>>, String> {
    const BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
    let find = |needle: &[u8], from: usize| memchr::memmem::find(&text[from..], needle).map(|at| from + at);
    let Some(begin) = find(BEGIN, 0) else { return Ok(None) };
    let end = find(END, begin).ok_or("is no valid PEM: an encrypted key has no end")?;
    // The reader of PEM knows no such kind: the same contents under another name.
    let mut renamed = b"-----BEGIN CERTIFICATE-----".to_vec();
    renamed.extend_from_slice(&text[begin + BEGIN.len()..end]);
    renamed.extend_from_slice(b"-----END CERTIFICATE-----\n");
    CertificateDer::from_pem_slice(&renamed).map(|contents| Some(contents.to_vec())).map_err(not_pem)
}

/// What PBES2 says of itself.
struct Scheme<'a> {
    digest: pbkdf2::Algorithm,
    salt: &'a [u8],
    iterations: NonZeroU32,
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; 16],
    contents: &'a [u8],
}

fn decrypt(encrypted: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let scheme = scheme(encrypted).ok_or_else(|| format!("is encrypted in a way that is not read: {CONVERT}"))?;
    let mut key = [0_u8; 32];
    let key = &mut key[..scheme.key_length];
    pbkdf2::derive(scheme.digest, scheme.iterations, scheme.salt, password, key);
    let wrong = || "cannot be decrypted: the password is wrong".to_owned();
    let key = UnboundCipherKey::new(scheme.cipher, key).map_err(|_| wrong())?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| wrong())?;
    let mut contents = scheme.contents.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(scheme.iv));
    let plain = key.decrypt(&mut contents, context).map_err(|_| wrong())?.to_vec();
    // With a wrong password the padding is right once in 256 times.
    Reader(&plain).enter(SEQUENCE).and_then(|mut inside| inside.number()).ok_or_else(wrong)?;
    Ok(plain)
}

/// `EncryptedPrivateKeyInfo`, as far as it is understood.
fn scheme(encrypted: &[u8]) -> Option<Scheme<'_>> {
    let mut whole = Reader(encrypted).enter(SEQUENCE)?;
    let mut algorithm = whole.enter(SEQUENCE)?;
    let contents = whole.expect(OCTET_STRING)?;
    (algorithm.expect(OBJECT)? == PBES2).then_some(())?;
    let mut parameters = algorithm.enter(SEQUENCE)?;
    let mut derivation = parameters.enter(SEQUENCE)?;
    (derivation.expect(OBJECT)? == PBKDF2).then_some(())?;
    let mut derivation = derivation.enter(SEQUENCE)?;
    let salt = derivation.expect(OCTET_STRING)?;
    let iterations = derivation.number().filter(|count| *count <= ITERATIONS_MAX)?;
    let stated_length = derivation.number();
    let digest = match derivation.enter(SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(mut function) => {
            let (last, prefix) = function.expect(OBJECT)?.split_last()?;
            let _ = function.expect(NULL);
            match last {
                _ if prefix != DIGEST => return None,
                7 => pbkdf2::PBKDF2_HMAC_SHA1,
                9 => pbkdf2::PBKDF2_HMAC_SHA256,
                10 => pbkdf2::PBKDF2_HMAC_SHA384,
                11 => pbkdf2::PBKDF2_HMAC_SHA512,
                _ => return None,
            }
        }
    };
    let mut encryption = parameters.enter(SEQUENCE)?;
    let (last, prefix) = encryption.expect(OBJECT)?.split_last()?;
    let (cipher, key_length) = match last {
        _ if prefix != AES => return None,
        2 => (&AES_128, 16),
        22 => (&AES_192, 24),
        42 => (&AES_256, 32),
        _ => return None,
    };
    let iv = encryption.expect(OCTET_STRING)?.try_into().ok()?;
    let iterations = NonZeroU32::new(u32::try_from(iterations).ok()?)?;
    (stated_length.is_none_or(|length| length == key_length as u64)).then_some(())?;
    Some(Scheme { digest, salt, iterations, cipher, key_length, iv, contents })
}
