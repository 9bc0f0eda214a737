//! A piece of a response body on its way into DATA frames.

use bytes::Buf;
use pyo3::types::PyBytes;
use pyo3::Py;

/// Bytes that are kept until their frames are written.
pub(crate) enum Chunk {
    Owned {
        bytes: Vec<u8>,
        at: usize,
    },
    /// Inside a `bytes` object, which is kept alive.
    Pinned {
        pointer: *const u8,
        length: usize,
        _keep: Py<PyBytes>,
    },
}

impl Chunk {
    pub(crate) fn empty() -> Self {
        Self::Owned { bytes: Vec::new(), at: 0 }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Owned { bytes, at } => bytes.len() - at,
            Self::Pinned { length, .. } => *length,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Owned { bytes, at } => &bytes[*at..],
            // SAFETY: the object keeps its bytes, which never change, at this place; `advance` keeps within its length.
            Self::Pinned { pointer, length, .. } => unsafe { std::slice::from_raw_parts(*pointer, *length) },
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Owned { bytes, at } => *at = (*at + count).min(bytes.len()),
            Self::Pinned { pointer, length, .. } => {
                let count = count.min(*length);
                // SAFETY: `count` is at most the length that is left.
                *pointer = unsafe { pointer.add(count) };
                *length -= count;
            }
        }
    }
}
