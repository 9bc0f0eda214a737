//! Sets of networks that are trusted to speak for others: addresses, CIDR blocks (RFC 4632 §3.1, RFC 4291 §2.3), `*`
//! for everyone and `unix` for peers on a Unix socket.
//!
//! Deliberately unknown here: what the trust is for. Called by `fields::forwarded`, and by the engine for
//! `--forwarded-allow-ips` and `--proxy-protocol-from`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A set of networks. The default is empty: nobody is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    everyone: bool,
    unix: bool,
    v4: Vec<Block<u32>>,
    v6: Vec<Block<u128>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block<Bits> {
    network: Bits,
    mask: Bits,
}

/// A part of a list of networks that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    /// The part as written.
    pub item: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.item, self.reason)
    }
}

impl std::error::Error for NetworkError {}

impl Networks {
    /// Reads a list such as `127.0.0.1, 10.0.0.0/8, fd00::/8, unix`, separated by commas or spaces.
    pub fn parse(list: &str) -> Result<Self, NetworkError> {
        let mut networks = Self::default();
        for item in list.split([',', ' ', '\t']).filter(|item| !item.is_empty()) {
            networks.add(item).map_err(|reason| NetworkError { item: item.to_owned(), reason })?;
        }
        Ok(networks)
    }

    /// Whether an address lies in the set. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.everyone
            || match address.to_canonical() {
                IpAddr::V4(address) => {
                    let bits = address.to_bits();
                    self.v4.iter().any(|block| bits & block.mask == block.network)
                }
                IpAddr::V6(address) => {
                    let bits = address.to_bits();
                    self.v6.iter().any(|block| bits & block.mask == block.network)
                }
            }
    }

    /// Whether peers on a Unix socket are in the set.
    #[must_use]
    pub fn contains_unix(&self) -> bool {
        self.everyone || self.unix
    }

    /// Whether a peer is in the set; `None` stands for a Unix socket.
    #[must_use]
    pub fn contains_peer(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.contains_unix(), |address| self.contains(address))
    }

    /// Whether nobody is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everyone && !self.unix && self.v4.is_empty() && self.v6.is_empty()
    }

    fn add(&mut self, item: &str) -> Result<(), &'static str> {
        match item {
            "*" => self.everyone = true,
            "unix" => self.unix = true,
            _ => {
                let (address, prefix) = match item.split_once('/') {
                    Some((address, prefix)) => (address, Some(parse_prefix(prefix)?)),
                    None => (item, None),
                };
                let address: IpAddr =
                    address.parse().map_err(|_| "is neither an address, a network, \"*\" nor \"unix\"")?;
                self.add_block(address, prefix)?;
            }
        }
        Ok(())
    }

    fn add_block(&mut self, address: IpAddr, prefix: Option<u32>) -> Result<(), &'static str> {
        match address {
            IpAddr::V4(address) => {
                let mask = mask(prefix.unwrap_or(32), 32)? as u32;
                self.v4.push(Block { network: masked(address.to_bits().into(), mask.into())? as u32, mask });
            }
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) if prefix.is_none() => self.add_block(mapped.into(), None)?,
                Some(_) => return Err("is an IPv4 network written as IPv6; write it as IPv4"),
                None => {
                    let mask = mask(prefix.unwrap_or(128), 128)?;
                    self.v6.push(Block { network: masked(Ipv6Addr::to_bits(address), mask)?, mask });
                }
            },
        }
        Ok(())
    }
}

fn parse_prefix(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() || text.len() > 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a prefix length that is not a number");
    }
    text.parse().map_err(|_| "has a prefix length that is not a number")
}

/// A mask of `prefix` ones in the upper part of the lower `width` bits.
fn mask(prefix: u32, width: u32) -> Result<u128, &'static str> {
    let zeros = width.checked_sub(prefix).ok_or("has a prefix longer than the address")?;
    let ones = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    Ok(ones & u128::MAX.checked_shl(zeros).unwrap_or(0))
}

fn masked(bits: u128, mask: u128) -> Result<u128, &'static str> {
    if bits & !mask == 0 {
        Ok(bits)
    } else {
        Err("has bits set behind its prefix")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(list: &str, address: &str) -> bool {
        Networks::parse(list).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_blocks() {
        let list = "127.0.0.1, 10.0.0.0/8 fd00::/8,::1";
        for inside in ["127.0.0.1", "10.255.0.1", "fd12::1", "::1", "::ffff:10.1.2.3"] {
            assert!(contains(list, inside), "{inside}");
        }
        for outside in ["127.0.0.2", "11.0.0.0", "fe80::1", "::2", "::ffff:11.0.0.1", "::"] {
            assert!(!contains(list, outside), "{outside}");
        }
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("::ffff:1.2.3.4", "1.2.3.4"));
        assert!(contains("1.2.3.4/32", "1.2.3.4"));
    }

    #[test]
    fn everyone_unix_and_nobody() {
        let everyone = Networks::parse("*").unwrap();
        assert!(everyone.contains_peer(None) && everyone.contains_peer(Some([1, 2, 3, 4].into())));
        let unix = Networks::parse("unix").unwrap();
        assert!(unix.contains_unix() && !unix.contains([127, 0, 0, 1].into()) && !unix.is_empty());
        let nobody = Networks::parse(" , ").unwrap();
        assert!(nobody.is_empty() && !nobody.contains_peer(None));
    }

    #[test]
    fn what_is_not_a_network_is_named() {
        for bad in [
            "10.0.0.1/8",
            "1.2.3",
            "::/129",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "a.example",
            "::ffff:1.2.0.0/112",
            "/8",
        ] {
            let error = Networks::parse(&format!("127.0.0.1,{bad}")).unwrap_err();
            assert_eq!(error.item, bad);
            assert!(error.to_string().contains(bad));
        }
    }
}
