//! What a connection reports, and the faults that belong to a whole message. RFC 6455 §5.5, §7, §8.1.
//!
//! Deliberately unknown here: how an event comes about. Made by `connection`, read by the engine.

use super::close::Fault;
use super::codec::InflateError;

/// What arrived. Borrowed from the connection's buffers until the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'c> {
    /// A whole text message.
    Text(&'c str),
    /// A whole binary message.
    Binary(&'c [u8]),
    /// A ping; the caller answers with a pong that carries the same payload (RFC 6455 §5.5.2).
    Ping(&'c [u8]),
    /// A pong, asked for or not.
    Pong(&'c [u8]),
    /// The peer closes. The caller answers with a close frame, unless it has sent one, and ends the connection.
    Close {
        /// The peer's code, 1005 when it gave none.
        code: u16,
        /// The peer's reason, often empty.
        reason: &'c str,
    },
    /// The peer broke a rule or a limit. The caller sends a close frame with this code and ends the connection.
    Failure {
        /// The close code: 1002 protocol, 1007 data, 1009 too big.
        code: u16,
        /// What was wrong and where the rule stands; short enough for a close frame.
        reason: &'static str,
    },
}

/// Text that is none.
pub(crate) const NOT_UTF8: Fault = Fault::data("a text message is not UTF-8 (RFC 6455 §8.1)");
/// A message beyond the limit.
pub(crate) const TOO_BIG: Fault = Fault::too_big("a message is larger than the limit (RFC 6455 §10.4)");

/// What a failed inflation means for the connection.
pub(crate) fn inflate_fault(error: InflateError) -> Fault {
    match error {
        InflateError::Corrupt => Fault::data("a compressed message cannot be inflated (RFC 7692 §7.2.2)"),
        InflateError::TooBig => TOO_BIG,
        InflateError::Ratio => Fault::too_big("a compressed message inflates too much (RFC 7692 §8)"),
    }
}

/// The event for a fault.
pub(crate) fn failure(fault: Fault) -> Event<'static> {
    Event::Failure { code: fault.code, reason: fault.reason }
}
