//! WebSocket clients in a closed loop (RFC 6455): echo, where each connection waits for its own message, and
//! broadcast, where the first connection sends one message and everyone, itself included, has to get it.
//!
//! Every message carries a sequence number and is compared byte by byte. Implements `driver::Protocol`.

use crate::driver::{Event, Protocol};
use crate::fault::Fault;
use crate::frame;
use crate::response::{status_of, value_of};

/// The key and the answer of RFC 6455 §1.3: a measurement needs no secret.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MAX_HEAD: usize = 16 * 1024;

/// What the application does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It answers the sender.
    Echo,
    /// It sends it to every connection.
    Broadcast {
        /// How many connections take part.
        clients: usize,
    },
}

/// The protocol of all connections of one run.
pub(crate) struct WebSocket {
    handshake: Vec<u8>,
    mode: Mode,
    size: usize,
    random: u64,
    /// Connections that completed their handshake (broadcast starts when all have).
    joined: usize,
    /// Broadcast: the number of the message under way, and who still has to get it.
    round: u64,
    missing: usize,
    /// Assembled here to be compared.
    scratch: Vec<u8>,
}

/// One connection's state.
pub(crate) struct Conn {
    index: usize,
    open: bool,
    /// Bytes of a head or frame whose end has not arrived.
    partial: Vec<u8>,
    /// The beginning of a fragmented message.
    message: Vec<u8>,
    /// The number of the message this connection waits for.
    sequence: u64,
    waits: bool,
}

impl WebSocket {
    /// Clients that send messages of `size` bytes to `path`.
    pub(crate) fn new(host: &str, path: &str, size: usize, mode: Mode) -> Self {
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Self {
            handshake: handshake.into_bytes(),
            mode,
            size,
            random: 0x9E37_79B9_7F4A_7C15,
            joined: 0,
            round: 0,
            missing: 0,
            scratch: Vec::new(),
        }
    }

    /// A new masking key for each frame (RFC 6455 §5.3), from a xorshift generator.
    fn key(&mut self) -> [u8; 4] {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random as u32).to_le_bytes()
    }

    /// Writes the text of message `sequence` from connection `index` into the scratch buffer.
    fn compose(&mut self, index: usize, sequence: u64) {
        use std::io::Write;
        self.scratch.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(self.scratch, "{index} {sequence} ");
        self.scratch.resize(self.size, b'w');
    }

    fn send_message(&mut self, index: usize, sequence: u64, out: &mut Vec<u8>) {
        let key = self.key();
        self.compose(index, sequence);
        frame::append(out, frame::TEXT, &self.scratch, key);
    }

    /// Echo: the next message of this connection. Broadcast: the next round when the one before is complete.
    fn advance(&mut self, conn: &mut Conn, out: &mut Vec<u8>, event: &mut Event) {
        match self.mode {
            Mode::Echo => {
                conn.sequence += 1;
                conn.waits = true;
                self.send_message(conn.index, conn.sequence, out);
            }
            Mode::Broadcast { clients } => {
                if self.joined == clients && self.missing == 0 {
                    self.round += 1;
                    self.missing = clients;
                    event.resume = Some(0);
                }
            }
        }
    }

    fn accept(&mut self, conn: &mut Conn, head: &[u8], out: &mut Vec<u8>, event: &mut Event) -> Result<(), Fault> {
        if status_of(head)? != 101 {
            return Err(Fault::Status);
        }
        let accepted = head
            .split(|byte| *byte == b'\n')
            .filter_map(|line| value_of(line.trim_ascii_end(), b"sec-websocket-accept"))
            .any(|value| value == ACCEPT);
        if !accepted {
            return Err(Fault::Malformed);
        }
        conn.open = true;
        conn.waits = false;
        self.joined += 1;
        self.advance(conn, out, event);
        Ok(())
    }

    fn message(&mut self, conn: &mut Conn, payload: &[u8], out: &mut Vec<u8>, event: &mut Event) -> Result<(), Fault> {
        let (sender, sequence) = match self.mode {
            Mode::Echo => (conn.index, conn.sequence),
            Mode::Broadcast { .. } => (0, self.round),
        };
        if self.mode != Mode::Echo && conn.sequence == self.round {
            return Err(Fault::Malformed);
        }
        self.compose(sender, sequence);
        if self.scratch != payload {
            return Err(Fault::Body);
        }
        conn.sequence = sequence;
        self.missing = self.missing.saturating_sub(1);
        event.completed += 1;
        self.advance(conn, out, event);
        Ok(())
    }

    fn read(&mut self, conn: &mut Conn, data: &[u8], out: &mut Vec<u8>, event: &mut Event) -> Result<usize, Fault> {
        let mut used = 0;
        if !conn.open {
            let Some(at) = memchr::memmem::find(data, b"\r\n\r\n") else {
                return if data.len() > MAX_HEAD { Err(Fault::Malformed) } else { Ok(0) };
            };
            used = at + 4;
            self.accept(conn, &data[..used], out, event)?;
        }
        while let Some((found, length)) = frame::parse(&data[used..])? {
            used += length;
            match (found.opcode, found.last) {
                (0 | frame::TEXT, false) => conn.message.extend_from_slice(found.payload),
                (frame::TEXT, true) => self.message(conn, found.payload, out, event)?,
                (0, true) => {
                    conn.message.extend_from_slice(found.payload);
                    let whole = std::mem::take(&mut conn.message);
                    self.message(conn, &whole, out, event)?;
                }
                (frame::PING, true) => {
                    let key = self.key();
                    frame::append(out, frame::PONG, found.payload, key);
                }
                (frame::PONG, true) => {}
                (frame::CLOSE, true) => return Err(Fault::Closed),
                _ => return Err(Fault::Malformed),
            }
        }
        Ok(used)
    }
}

impl Protocol for WebSocket {
    type Conn = Conn;

    fn open(&mut self, index: usize) -> Conn {
        let (partial, message) = (Vec::new(), Vec::new());
        Conn { index, open: false, partial, message, sequence: 0, waits: true }
    }

    fn template(&self) -> &[u8] {
        &self.handshake
    }

    fn begin(&mut self, conn: &mut Conn, out: &mut Vec<u8>) -> Event {
        if conn.open {
            // Only broadcast resumes an open connection: it is the sender's turn.
            self.send_message(conn.index, self.round, out);
            return Event::default();
        }
        Event { send_template: true, ..Event::default() }
    }

    fn receive(&mut self, conn: &mut Conn, data: &[u8], out: &mut Vec<u8>) -> Result<Event, Fault> {
        let mut event = Event::default();
        if conn.partial.is_empty() {
            let used = self.read(conn, data, out, &mut event)?;
            conn.partial.extend_from_slice(&data[used..]);
        } else {
            let mut whole = std::mem::take(&mut conn.partial);
            whole.extend_from_slice(data);
            let used = self.read(conn, &whole, out, &mut event)?;
            whole.drain(..used);
            conn.partial = whole;
        }
        Ok(event)
    }

    fn ended(&mut self, _conn: &mut Conn) -> Result<Event, Fault> {
        Err(Fault::Closed)
    }

    fn waits(&self, conn: &Conn) -> bool {
        match self.mode {
            Mode::Echo => conn.waits,
            Mode::Broadcast { .. } => !conn.open || conn.sequence != self.round,
        }
    }

    fn origin(&self, index: usize) -> usize {
        match self.mode {
            Mode::Echo => index,
            Mode::Broadcast { .. } => 0,
        }
    }

    fn lost(&mut self, conn: &Conn) {
        if !conn.open {
            return;
        }
        self.joined -= 1;
        if matches!(self.mode, Mode::Broadcast { .. }) {
            // The round cannot complete as planned; the next one starts when everyone is back.
            self.missing = 0;
        }
    }
}
