//! What accompanies a connection on its way to another worker.
//!
//! Sixteen bytes, little-endian: magic (4), version (2), flags (2), listener index (4), the sender's slot (4). One
//! message carries one connection, so that a full queue or a dead worker can never take a part of one.

use std::fmt;

pub(crate) const SIZE: usize = 16;
const MAGIC: [u8; 4] = *b"SWHO";
/// Workers of two versions may exist at once, while a new parent replaces the old one.
const VERSION: u16 = 1;

const COUNTED: u16 = 1;
const HOPS_SHIFT: u16 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position of the listener it was accepted from: the same in every worker of an instance.
    pub(crate) listener: u32,
    /// Slot of the worker that sends it.
    pub(crate) sender: u32,
    /// The sender has added it to the receiver's `incoming`.
    pub(crate) counted: bool,
    /// How often it was handed on before.
    pub(crate) hops: u8,
}

/// Why a message is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    Size(usize),
    Magic,
    Version(u16),
    Descriptors,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(formatter, "{size} bytes instead of {SIZE}"),
            Self::Magic => formatter.write_str("not from a worker"),
            Self::Version(version) => write!(formatter, "version {version} instead of {VERSION}"),
            Self::Descriptors => formatter.write_str("not exactly one connection in it"),
        }
    }
}

impl Header {
    pub(crate) fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let flags = (u16::from(self.counted) * COUNTED) | (u16::from(self.hops) << HOPS_SHIFT);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.listener.to_le_bytes());
        bytes[12..].copy_from_slice(&self.sender.to_le_bytes());
        bytes
    }

    /// `length` is what the message had; the buffer may hold less.
    pub(crate) fn decode(bytes: &[u8; SIZE], length: usize) -> Result<Self, Malformed> {
        if length != SIZE {
            return Err(Malformed::Size(length));
        }
        if bytes[..4] != MAGIC {
            return Err(Malformed::Magic);
        }
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if short(4) != VERSION {
            return Err(Malformed::Version(short(4)));
        }
        let flags = short(6);
        Ok(Self {
            listener: long(8),
            sender: long(12),
            counted: flags & COUNTED != 0,
            hops: (flags >> HOPS_SHIFT) as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for (counted, hops) in [(false, 0), (true, 0), (true, 3), (false, 255)] {
            let header = Header { listener: 7, sender: 65_536, counted, hops };
            assert_eq!(Header::decode(&header.encode(), SIZE), Ok(header));
        }
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let good = Header { listener: 0, sender: 0, counted: true, hops: 0 }.encode();
        assert_eq!(Header::decode(&good, 15), Err(Malformed::Size(15)));
        assert_eq!(Header::decode(&good, 17), Err(Malformed::Size(17)));
        let mut other = good;
        other[0] = b'X';
        assert_eq!(Header::decode(&other, SIZE), Err(Malformed::Magic));
        let mut newer = good;
        newer[4] = 2;
        assert_eq!(Header::decode(&newer, SIZE), Err(Malformed::Version(2)));
    }
}
