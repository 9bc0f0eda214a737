//! One TLS connection: rustls without its buffers, between the engine's receive buffer and the connection's output.
//!
//! rustls decrypts where the bytes were received and encrypts into a buffer that all connections of the thread share, so
//! that an idle connection holds keys and nothing else. What the socket does not take, and records that have not come
//! whole, are kept here.

use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::types::PyDict;
use pyo3::Py;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::ServerConfig;

use super::certificates::{self, Identity};
use crate::io::outbuf::{Flushed, OutBuf};
use crate::io::socket;
use crate::share;

/// So much is encrypted before it is sent: four records of the largest size (RFC 8446 §5.1).
const PIECE: usize = 64 * 1024;
const RECORD: usize = 16 * 1024;
/// More than what a record adds to its contents: header, content type, tag, and TLS 1.2's explicit nonce.
const RECORD_EXTRA: usize = 64;

thread_local! {
    /// Ciphertext on its way out, and plaintext gathered from small pieces or from a file.
    static SCRATCH: Cell<(Vec<u8>, Vec<u8>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    Expected,
    Handshake,
    Open,
    /// It has failed or is closed: what still comes is dropped.
    Over,
}

pub(crate) struct Tls {
    pub(crate) phase: Phase,
    session: Option<UnbufferedServerConnection>,
    /// A record that has not come whole, or bytes before it (a PROXY protocol preface).
    pub(crate) partial: Vec<u8>,
    /// What the socket has not taken.
    sealed: Vec<u8>,
    /// The peer has said that nothing follows (RFC 8446 §6.1).
    pub(crate) ended: bool,
    /// What the server has shown.
    pub(crate) identity: Option<Arc<Identity>>,
    /// `scope["extensions"]["tls"]`, made with the first request.
    pub(crate) scope: Option<Py<PyDict>>,
}

/// What a batch of records has come to.
pub(crate) struct Opened {
    /// Bytes of records that are done with.
    pub(crate) used: usize,
    /// Bytes of plaintext.
    pub(crate) plain: usize,
    /// The handshake was completed.
    pub(crate) established: bool,
}

impl Tls {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Expected,
            session: None,
            partial: Vec::new(),
            sealed: Vec::new(),
            ended: false,
            identity: None,
            scope: None,
        }
    }

    /// The first bytes are here.
    pub(crate) fn start(&mut self, config: &Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.session = Some(UnbufferedServerConnection::new(Arc::clone(config))?);
        self.phase = Phase::Handshake;
        Ok(())
    }

    pub(crate) fn session(&self) -> Option<&UnbufferedServerConnection> {
        self.session.as_ref()
    }

    /// What waits for the socket, encrypted.
    pub(crate) fn waiting(&self) -> usize {
        self.sealed.len()
    }

    /// Decrypts the records in `raw` into `plain`, which is at least as long. What the handshake has to say is put before
    /// what is sent next; of an error that is the alert.
    pub(crate) fn open(&mut self, raw: &mut [u8], plain: &mut [u8]) -> Result<Opened, rustls::Error> {
        let mut opened = Opened { used: 0, plain: 0, established: false };
        let Self { session: Some(session), sealed, identity, .. } = self else {
            opened.used = raw.len();
            return Ok(opened);
        };
        let handshaking = session.is_handshaking();
        let mut failed = None;
        loop {
            let UnbufferedStatus { mut discard, state } = session.process_tls_records(&mut raw[opened.used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let end = opened.plain + record.payload.len();
                        plain[opened.plain..end].copy_from_slice(record.payload);
                        opened.plain = end;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(sealed, 0, |room| data.encode(room)).map_err(|_| rustls::Error::EncryptError)?;
                }
                // It is sent before anything that follows.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => {
                    opened.used += discard;
                    break;
                }
                Err(error) => {
                    // The alert is next, and nothing after it.
                    if failed.replace(error).is_some() {
                        break;
                    }
                }
            }
            opened.used += discard;
        }
        if handshaking {
            if let Some(shown) = certificates::take_shown() {
                *identity = Some(shown);
            }
        }
        match failed {
            Some(error) => {
                self.phase = Phase::Over;
                self.session = None;
                Err(error)
            }
            None => {
                opened.established = handshaking && !session.is_handshaking();
                if opened.established {
                    self.phase = Phase::Open;
                }
                Ok(opened)
            }
        }
    }

    /// Encrypts and sends as much of `out` as the socket takes. Returns how many bytes it took beside the outcome.
    pub(crate) fn flush(&mut self, out: &mut OutBuf, fd: RawFd) -> io::Result<(u64, Flushed)> {
        let (mut buffer, mut gathered) = SCRATCH.take();
        let outcome = self.flush_with(out, fd, &mut buffer, &mut gathered);
        buffer.clear();
        gathered.clear();
        SCRATCH.set((buffer, gathered));
        outcome
    }

    fn flush_with(
        &mut self,
        out: &mut OutBuf,
        fd: RawFd,
        buffer: &mut Vec<u8>,
        gathered: &mut Vec<u8>,
    ) -> io::Result<(u64, Flushed)> {
        let mut total = 0;
        // What waits goes first, together with what follows it if that is little.
        buffer.clear();
        mem::swap(buffer, &mut self.sealed);
        loop {
            if total >= share::OF_STEP && buffer.is_empty() && out.has_plain() {
                out.sealed = 0;
                return Ok((total, Flushed::More));
            }
            if buffer.len() < PIECE && out.has_plain() {
                let piece = out.piece(gathered, PIECE)?;
                let count = piece.len();
                let sealed = self.seal(piece, buffer);
                out.advance(count);
                sealed?;
            }
            if buffer.is_empty() {
                out.sealed = 0;
                // Large buffers of a stalled connection are not kept.
                self.sealed = Vec::new();
                return Ok((total, Flushed::All));
            }
            let sent = match socket::send(fd, buffer) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            total += sent as u64;
            if sent < buffer.len() {
                self.sealed = buffer[sent..].to_vec();
                out.sealed = self.sealed.len() as u32;
                return Ok((total, Flushed::Blocked));
            }
            buffer.clear();
        }
    }

    /// Appends the records for `plain`.
    fn seal(&mut self, plain: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        self.write(buffer, |traffic, buffer| {
            let room = plain.len() + (plain.len() / RECORD + 1) * RECORD_EXTRA;
            append(buffer, room, |room| traffic.encrypt(plain, room))
        })
    }

    /// Says that nothing follows (RFC 8446 §6.1), as far as the socket takes it. Everything else was sent.
    pub(crate) fn close(&mut self, fd: RawFd) {
        if self.phase != Phase::Open || !self.sealed.is_empty() {
            return;
        }
        let mut buffer = Vec::new();
        let written = self.write(&mut buffer, |traffic, buffer| {
            append(buffer, RECORD_EXTRA, |room| traffic.queue_close_notify(room))
        });
        self.phase = Phase::Over;
        if written.is_ok() {
            let _ = socket::send(fd, &buffer);
        }
    }

    /// Encrypts with `work`, behind what rustls itself wants to say.
    fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        work: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            // A record that has not come whole is shown again: rustls may know of its beginning.
            let UnbufferedStatus { discard, state } = session.process_tls_records(&mut self.partial);
            match state.map_err(io::Error::other)? {
                ConnectionState::WriteTraffic(mut traffic) => return work(&mut traffic, buffer),
                ConnectionState::EncodeTlsData(mut data) => {
                    append(buffer, 0, |room| data.encode(room))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
            self.partial.drain(..discard);
        }
    }
}

/// Appends to `buffer` what `put` writes into `room` bytes, or into as many more as it asks for.
fn append<E: Shortage>(
    buffer: &mut Vec<u8>,
    room: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let start = buffer.len();
    buffer.resize(start + room, 0);
    let mut written = put(&mut buffer[start..]);
    if let Err(Some(required)) = written.as_ref().map_err(Shortage::required) {
        buffer.resize(start + required, 0);
        written = put(&mut buffer[start..]);
    }
    buffer.truncate(start + *written.as_ref().unwrap_or(&0));
    written.map(drop).map_err(|error| io::Error::other(error.to_string()))
}

/// Errors that may say how much room is needed.
trait Shortage: std::fmt::Display {
    fn required(&self) -> Option<usize>;
}

impl Shortage for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(error) => Some(error.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Shortage for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(error) => Some(error.required_size),
            Self::EncryptExhausted => None,
        }
    }
}
