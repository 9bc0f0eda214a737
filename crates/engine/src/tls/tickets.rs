//! Session tickets (RFC 8446 §4.6.1, RFC 5077) under keys that all workers share, so that a session begun at one goes on at
//! any other. The parent makes the keys and replaces them; the first one encrypts, the others still decrypt.
//!
//! Who comes with a ticket shows no certificate again. So a ticket is good only where the certificate would still be judged
//! by the same rules: it is bound to them.

use std::fmt;

use aws_lc_rs::aead::{Aad, Nonce, RandomizedNonceKey, AES_256_GCM, NONCE_LEN};
use rustls::server::ProducesTickets;

const NAME: usize = 16;

/// A digest of what client certificates are judged by.
pub(super) type Rules = [u8; 32];

pub(super) struct Tickets {
    keys: Vec<([u8; NAME], RandomizedNonceKey)>,
    rules: Rules,
    lifetime: u32,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Tickets {
    /// A key is its name and 32 bytes for AES-256; `lifetime` is in seconds.
    pub(super) fn new(keys: &[Vec<u8>], lifetime: u32, rules: Rules) -> Result<Self, String> {
        let keys = keys
            .iter()
            .map(|key| {
                let (name, secret) = key.split_at_checked(NAME).ok_or("a ticket key is too short")?;
                let name = name.try_into().map_err(|_| "a ticket key is too short")?;
                let secret = RandomizedNonceKey::new(&AES_256_GCM, secret).map_err(|_| "a ticket key has 48 bytes")?;
                Ok((name, secret))
            })
            .collect::<Result<_, &str>>()?;
        Ok(Self { keys, rules, lifetime })
    }

    /// What a ticket is sealed together with.
    fn around(&self, name: &[u8; NAME]) -> Aad<Vec<u8>> {
        Aad::from([&name[..], &self.rules[..]].concat())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// The key's name, the nonce, the ciphertext with its tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(self.around(name), &mut sealed).ok()?;
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let (name, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.open_in_place(nonce, self.around(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: usize = NAME + 32;
    const RULES: Rules = [7; 32];

    #[test]
    fn an_older_key_still_opens_and_a_forgotten_one_does_not() {
        let (old, new) = (vec![1; KEY], vec![2; KEY]);
        let before = Tickets::new(std::slice::from_ref(&old), 60, RULES).unwrap();
        let ticket = before.encrypt(b"session").unwrap();
        let after = Tickets::new(&[new.clone(), old], 60, RULES).unwrap();
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(after.encrypt(b"session").unwrap()[..NAME], ticket[..NAME]);
        assert_eq!(Tickets::new(&[new], 60, RULES).unwrap().decrypt(&ticket), None);
    }

    #[test]
    fn other_rules_for_client_certificates_end_all_sessions() {
        let keys = [vec![1; KEY]];
        let ticket = Tickets::new(&keys, 60, RULES).unwrap().encrypt(b"session").unwrap();
        assert_eq!(Tickets::new(&keys, 60, [8; 32]).unwrap().decrypt(&ticket), None);
    }

    #[test]
    fn a_changed_ticket_does_not_open() {
        let tickets = Tickets::new(&[vec![1; KEY]], 60, RULES).unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None);
            assert_eq!(tickets.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn keys_have_one_length() {
        assert!(Tickets::new(&[vec![1; KEY - 1]], 60, RULES).is_err());
        assert!(Tickets::new(&[vec![1; 3]], 60, RULES).is_err());
        assert!(!Tickets::new(&[], 60, RULES).unwrap().enabled());
    }
}
