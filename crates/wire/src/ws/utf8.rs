//! UTF-8 checked while a text message arrives, RFC 6455 §8.1: a wrong byte is refused when it is seen, a character
//! cut by the end of what has arrived is left for later.
//!
//! Deliberately unknown here: frames. Called by `connection` for messages that come in more than one piece.

/// Checks the part of `message` behind `checked`. Returns the new length that is known to be good; up to three bytes
/// behind it are the start of a character. `None` when no continuation can make the bytes valid.
pub(crate) fn check(message: &[u8], checked: usize) -> Option<usize> {
    let fresh = message.get(checked..)?;
    match simdutf8::compat::from_utf8(fresh) {
        Ok(_) => Some(message.len()),
        Err(error) if error.error_len().is_none() => Some(checked + error.valid_up_to()),
        Err(_) => None,
    }
}
