//! How much work a client may cause with frames that carry nothing: RFC 9113 §10.5.
//!
//! Walks over the frame headers of what a client sends, before anybody acts on them, and keeps three counts: streams
//! it resets (CVE-2023-44487), pieces of one header section (CONTINUATION floods, VU#421644), and frames that cost an
//! answer or a look without moving a request on: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones
//! (CVE-2019-9511 to 9518). Frames that do carry something earn such frames, so that a busy client may send as many
//! as it needs. Deliberately unknown here: what the frames mean, streams, the clock (the caller says when a new period
//! begins). Called by the engine with every byte that comes.

use super::PREFACE;

/// HEADERS and CONTINUATION frames of one header section. 64 KiB in frames of 16 KiB are four.
pub const PIECES: u32 = 32;
/// How many frames that carry nothing are earned by one that carries something.
pub const EARNED: u32 = 8;

/// A limit that a client has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It resets too many streams.
    Resets,
    /// A header section comes in too many pieces.
    Pieces,
    /// Too many frames that carry nothing.
    Overhead,
}

impl Excess {
    /// One plain sentence.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Resets => "the client resets too many streams (h2_max_resets)",
            Self::Pieces => "a header section comes in too many frames",
            Self::Overhead => "too many frames that carry nothing (h2_max_overhead)",
        }
    }
}

/// Counts of one connection.
#[derive(Debug)]
pub struct Watch {
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the preface or of a frame's payload that are still to come.
    skip: usize,
    /// Pieces of the header section that is not complete yet.
    pieces: u32,
    resets: u32,
    overhead: u32,
    earned: u32,
    max_resets: u32,
    max_overhead: u32,
}

const HEADER: usize = 9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

impl Watch {
    /// For a connection whose preface is still to come. At most `max_resets` and `max_overhead` in one period.
    #[must_use]
    pub fn new(max_resets: u32, max_overhead: u32) -> Self {
        Self {
            header: [0; HEADER],
            have: 0,
            skip: PREFACE.len(),
            pieces: 0,
            resets: 0,
            overhead: 0,
            earned: 0,
            max_resets,
            max_overhead,
        }
    }

    /// A new period begins.
    pub fn renew(&mut self) {
        (self.resets, self.overhead, self.earned) = (0, 0, 0);
    }

    /// Something was sent that a client may answer with frames of its own.
    #[inline]
    pub fn earn(&mut self) {
        self.earned = self.earned.saturating_add(EARNED);
    }

    /// A header section has begun and is not complete.
    #[must_use]
    pub fn in_header_section(&self) -> bool {
        self.pieces > 0
    }

    /// Walks over `bytes`, which follow those of the call before.
    ///
    /// # Errors
    /// An [`Excess`]; the connection is to be ended then, and nothing of `bytes` should be acted on.
    pub fn observe(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let missing = HEADER - self.have;
            if bytes.len() < missing {
                self.header[self.have..self.have + bytes.len()].copy_from_slice(bytes);
                self.have += bytes.len();
                return Ok(());
            }
            self.header[self.have..].copy_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            self.have = 0;
            self.frame()?;
        }
    }

    /// One frame header is complete.
    fn frame(&mut self) -> Result<(), Excess> {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            // DATA
            0 if self.skip > 0 || flags & END_STREAM != 0 => self.earn(),
            // HEADERS, CONTINUATION
            1 | 9 => {
                self.pieces += 1;
                if self.pieces > PIECES {
                    return Err(Excess::Pieces);
                }
                if flags & END_HEADERS != 0 {
                    self.pieces = 0;
                }
                if kind == 1 {
                    self.earn();
                }
            }
            // RST_STREAM
            3 => {
                self.resets += 1;
                if self.resets > self.max_resets {
                    return Err(Excess::Resets);
                }
            }
            // The answers to our own SETTINGS and PING
            4 | 6 if flags & ACK != 0 => {}
            _ => {
                self.overhead += 1;
                if self.overhead > self.max_overhead.saturating_add(self.earned) {
                    return Err(Excess::Overhead);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const CONTINUATION: u8 = 9;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + payload, 0xff);
        bytes
    }

    fn begun() -> Watch {
        let mut watch = Watch::new(10, 20);
        watch.observe(PREFACE).unwrap();
        watch
    }

    /// How many times a watch takes `bytes` before it refuses, and why it does; at most 100 times.
    fn taken(watch: &mut Watch, bytes: &[u8]) -> (usize, Option<Excess>) {
        for count in 0..100 {
            if let Err(excess) = watch.observe(bytes) {
                return (count, Some(excess));
            }
        }
        (100, None)
    }

    #[test]
    fn resets_are_counted_per_period() {
        let mut watch = begun();
        let ten = frame(RST_STREAM, 0, 4).repeat(10);
        for _ in 0..3 {
            watch.observe(&ten).unwrap();
            watch.renew();
        }
        assert_eq!(taken(&mut watch, &frame(RST_STREAM, 0, 4)), (10, Some(Excess::Resets)));
    }

    #[test]
    fn what_carries_nothing_is_counted_unless_it_is_earned() {
        for (kind, flags, payload) in [(PING, 0, 8), (SETTINGS, 0, 0), (2, 0, 5), (8, 0, 4), (DATA, 0, 0), (77, 0, 3)] {
            let mut watch = begun();
            assert_eq!(taken(&mut watch, &frame(kind, flags, payload)), (20, Some(Excess::Overhead)), "{kind}");
        }
        for (kind, flags, payload) in [(PING, ACK, 8), (SETTINGS, ACK, 0), (DATA, END_STREAM, 0), (DATA, 0, 1)] {
            assert_eq!(taken(&mut begun(), &frame(kind, flags, payload)), (100, None), "{kind}");
        }
        let earning = [frame(DATA, 0, 100), frame(PING, 0, 8), frame(8, 0, 4)].concat();
        assert_eq!(taken(&mut begun(), &earning), (100, None));
    }

    #[test]
    fn a_header_section_comes_in_few_pieces() {
        let mut watch = begun();
        watch.observe(&frame(HEADERS, 0, 10)).unwrap();
        assert!(watch.in_header_section());
        assert_eq!(taken(&mut watch, &frame(CONTINUATION, 0, 0)), (31, Some(Excess::Pieces)));
        let mut watch = begun();
        let whole = [frame(HEADERS, 0, 10), frame(CONTINUATION, END_HEADERS, 3)].concat();
        assert_eq!(taken(&mut watch, &whole), (100, None));
        assert!(!watch.in_header_section());
    }

    #[test]
    fn cuts_between_reads_change_nothing() {
        let mut all = PREFACE.to_vec();
        for _ in 0..5 {
            all.extend_from_slice(&[frame(RST_STREAM, 0, 4), frame(DATA, 0, 700), frame(PING, 0, 8)].concat());
        }
        for size in 1..40 {
            let mut watch = Watch::new(10, 20);
            all.chunks(size).for_each(|piece| watch.observe(piece).unwrap());
            assert_eq!((watch.resets, watch.overhead, watch.skip, watch.have), (5, 5, 0, 0));
        }
    }
}
