//! Request lines in the scoreboard: a text and a time behind a sequence number.
//!
//! The one writer makes the number odd, writes, and makes it even again. A reader that finds it odd, or changed
//! between before and after, has read nothing; it tries a few times and then goes without. So a writer that dies in the
//! middle leaves no text rather than half of one. The time alone is cleared without the number: one word is never half.

use std::sync::atomic::{fence, AtomicU64, Ordering};

use super::layout::{ENTRY_WORDS, TEXT_WORDS};

const SEQUENCE: usize = 0;
/// Since when (the monotonic clock's nanoseconds); 0: there is no text.
const SINCE: usize = 1;
/// The text's whole length, in bytes; more than is kept when it was cut.
const LENGTH: usize = 2;
const TEXT: usize = 3;
const _: () = assert!(TEXT + TEXT_WORDS == ENTRY_WORDS);

/// How often a reader tries. A write takes some ten nanoseconds.
const TRIES: u32 = 64;

#[inline]
fn begin(entry: &[AtomicU64]) -> u64 {
    let sequence = u64::from_le(entry[SEQUENCE].load(Ordering::Relaxed)) | 1;
    entry[SEQUENCE].store(sequence.to_le(), Ordering::Relaxed);
    fence(Ordering::Release);
    sequence
}

#[inline]
fn end(entry: &[AtomicU64], sequence: u64) {
    entry[SEQUENCE].store(sequence.wrapping_add(1).to_le(), Ordering::Release);
}

/// Writes a text that is current since `since`. For the entry's one writer.
#[inline]
pub(super) fn write(entry: &[AtomicU64], since: u64, text: &[u8]) {
    let sequence = begin(entry);
    entry[SINCE].store(since.to_le(), Ordering::Relaxed);
    entry[LENGTH].store((text.len() as u64).to_le(), Ordering::Relaxed);
    for (word, bytes) in entry[TEXT..].iter().zip(text.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    end(entry, sequence);
}

/// Writes what `from` says. For the one writer of both.
pub(super) fn copy(from: &[AtomicU64], to: &[AtomicU64]) {
    let sequence = begin(to);
    let used = TEXT + (u64::from_le(from[LENGTH].load(Ordering::Relaxed)) as usize).div_ceil(8);
    for (source, target) in from[SINCE..].iter().zip(&to[SINCE..]).take(used - SINCE) {
        target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    end(to, sequence);
}

/// Since when there is a text; 0: there is none.
pub(super) fn since(entry: &[AtomicU64]) -> u64 {
    u64::from_le(entry[SINCE].load(Ordering::Relaxed))
}

/// From now on there is no text.
#[inline]
pub(super) fn clear(entry: &[AtomicU64]) {
    entry[SINCE].store(0, Ordering::Relaxed);
}

/// The text and since when it is current; None when there is none, or none that is whole.
pub(super) fn read(entry: &[AtomicU64]) -> Option<(String, u64)> {
    for _ in 0..TRIES {
        let before = u64::from_le(entry[SEQUENCE].load(Ordering::Acquire));
        let since = u64::from_le(entry[SINCE].load(Ordering::Relaxed));
        if since == 0 {
            return None;
        }
        let length = u64::from_le(entry[LENGTH].load(Ordering::Relaxed)) as usize;
        let kept = length.min(TEXT_WORDS * 8);
        let words = entry[TEXT..].iter().take(kept.div_ceil(8));
        let mut bytes: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        fence(Ordering::Acquire);
        let after = u64::from_le(entry[SEQUENCE].load(Ordering::Relaxed));
        if before == after && before % 2 == 0 {
            bytes.truncate(kept);
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            if length > kept {
                text.push('…');
            }
            return Some((text, since));
        }
        std::hint::spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> [AtomicU64; ENTRY_WORDS] {
        [const { AtomicU64::new(0) }; ENTRY_WORDS]
    }

    #[test]
    fn what_was_written_is_read_until_it_is_cleared() {
        let entry = entry();
        assert_eq!(read(&entry), None);
        for text in ["", "GET /", "GET /1234", "GET /a longer one than the others"] {
            write(&entry, 7, text.as_bytes());
            assert_eq!(read(&entry), Some((text.into(), 7)));
        }
        clear(&entry);
        assert_eq!(read(&entry), None);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let (entry, other) = (entry(), self::entry());
        write(&entry, 7, &[b'x'; 1000]);
        let expected = "x".repeat(TEXT_WORDS * 8) + "…";
        assert_eq!(read(&entry), Some((expected.clone(), 7)));
        copy(&entry, &other);
        assert_eq!(read(&other), Some((expected, 7)));
    }

    #[test]
    fn a_copy_says_the_same() {
        let (entry, other) = (entry(), self::entry());
        write(&other, 1, b"GET /something that was there before");
        write(&entry, 9, b"GET /x?y=1");
        copy(&entry, &other);
        assert_eq!(read(&other), Some(("GET /x?y=1".into(), 9)));
    }

    #[test]
    fn a_write_that_never_ended_leaves_nothing_and_the_next_one_heals_it() {
        let entry = entry();
        write(&entry, 7, b"GET /before");
        begin(&entry);
        entry[TEXT].store(u64::from_ne_bytes(*b"POST /ga"), Ordering::Relaxed);
        assert_eq!(read(&entry), None);
        write(&entry, 8, b"GET /after");
        assert_eq!(read(&entry), Some(("GET /after".into(), 8)));
    }
}
