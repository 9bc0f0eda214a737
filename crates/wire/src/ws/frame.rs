//! Frames: the head of a received one, unmasking, and writing one. RFC 6455 §5.2–§5.5, RFC 7692 §6.
//!
//! Deliberately unknown here: messages; whether a continuation is expected is `connection`'s business. Called by
//! `connection`; the engine calls [`encode_text`] and [`encode_binary`] to encode a broadcast once.

use super::close::Fault;

/// Bytes of the payload of a control frame (RFC 6455 §5.5).
pub(crate) const CONTROL_MAX: usize = 125;

/// Bytes of the longest head of a masked frame: 2, an 8-byte length, the 4-byte key.
pub(crate) const HEAD_MAX: usize = 14;

/// Bytes of the longest head of an unmasked frame.
pub(crate) const SENT_HEAD_MAX: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASK: u8 = 0x80;

/// The frame types of RFC 6455 §11.8. The value is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn read(byte: u8) -> Option<Self> {
        match byte & 0x0F {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// Control frames may stand between the fragments of a message (RFC 6455 §5.5).
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) opcode: Opcode,
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// RSV1, "per-message compressed": only ever set on the first frame of a message (RFC 7692 §6).
    pub(crate) compressed: bool,
    /// Bytes of the payload.
    pub(crate) length: u64,
    /// The masking key.
    pub(crate) key: [u8; 4],
}

/// Reads the head at the start of `bytes` and tells its length; `None` when it is not all there. A rule that the
/// first bytes already break is reported without the rest. `deflate` tells whether RSV1 has a meaning.
#[inline]
pub(crate) fn read_head(bytes: &[u8], deflate: bool) -> Result<Option<(Head, usize)>, Fault> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (first, second) = (*first, *second);
    if first & RSV2_RSV3 != 0 {
        return Err(Fault::protocol("a reserved bit is set (RFC 6455 §5.2)"));
    }
    let Some(opcode) = Opcode::read(first) else {
        return Err(Fault::protocol("an opcode that is not defined (RFC 6455 §5.2)"));
    };
    let fin = first & FIN != 0;
    let compressed = first & RSV1 != 0;
    if compressed && !(deflate && matches!(opcode, Opcode::Text | Opcode::Binary)) {
        return Err(Fault::protocol("RSV1 where no compressed message starts (RFC 7692 §6)"));
    }
    if second & MASK == 0 {
        return Err(Fault::protocol("a frame from a client is not masked (RFC 6455 §5.1)"));
    }
    let short = second & !MASK;
    if opcode.is_control() {
        if !fin {
            return Err(Fault::protocol("a control frame is fragmented (RFC 6455 §5.5)"));
        }
        if usize::from(short) > CONTROL_MAX {
            return Err(Fault::protocol("a control frame is longer than 125 bytes (RFC 6455 §5.5)"));
        }
    }
    let (length, rest, length_bytes) = match short {
        126 => {
            let Some((long, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*long)), rest, 2)
        }
        127 => {
            let Some((long, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*long), rest, 8)
        }
        _ => (u64::from(short), rest, 0),
    };
    match length_bytes {
        2 if length < 126 => return Err(Fault::protocol("a length is not in its shortest form (RFC 6455 §5.2)")),
        8 if length <= 0xFFFF => return Err(Fault::protocol("a length is not in its shortest form (RFC 6455 §5.2)")),
        8 if length > i64::MAX as u64 => {
            return Err(Fault::protocol("a length has its highest bit set (RFC 6455 §5.2)"))
        }
        _ => {}
    }
    let Some(key) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    Ok(Some((Head { opcode, fin, compressed, length, key: *key }, 2 + length_bytes + 4)))
}

/// Removes the mask in place (RFC 6455 §5.3). `offset` is the position of the first byte inside the payload.
#[inline]
pub(crate) fn unmask(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    // Eight bytes at a time; the compiler widens the loop to the vector registers it has.
    let turn = (offset % 4) as usize;
    let mut wide = [0_u8; 8];
    for (index, byte) in wide.iter_mut().enumerate() {
        *byte = key[(index + turn) % 4];
    }
    let word = u64::from_ne_bytes(wide);
    let mut blocks = bytes.chunks_exact_mut(8);
    for block in &mut blocks {
        if let Ok(array) = <&mut [u8; 8]>::try_from(block) {
            *array = (u64::from_ne_bytes(*array) ^ word).to_ne_bytes();
        }
    }
    for (byte, mask) in blocks.into_remainder().iter_mut().zip(wide) {
        *byte ^= mask;
    }
}

/// The head of an unmasked, final frame: the bytes, and how many of them count.
#[inline]
pub(crate) fn sent_head(opcode: Opcode, compressed: bool, length: usize) -> ([u8; SENT_HEAD_MAX], usize) {
    let mut head = [0; SENT_HEAD_MAX];
    head[0] = FIN | if compressed { RSV1 } else { 0 } | opcode as u8;
    let used = match length {
        0..=125 => {
            head[1] = length as u8;
            2
        }
        126..=0xFFFF => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (head, used)
}

/// Appends one unmasked, uncompressed, final frame.
#[inline]
pub(crate) fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let (head, used) = sent_head(opcode, false, payload.len());
    out.reserve(used + payload.len());
    out.extend_from_slice(&head[..used]);
    out.extend_from_slice(payload);
}

/// Appends one unmasked, compressed, final frame whose payload `fill` appends; `guess` is the expected length. When
/// `fill` declines, `out` is as before and the answer is false.
pub(crate) fn write_with(
    opcode: Opcode,
    guess: usize,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let start = out.len();
    let (head, reserved) = sent_head(opcode, true, guess);
    out.extend_from_slice(&head[..reserved]);
    if !fill(out) {
        out.truncate(start);
        return false;
    }
    let length = out.len() - start - reserved;
    let (head, used) = sent_head(opcode, true, length);
    if used < reserved {
        out.drain(start + used..start + reserved);
    } else if used > reserved {
        out.splice(start..start, std::iter::repeat_n(0, used - reserved));
    }
    out[start..start + used].copy_from_slice(&head[..used]);
    true
}

/// Appends a text message as one uncompressed frame. The bytes are the same for every connection: a broadcast encodes
/// once. `data` must be UTF-8.
pub fn encode_text(data: &[u8], out: &mut Vec<u8>) {
    write(Opcode::Text, data, out);
}

/// Appends a binary message as one uncompressed frame, see [`encode_text`].
pub fn encode_binary(data: &[u8], out: &mut Vec<u8>) {
    write(Opcode::Binary, data, out);
}
