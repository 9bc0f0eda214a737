//! The transport that the `h2` crate reads from and writes to: two buffers in memory, no runtime.
//!
//! The parent connection's code puts received bytes in, polls, and takes what was written out. An empty buffer is
//! "pending"; nobody needs to be woken for it, since whoever fills the one or empties the other polls again.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From this much on, frames wait in the `h2` crate until the socket has taken what is here: it holds what flow control
/// allows anyway, and what waits there can still be dropped with its stream.
pub(super) const OUTPUT_HIGH: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Pipe {
    /// Bytes from the client, and how many of them are read.
    input: Vec<u8>,
    read: usize,
    pub(super) output: Vec<u8>,
    /// How much `output` may hold.
    pub(super) room: usize,
    /// It was full when there was more.
    pub(super) stuffed: bool,
}

impl Pipe {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that were not read yet.
    pub(super) fn waiting(&self) -> usize {
        self.input.len() - self.read
    }

    /// Gives the memory of what was read back.
    pub(super) fn relax(&mut self) {
        if self.waiting() == 0 {
            self.input = Vec::new();
            self.read = 0;
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Shim(pub(super) Rc<RefCell<Pipe>>);

impl AsyncRead for Shim {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        let count = pipe.waiting().min(into.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        into.put_slice(&pipe.input[pipe.read..pipe.read + count]);
        pipe.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shim {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.output.len() >= pipe.room {
            pipe.stuffed = true;
            return Poll::Pending;
        }
        let before = pipe.output.len();
        parts.iter().for_each(|part| pipe.output.extend_from_slice(part));
        Poll::Ready(Ok(pipe.output.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
