//! Why a connection ends: close codes, the payload of a close frame, and what the peer did wrong. RFC 6455 §5.5.1, §7.4.
//!
//! Deliberately unknown here: frames and the order of events. Called by `connection` and `frame`; the engine asks
//! [`valid_close_code`] about a code that the application wants to send.

/// The code reported when a close frame carries none; it never goes over the wire (RFC 6455 §7.4.1).
pub(crate) const NO_CODE: u16 = 1005;

/// The most bytes a reason can have: a control frame holds 125, two of them are the code (RFC 6455 §5.5).
const REASON_MAX: usize = 123;

/// What the peer did wrong: the code to close with, and a reason that says where the rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Fault {
    /// A protocol error (1002).
    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }

    /// Bytes that do not make sense as a message (1007).
    pub(crate) const fn data(reason: &'static str) -> Self {
        Self { code: 1007, reason }
    }

    /// More than a limit allows (1009).
    pub(crate) const fn too_big(reason: &'static str) -> Self {
        Self { code: 1009, reason }
    }
}

/// Whether a close frame may carry this code (RFC 6455 §7.4): the registered ones that are meant for the wire, and
/// 3000–4999 for libraries and applications.
///
/// Not among them: 1004 (reserved), 1005, 1006 and 1015 (reports only), and everything nobody has registered.
#[must_use]
pub fn valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the payload of a close frame (RFC 6455 §5.5.1): the code, [`NO_CODE`] when there is none, and where the
/// reason begins.
pub(crate) fn read(payload: &[u8]) -> Result<(u16, &str), Fault> {
    match payload {
        [] => Ok((NO_CODE, "")),
        [_] => Err(Fault::protocol("a close frame holds half a code (RFC 6455 §5.5.1)")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !valid_close_code(code) {
                return Err(Fault::protocol("a close code that must not be sent (RFC 6455 §7.4)"));
            }
            match simdutf8::basic::from_utf8(reason) {
                Ok(reason) => Ok((code, reason)),
                Err(_) => Err(Fault::data("a close reason is not UTF-8 (RFC 6455 §5.5.1)")),
            }
        }
    }
}

/// The payload of a close frame: empty for a code that must not go over the wire, else the code and as much of the
/// reason as fits, cut between two characters.
pub(crate) fn payload<'p>(code: u16, reason: &str, storage: &'p mut [u8; 2 + REASON_MAX]) -> &'p [u8] {
    if !valid_close_code(code) {
        return &[];
    }
    let mut len = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    storage[..2].copy_from_slice(&code.to_be_bytes());
    storage[2..2 + len].copy_from_slice(&reason.as_bytes()[..len]);
    &storage[..2 + len]
}
