//! The HTTP/1.1 client side of a closed loop: send a batch, verify all its responses, send the next batch.
//!
//! One batch is one request, or `depth` pipelined ones in one write (RFC 9112 §9.3.2). With `close` each connection
//! carries one request that asks the server to close, and counts when the server has closed (RFC 9112 §9.6).
//! Implements `driver::Protocol`; knows no sockets.

use crate::driver::{Event, Protocol};
use crate::fault::Fault;
use crate::response::{Expected, Reader};

/// What to ask for and what to expect.
pub(crate) struct Plan {
    /// Method, path, `Host`, further header lines and body, once.
    pub(crate) request: Vec<u8>,
    /// Requests in flight on a connection.
    pub(crate) depth: usize,
    /// One request per connection, ended by the server's close.
    pub(crate) close: bool,
    /// Stop after the first batch of each connection until it is started again.
    pub(crate) one_batch: bool,
    /// The only acceptable response.
    pub(crate) expected: Expected,
}

/// The protocol of all connections of one run.
pub(crate) struct Http {
    batch: Vec<u8>,
    depth: usize,
    close: bool,
    one_batch: bool,
    expected: Expected,
}

/// One connection's state.
pub(crate) struct Conn {
    reader: Reader,
    outstanding: usize,
    /// The server announced the close of this connection.
    closing: bool,
}

impl Http {
    /// Prepares the bytes of a batch.
    pub(crate) fn new(plan: Plan) -> Self {
        let batch = plan.request.repeat(plan.depth);
        Self { batch, depth: plan.depth, close: plan.close, one_batch: plan.one_batch, expected: plan.expected }
    }
}

impl Protocol for Http {
    type Conn = Conn;

    fn open(&mut self, _index: usize) -> Conn {
        Conn { reader: Reader::new(), outstanding: 0, closing: false }
    }

    fn template(&self) -> &[u8] {
        &self.batch
    }

    fn begin(&mut self, conn: &mut Conn, _out: &mut Vec<u8>) -> Event {
        conn.outstanding = self.depth;
        Event { send_template: true, ..Event::default() }
    }

    fn receive(&mut self, conn: &mut Conn, data: &[u8], _out: &mut Vec<u8>) -> Result<Event, Fault> {
        let mut event = Event::default();
        let mut rest = data;
        while !rest.is_empty() {
            if conn.outstanding == 0 || conn.closing {
                return Err(Fault::Malformed);
            }
            let (used, complete) = conn.reader.feed(rest, &self.expected)?;
            rest = &rest[used..];
            if let Some(complete) = complete {
                conn.outstanding -= 1;
                conn.closing = complete.close;
                if self.close {
                    // Counted when the connection has ended: that is part of the exchange.
                    continue;
                }
                event.completed += 1;
                if complete.close {
                    event.reconnect = true;
                }
            }
        }
        if conn.outstanding == 0 && !self.close && !event.reconnect && !self.one_batch {
            conn.outstanding = self.depth;
            event.send_template = true;
        }
        Ok(event)
    }

    fn ended(&mut self, conn: &mut Conn) -> Result<Event, Fault> {
        if self.close {
            if conn.outstanding > 0 {
                conn.reader.end(&self.expected)?;
            }
            return Ok(Event { completed: 1, reconnect: true, ..Event::default() });
        }
        if conn.outstanding > 0 {
            conn.reader.end(&self.expected)?;
            return Ok(Event { completed: 1, reconnect: true, ..Event::default() });
        }
        if self.one_batch {
            return Err(Fault::Closed);
        }
        Ok(Event { reconnect: true, ..Event::default() })
    }

    fn waits(&self, conn: &Conn) -> bool {
        conn.outstanding > 0 || self.close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

    fn http(depth: usize, close: bool) -> (Http, Conn) {
        let expected = Expected { status: 200, length: 2, body: Some(b"hi".to_vec()) };
        let mut http = Http::new(Plan { request: b"GET".to_vec(), depth, close, one_batch: false, expected });
        let mut conn = http.open(0);
        assert!(http.begin(&mut conn, &mut Vec::new()).send_template);
        (http, conn)
    }

    #[test]
    fn the_next_batch_follows_the_last_response_of_the_batch() {
        let (mut http, mut conn) = http(2, false);
        assert_eq!(http.template(), b"GETGET");
        let event = http.receive(&mut conn, OK, &mut Vec::new()).unwrap();
        assert_eq!((event.completed, event.send_template), (1, false));
        let event = http.receive(&mut conn, OK, &mut Vec::new()).unwrap();
        assert_eq!((event.completed, event.send_template), (1, true));
    }

    #[test]
    fn an_unasked_response_is_a_fault() {
        let (mut http, mut conn) = http(1, false);
        let twice = OK.repeat(2);
        assert_eq!(http.receive(&mut conn, &twice, &mut Vec::new()), Err(Fault::Malformed));
    }

    #[test]
    fn an_announced_close_is_no_fault_but_a_cut_response_is() {
        let (mut http, mut conn) = http(1, false);
        let event = http.receive(&mut conn, LAST, &mut Vec::new()).unwrap();
        assert_eq!((event.completed, event.reconnect, event.send_template), (1, true, false));
        let mut conn = http.open(0);
        http.begin(&mut conn, &mut Vec::new());
        http.receive(&mut conn, &OK[..20], &mut Vec::new()).unwrap();
        assert_eq!(http.ended(&mut conn), Err(Fault::Closed));
    }

    #[test]
    fn with_close_an_exchange_counts_when_the_server_has_closed() {
        let (mut http, mut conn) = http(1, true);
        let event = http.receive(&mut conn, LAST, &mut Vec::new()).unwrap();
        assert_eq!(event.completed, 0);
        let event = http.ended(&mut conn).unwrap();
        assert_eq!((event.completed, event.reconnect), (1, true));
    }
}
