//! permessage-deflate: one message through deflate or inflate, with bounds. RFC 7692 §7.2.
//!
//! Deliberately unknown here: how it was negotiated, and frames. Called by `connection`. The algorithm itself is the
//! `zlib-rs` crate's.
//!
//! Both directions allocate on first use. Without context takeover a direction keeps nothing between messages: the
//! state goes to a spare place of the thread, from which the next message of any connection takes it.

use std::cell::Cell;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status, Strategy};

use super::buffer::grow;
use super::extension::DeflateParams;
use super::limits::INFLATE_RATIO_FLOOR;

/// What a sync flush ends with and the sender leaves out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Output is made in steps of at most this many bytes.
const STEP: usize = 64 * 1024;

/// Memory for pending output of the compressor, zlib's memLevel. 5 instead of 8 saves 56 KiB per compressor.
const MEM_LEVEL: i32 = 5;

thread_local! {
    static SPARE_INFLATE: Cell<Option<Box<Inflate>>> = const { Cell::new(None) };
    static SPARE_DEFLATE: Cell<Option<Box<Compressor>>> = const { Cell::new(None) };
}

/// Why inflating stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Not a deflate stream.
    Corrupt,
    /// More than the limit on a message.
    TooBig,
    /// More inflated bytes per compressed byte than allowed.
    Ratio,
}

/// How far one message may inflate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) message: usize,
    pub(crate) ratio: u32,
}

/// Both directions of one connection.
pub(crate) struct Codec {
    params: DeflateParams,
    inflate: Option<Box<Inflate>>,
    compressor: Option<Box<Compressor>>,
}

impl Codec {
    pub(crate) fn new(params: DeflateParams) -> Self {
        Self { params, inflate: None, compressor: None }
    }

    /// Inflates a piece of a message behind what `message` already holds. `compressed` is the number of compressed
    /// bytes of this message before the piece. `message` never grows beyond the limit by more than one byte.
    pub(crate) fn inflate(
        &mut self,
        mut piece: &[u8],
        mut compressed: u64,
        bounds: Bounds,
        message: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let inflate = self.inflate.get_or_insert_with(take_inflate);
        let bound = bounds.message.saturating_add(1);
        loop {
            let before = message.len();
            let room = piece.len().saturating_mul(4).clamp(256, STEP).min(bound - before);
            grow(message, room, bound);
            message.resize(before + room, 0);
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(piece, &mut message[before..], InflateFlush::SyncFlush);
            let read = (inflate.total_in() - read) as usize;
            let written = (inflate.total_out() - written) as usize;
            message.truncate(before + written);
            piece = &piece[read..];
            compressed += read as u64;
            if message.len() > bounds.message {
                return Err(InflateError::TooBig);
            }
            if bounds.ratio > 0
                && message.len() > INFLATE_RATIO_FLOOR
                && message.len() as u64 > compressed.saturating_mul(u64::from(bounds.ratio))
            {
                return Err(InflateError::Ratio);
            }
            match status {
                Err(_) => return Err(InflateError::Corrupt),
                // A final block in the middle: the rest is a stream of its own (RFC 7692 §7.2.3.4).
                Ok(Status::StreamEnd) => inflate.reset(false),
                Ok(_) if written < room && piece.is_empty() => return Ok(()),
                Ok(_) if written == 0 && read == 0 => return Err(InflateError::Corrupt),
                Ok(_) => {}
            }
        }
    }

    /// Ends a received message: gives back the four bytes that the sender left out (RFC 7692 §7.2.2).
    pub(crate) fn inflate_end(
        &mut self,
        compressed: u64,
        bounds: Bounds,
        message: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let result = self.inflate(&TAIL, compressed, bounds, message);
        if self.params.client_no_context_takeover {
            if let Some(inflate) = self.inflate.take() {
                let _ = SPARE_INFLATE.try_with(|spare| spare.set(Some(inflate)));
            }
        }
        result
    }

    /// Appends the compressed form of a message to `out` and tells whether it did: not for a message below the
    /// threshold, nor, without context takeover, for one that would not shrink.
    pub(crate) fn deflate(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        if data.len() < self.params.threshold {
            return false;
        }
        let start = out.len();
        let params = &self.params;
        let compressor = self.compressor.get_or_insert_with(|| Compressor::take(params));
        let mut done = compressor.compress(data, out);
        if !done {
            // The receiver may keep its history, a new compressor will not refer to it.
            self.compressor = None;
        } else if self.params.server_no_context_takeover {
            done = out.len() - start < data.len();
            if let Some(compressor) = self.compressor.take() {
                compressor.put_back();
            }
        }
        if !done {
            out.truncate(start);
        }
        done
    }
}

/// An inflater with no history, the thread's spare one if there is one. `zlib-rs` always gives it the largest window,
/// which reads every stream.
fn take_inflate() -> Box<Inflate> {
    match SPARE_INFLATE.try_with(Cell::take) {
        Ok(Some(mut inflate)) => {
            inflate.reset(false);
            inflate
        }
        _ => Box::new(Inflate::new(false, 15)),
    }
}

struct Compressor {
    deflate: Deflate,
    bits: u8,
    level: u32,
}

impl Compressor {
    /// A compressor with no history, the thread's spare one if it fits.
    fn take(params: &DeflateParams) -> Box<Self> {
        let (bits, level) = (params.server_max_window_bits, params.level);
        if params.server_no_context_takeover {
            if let Ok(Some(mut spare)) = SPARE_DEFLATE.try_with(Cell::take) {
                if spare.bits == bits && spare.level == level {
                    spare.deflate.reset();
                    return spare;
                }
            }
        }
        // Deflate cannot keep to a window of 256 bytes: its shortest one is 512. Without matches there is no distance
        // that could be too far, so 8 bits means Huffman coding only (RFC 7692 §7.1.2).
        let strategy = if bits < 9 { Strategy::HuffmanOnly } else { Strategy::Default };
        let config = DeflateConfig {
            level: level as i32,
            window_bits: -i32::from(bits.max(9)),
            mem_level: MEM_LEVEL,
            strategy,
            ..DeflateConfig::default()
        };
        Box::new(Self { deflate: Deflate::new_with_config(config), bits, level })
    }

    fn put_back(self: Box<Self>) {
        let _ = SPARE_DEFLATE.try_with(|spare| spare.set(Some(self)));
    }

    /// Appends the compressed message without its tail (RFC 7692 §7.2.1).
    fn compress(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> bool {
        loop {
            let before = out.len();
            let room = (data.len() / 2 + 64).clamp(256, STEP);
            out.resize(before + room, 0);
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            let status = self.deflate.compress(data, &mut out[before..], DeflateFlush::SyncFlush);
            let read = (self.deflate.total_in() - read) as usize;
            let written = (self.deflate.total_out() - written) as usize;
            out.truncate(before + written);
            data = &data[read..];
            if status.is_err() {
                return false;
            }
            if written < room {
                break;
            }
        }
        if !data.is_empty() || !out.ends_with(&TAIL) {
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        true
    }
}
