//! Bytes on their way out of one connection: small ones gathered in a buffer, large ones pinned, files by descriptor.
//!
//! Order is kept. Everything small that follows nothing pinned is one contiguous buffer, so an ordinary response is
//! one `send`; with pinned segments a flush is one `writev`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bytes::Buf;
use pyo3::types::PyBytes;
use pyo3::{Py, Python};

use super::socket;
use crate::h2::chunk::Chunk;
use crate::share;

/// From this size on a `bytes` body is pinned and written from where it is, instead of being copied.
pub(crate) const PIN_FROM: usize = 16 * 1024;
/// Buffers that grew beyond this are not kept.
const KEEP: usize = 16 * 1024;
const VECTOR: usize = 16;

#[derive(Default)]
pub(crate) struct OutBuf {
    first: Vec<u8>,
    /// How much of `first` is already sent.
    sent: usize,
    rest: VecDeque<Segment>,
    /// Bytes in `rest` that are not sent yet.
    rest_bytes: u64,
    /// Bytes that were taken out and encrypted, and that wait for the socket (`crate::tls`).
    pub(crate) sealed: u32,
}

enum Segment {
    Owned { bytes: Vec<u8>, sent: usize },
    Pinned { pointer: *const u8, length: usize, sent: usize, _keep: Py<PyBytes> },
    File { file: OwnedFd, offset: u64, left: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// It may take more, when others have had their turn: a peer that is as fast as the server takes without an end.
    More,
}

impl OutBuf {
    /// Bytes not sent yet.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        (self.first.len() - self.sent) as u64 + self.rest_bytes + u64::from(self.sealed)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_plain() && self.sealed == 0
    }

    /// Something waits that was not encrypted; without TLS, something waits.
    #[inline]
    pub(crate) fn has_plain(&self) -> bool {
        self.first.len() > self.sent || !self.rest.is_empty()
    }

    /// Gives a spare buffer to gather in, if there is none yet.
    #[inline]
    pub(crate) fn lend(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.first.capacity() == 0 {
            if let Some(buffer) = spare.pop() {
                self.first = buffer;
            }
        }
    }

    /// Takes the gathering buffer back once everything is sent.
    #[inline]
    pub(crate) fn reclaim(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.is_empty() && self.first.capacity() > 0 {
            let mut buffer = std::mem::take(&mut self.first);
            self.sent = 0;
            if buffer.capacity() <= KEEP && spare.len() < 64 {
                buffer.clear();
                spare.push(buffer);
            }
        }
    }

    /// Appends with `write`, which may only append.
    #[inline]
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.rest.is_empty() {
            write(&mut self.first);
            return;
        }
        if !matches!(self.rest.back(), Some(Segment::Owned { .. })) {
            self.rest.push_back(Segment::Owned { bytes: Vec::new(), sent: 0 });
        }
        if let Some(Segment::Owned { bytes, .. }) = self.rest.back_mut() {
            let before = bytes.len();
            write(bytes);
            self.rest_bytes += (bytes.len() - before) as u64;
        }
    }

    /// Appends a `bytes` object without copying it.
    pub(crate) fn pin(&mut self, keep: Py<PyBytes>, pointer: *const u8, length: usize) {
        self.rest_bytes += length as u64;
        self.rest.push_back(Segment::Pinned { pointer, length, sent: 0, _keep: keep });
    }

    pub(crate) fn file(&mut self, file: OwnedFd, offset: u64, length: u64) {
        self.rest_bytes += length;
        self.rest.push_back(Segment::File { file, offset, left: length });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Appends `bytes` and leaves them empty, with whatever memory is better kept.
    pub(crate) fn append(&mut self, bytes: &mut Vec<u8>) {
        if !self.has_plain() {
            self.first.clear();
            self.sent = 0;
            std::mem::swap(&mut self.first, bytes);
        } else {
            self.write(|out| out.extend_from_slice(bytes));
            bytes.clear();
        }
    }

    /// Takes up to `most` bytes from the front. A file is read here and now.
    ///
    /// # Errors
    /// When the file cannot be read or has become shorter than it was.
    pub(crate) fn take(&mut self, most: usize) -> io::Result<Chunk> {
        let left = self.first.len() - self.sent;
        if left > 0 {
            if left <= most {
                let at = std::mem::take(&mut self.sent);
                return Ok(Chunk::Owned { bytes: std::mem::take(&mut self.first), at });
            }
            let bytes = self.first[self.sent..self.sent + most].to_vec();
            self.sent += most;
            return Ok(Chunk::Owned { bytes, at: 0 });
        }
        let (chunk, over) = match self.rest.front_mut() {
            None => return Ok(Chunk::empty()),
            Some(Segment::Owned { bytes, sent }) => {
                let count = most.min(bytes.len() - *sent);
                let piece = bytes[*sent..*sent + count].to_vec();
                *sent += count;
                (Chunk::Owned { bytes: piece, at: 0 }, *sent == bytes.len())
            }
            Some(Segment::Pinned { pointer, length, sent, _keep }) => {
                let count = most.min(*length - *sent);
                // SAFETY: the engine runs only with the GIL held.
                let keep = _keep.clone_ref(unsafe { Python::assume_attached() });
                // SAFETY: `sent` never exceeds `length`.
                let chunk = Chunk::Pinned { pointer: unsafe { pointer.add(*sent) }, length: count, _keep: keep };
                *sent += count;
                (chunk, *sent == *length)
            }
            Some(Segment::File { file, offset, left }) => {
                let count = usize::try_from(*left).unwrap_or(most).min(most);
                let mut bytes = vec![0; count];
                let count = socket::read_file(file.as_raw_fd(), *offset, &mut bytes)?;
                if count == 0 && *left > 0 {
                    // The length was promised from the file's size; it has shrunk since.
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                bytes.truncate(count);
                *offset += count as u64;
                *left -= count as u64;
                (Chunk::Owned { bytes, at: 0 }, *left == 0)
            }
        };
        if over {
            self.rest.pop_front();
        }
        self.rest_bytes -= chunk.remaining() as u64;
        Ok(chunk)
    }

    /// Sends as much as the socket takes. Returns how many bytes it took beside the outcome.
    #[inline]
    pub(crate) fn flush(&mut self, fd: RawFd) -> io::Result<(u64, Flushed)> {
        if !self.rest.is_empty() {
            return self.flush_all(fd);
        }
        let pending = &self.first[self.sent..];
        if pending.is_empty() {
            return Ok((0, Flushed::All));
        }
        match socket::send(fd, pending) {
            Ok(count) if count == pending.len() => {
                self.first.clear();
                self.sent = 0;
                Ok((count as u64, Flushed::All))
            }
            Ok(count) => {
                self.sent += count;
                Ok((count as u64, Flushed::Blocked))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, Flushed::Blocked)),
            Err(error) => Err(error),
        }
    }

    fn flush_all(&mut self, fd: RawFd) -> io::Result<(u64, Flushed)> {
        let mut total = 0;
        loop {
            if total >= share::OF_STEP {
                return Ok((total, if self.is_empty() { Flushed::All } else { Flushed::More }));
            }
            let outcome = if let (true, Some(Segment::File { file, offset, left })) =
                (self.sent == self.first.len(), self.rest.front())
            {
                let sent = socket::send_file(fd, file.as_raw_fd(), *offset, *left);
                if matches!(sent, Ok(0)) {
                    // The length was promised from the file's size; it has shrunk since.
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                sent
            } else {
                let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; VECTOR];
                let used = self.gather(&mut parts);
                if used == 0 {
                    return Ok((total, Flushed::All));
                }
                socket::send_vectored(fd, &parts[..used])
            };
            match outcome {
                Ok(count) => {
                    total += count as u64;
                    self.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((total, Flushed::Blocked)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Describes what comes next, up to the first file.
    fn gather(&self, parts: &mut [libc::iovec; VECTOR]) -> usize {
        let mut used = 0;
        let mut add = |bytes: *const u8, length: usize| {
            if length > 0 {
                parts[used] = libc::iovec { iov_base: bytes.cast_mut().cast(), iov_len: length };
                used += 1;
            }
            used < VECTOR
        };
        let pending = &self.first[self.sent..];
        add(pending.as_ptr(), pending.len());
        for segment in &self.rest {
            let more = match segment {
                Segment::Owned { bytes, sent } => add(bytes[*sent..].as_ptr(), bytes.len() - sent),
                // SAFETY: `sent` never exceeds `length`, and the object is kept alive by the segment.
                Segment::Pinned { pointer, length, sent, .. } => add(unsafe { pointer.add(*sent) }, length - sent),
                Segment::File { .. } => false,
            };
            if !more {
                break;
            }
        }
        used
    }

    /// What comes next, up to `most` bytes: from where it is when that is a good piece, else gathered in `scratch`. To be
    /// followed by [`Self::advance`].
    pub(crate) fn piece<'a>(&'a self, scratch: &'a mut Vec<u8>, most: usize) -> io::Result<&'a [u8]> {
        if let (true, Some(Segment::File { file, offset, left })) = (self.sent == self.first.len(), self.rest.front()) {
            scratch.resize(most.min(*left as usize), 0);
            let count = socket::read_file(file.as_raw_fd(), *offset, scratch)?;
            if count == 0 && *left > 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            return Ok(&scratch[..count]);
        }
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; VECTOR];
        let used = self.gather(&mut parts);
        // SAFETY: `gather` describes memory of this buffer's, which is borrowed for as long as the pieces are.
        let part = |at: usize| unsafe {
            std::slice::from_raw_parts(parts[at].iov_base.cast::<u8>().cast_const(), parts[at].iov_len)
        };
        if used == 0 {
            return Ok(&[]);
        }
        if used == 1 || parts[0].iov_len >= PIN_FROM {
            return Ok(&part(0)[..most.min(parts[0].iov_len)]);
        }
        scratch.clear();
        for at in 0..used {
            let more = part(at);
            scratch.extend_from_slice(&more[..more.len().min(most - scratch.len())]);
        }
        Ok(scratch)
    }

    /// Forgets bytes that were sent, or taken to be encrypted.
    pub(crate) fn advance(&mut self, mut count: usize) {
        let in_first = count.min(self.first.len() - self.sent);
        self.sent += in_first;
        count -= in_first;
        if self.sent == self.first.len() {
            self.first.clear();
            self.sent = 0;
        }
        self.rest_bytes -= count as u64;
        while let Some(segment) = self.rest.front_mut() {
            let left = match segment {
                Segment::Owned { bytes, sent } => {
                    let step = count.min(bytes.len() - *sent);
                    *sent += step;
                    count -= step;
                    bytes.len() - *sent
                }
                Segment::Pinned { length, sent, .. } => {
                    let step = count.min(*length - *sent);
                    *sent += step;
                    count -= step;
                    *length - *sent
                }
                Segment::File { offset, left, .. } => {
                    *offset += count as u64;
                    *left -= count as u64;
                    count = 0;
                    *left as usize
                }
            };
            if left > 0 {
                break;
            }
            self.rest.pop_front();
        }
    }
}
