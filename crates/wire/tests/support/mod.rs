//! Helpers of the tests of the receiving side.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod driver;

use driver::{read, Transcript};

/// Inputs up to this size are cut in two at every offset; larger ones near both ends and at a stride in between. All
/// are also read byte by byte, which puts a cut at every offset at once.
const EVERY_OFFSET: usize = 9000;

/// Reads the bytes whole, in two parts, and one by one; panics unless all transcripts are the same.
pub(crate) fn read_in_all_segmentations(bytes: &[u8]) -> Transcript {
    let whole = read([bytes]);
    assert_eq!(whole, read(bytes.chunks(1)), "byte by byte");
    let stride = if bytes.len() <= EVERY_OFFSET { 1 } else { 997 };
    let near_ends = (0..bytes.len()).filter(|at| at.min(&(bytes.len() - at)) < &16);
    for at in near_ends.chain((0..bytes.len()).step_by(stride)) {
        let (first, second) = bytes.split_at(at);
        assert_eq!(whole, read([first, second]), "cut at {at}");
    }
    for size in [2, 3, 7] {
        assert_eq!(whole, read(bytes.chunks(size)), "in pieces of {size}");
    }
    whole
}
