//! WebSocket framing as a client needs it (RFC 6455 §5): masked frames out, unmasked frames in.
//!
//! Called by `websocket`; knows no sockets and no message meaning.

use crate::fault::Fault;

/// RFC 6455 §5.2: a text frame's opcode.
pub(crate) const TEXT: u8 = 0x1;
/// A close frame's opcode.
pub(crate) const CLOSE: u8 = 0x8;
/// A ping frame's opcode.
pub(crate) const PING: u8 = 0x9;
/// A pong frame's opcode.
pub(crate) const PONG: u8 = 0xA;

/// No frame in a measurement is larger than this many bytes.
const MAX_PAYLOAD: usize = 1 << 20;

/// A frame found at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'data> {
    /// The frame's opcode.
    pub(crate) opcode: u8,
    /// The frame ends its message.
    pub(crate) last: bool,
    /// The payload as sent.
    pub(crate) payload: &'data [u8],
}

/// Finds the frame at the front of `data`, and its whole length in bytes; `None` when more bytes are needed.
pub(crate) fn parse(data: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let [first, second, ..] = data else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        // No extension was offered, and a server never masks.
        return Err(Fault::Malformed);
    }
    let (length, start) = match (second & 0x7F, &data[2..]) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (usize::try_from(length).map_err(|_| Fault::Malformed)?, 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 2),
    };
    if length > MAX_PAYLOAD {
        return Err(Fault::Malformed);
    }
    let end = start + length;
    match data.get(start..end) {
        Some(payload) => Ok(Some((Frame { opcode: first & 0x0F, last: first & 0x80 != 0, payload }, end))),
        None => Ok(None),
    }
}

/// Appends one final frame, masked with `key`.
pub(crate) fn append(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: [u8; 4]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_as_in_the_example_of_rfc_6455_section_5_7() {
        let mut out = Vec::new();
        append(&mut out, TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn parses_every_length_form_and_waits_for_the_rest() {
        for length in [0usize, 125, 126, 65_535, 65_536] {
            let mut data = vec![0x81];
            match length {
                0..=125 => data.push(length as u8),
                126..=0xFFFF => data.extend([&[126][..], &(length as u16).to_be_bytes()].concat()),
                _ => data.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            data.resize(data.len() + length, b'x');
            for cut in (0..data.len()).rev().take(12) {
                assert_eq!(parse(&data[..cut]), Ok(None));
            }
            let (frame, used) = parse(&data).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.last, frame.payload.len(), used), (TEXT, true, length, data.len()));
        }
    }

    #[test]
    fn refuses_masked_frames_and_reserved_bits() {
        assert_eq!(parse(&[0x81, 0x80, 0, 0, 0, 0]), Err(Fault::Malformed));
        assert_eq!(parse(&[0xC1, 0x00]), Err(Fault::Malformed));
    }
}
