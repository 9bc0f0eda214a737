//! HTTP/2 as far as it needs no frames of its own: what a request means, what a response head becomes, and how much
//! work a client may cause. RFC 9113, RFC 8441.
//!
//! Frames, HPACK, streams and flow control are the engine's (crate `h2`). Deliberately unknown here: sockets, time, the
//! application. Called by the engine's `h2` folder.

pub mod request;
pub mod response;
pub mod watch;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say about its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The client preface, whole.
    Http2,
    /// The beginning of the client preface.
    Undecided,
    /// Something else.
    Other,
}

/// Tells a client with prior knowledge by its preface (RFC 9113 §3.3).
#[must_use]
pub fn opening(bytes: &[u8]) -> Opening {
    if bytes.starts_with(PREFACE) {
        Opening::Http2
    } else if PREFACE.starts_with(bytes) {
        Opening::Undecided
    } else {
        Opening::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_known_in_every_segmentation_and_nothing_else_is() {
        for end in 0..PREFACE.len() {
            assert_eq!(opening(&PREFACE[..end]), Opening::Undecided);
            let mut other = PREFACE[..=end].to_vec();
            other[end] ^= 1;
            assert_eq!(opening(&other), Opening::Other);
        }
        assert_eq!(opening(PREFACE), Opening::Http2);
        assert_eq!(opening(&[PREFACE, b"more"].concat()), Opening::Http2);
    }
}
