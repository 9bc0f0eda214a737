//! The end of a server, as its connections see it. RFC 9112 §9.6; RFC 6455 §7.4.1; HTML standard §9.2.
//!
//! | connection              | [`begin`]             | [`dismiss`]                  | [`end_streams`]      | [`abort`] |
//! |-------------------------|-----------------------|------------------------------|----------------------|-----------|
//! | idle                    | closed                |                              |                      |           |
//! | … answer not taken yet  | may send a request    | closed if it is taken        |                      | cut       |
//! | … which has asked again | closes after it       |                              |                      | cut       |
//! | new, without a request  | may send one          |                              |                      | cut       |
//! | WebSocket, not accepted | 503                   |                              |                      | cut       |
//! | WebSocket, open         |                       | close frame                  |                      | cut       |
//! | stream of events        | closes after it       | the application is told      | completed            |           |
//! | other response          | closes after it       |                              |                      | cut       |
//!
//! An HTTP/2 connection gets a GOAWAY and ends after its last stream; each stream is one of these.
//!
//! Whose clients come again by themselves are dismissed one by one: all at once they would come all at once. When and how
//! many is decided by the caller (`swell.worker.drain`); nothing here knows the time.

use crate::access::End;
use crate::conn::{Closing, Conn, Protocol, Subscription};
use crate::core::Inner;
use crate::h2;
use crate::http::{finish, send};
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::io::socket;
use crate::lifecycle;
use crate::py::callable::Link;
use crate::ws;

/// Idle connections are closed, the others after their current response.
pub(crate) fn begin(inner: &mut Inner) {
    inner.draining = true;
    for key in inner.conns.keys() {
        let Some(conn) = inner.conns.get_mut(key) else { continue };
        match &conn.protocol {
            Protocol::Idle | Protocol::Preface if conn.serial == 0 => {
                inner.deadlines.arm(Kind::Linger, key.index, inner.now);
            }
            Protocol::Idle => end_idle(inner, key),
            Protocol::Drain(..) => lifecycle::close_after_sending(inner, key),
            Protocol::WebSocket(_) => ws::refuse_for_shutdown(inner, key),
            Protocol::H2(_) => h2::drain(inner, key),
            _ => {}
        }
    }
}

/// A client that has taken its last answer is sent away, unless it has asked again. Until then a request may be under way
/// that it would not repeat, since nothing has told it that this connection ends: not the answer, and no reset.
fn end_idle(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    // In this order: a client may take the answer and ask again while this is looked at.
    let taken = conn.out.is_empty() && !conn.is_being_taken();
    if taken && !conn.has_asked() {
        lifecycle::lose(inner, key, false);
    } else {
        inner.deadlines.arm_once(Kind::Linger, key.index, inner.now);
    }
}

/// Asks the next `at_most` clients to come again: WebSockets get `code`, the applications of event streams
/// `http.disconnect`. Returns how many are left; who has come since the last count is seen when it was down to none.
/// While the server ends, idle clients that had not taken their last answer are looked at again.
pub(crate) fn dismiss(inner: &mut Inner, at_most: usize, code: u16) -> usize {
    if inner.draining {
        for key in inner.conns.keys() {
            let conn = inner.conns.get_mut(key);
            if conn.is_some_and(|conn| matches!(conn.protocol, Protocol::Idle) && conn.serial > 0) {
                end_idle(inner, key);
            }
        }
    }
    if inner.dismissable.is_empty() {
        let mut keys = inner.conns.keys();
        keys.retain(|key| inner.conns.get_mut(*key).is_some_and(|conn| conn.is_dismissable()));
        // Who has waited longest is asked first.
        keys.reverse();
        inner.dismissable = keys;
    }
    let mut done = 0;
    while done < at_most {
        let Some(key) = inner.dismissable.pop() else { break };
        let Some(conn) = inner.conns.get_mut(key).filter(|conn| conn.is_dismissable()) else { continue };
        done += 1;
        match &mut conn.protocol {
            Protocol::Http(exchange) => {
                exchange.subscription = Subscription::Dismissed;
                finish::wake_receivers(exchange, &mut inner.wakes);
            }
            _ => ws::close_for_shutdown(inner, key, code),
        }
    }
    inner.dismissable.len()
}

/// Completes the next `at_most` streams of events. Returns how many are left.
pub(crate) fn end_streams(inner: &mut Inner, at_most: usize) -> usize {
    let mut streams = inner.conns.keys();
    streams.retain(|key| inner.conns.get_mut(*key).is_some_and(|conn| conn.event_stream()));
    for key in streams.iter().take(at_most) {
        end_stream(inner, *key);
    }
    streams.len().saturating_sub(at_most)
}

/// Completes a stream of events in its application's place, for which the client has gone from now on. The client sees an
/// ordinary end, after which it comes again.
pub(crate) fn end_stream(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key).filter(|conn| conn.event_stream()) else { return };
    conn.refused = true;
    let link = Link { key, serial: conn.serial, websocket: false };
    let Some(exchange) = conn.exchange() else { return };
    exchange.answer.keep_alive = false;
    let task = exchange.task;
    // With trailers promised, this is not the end yet.
    if send::event(inner, link, 0, true, |_| {}) == Ok(false) {
        if let Some(Conn { protocol: Protocol::Http(exchange), out, parent, .. }) = inner.conns.get_mut(key) {
            if exchange.response.trailers(true) == Ok(true) && parent.is_none() {
                out.write(|out| out.extend_from_slice(b"\r\n"));
            }
        }
        finish::conclude(inner, key);
    }
    lifecycle::flush(inner, key);
    if let (true, Some(task)) = (inner.cancel_on_disconnect, task) {
        finish::cancel(inner, task);
    }
}

/// Ends every connection now. What is complete and with the kernel still arrives; the rest is cut so that it shows.
pub(crate) fn abort(inner: &mut Inner) {
    for key in inner.conns.keys() {
        finish::log_end(inner, key, End::Aborted);
        let complete = inner.conns.get_mut(key).is_some_and(|conn| match &conn.protocol {
            Protocol::Closing(Closing::Lingering) => true,
            Protocol::WebSocket(ws) => ws.is_closed() && conn.out.is_empty(),
            _ => false,
        });
        lifecycle::lose(inner, key, !complete);
    }
}

impl Conn {
    /// The kernel still has something for the client, and would drop it if a request came for a closed socket.
    fn is_being_taken(&self) -> bool {
        self.carrier.socket().is_some_and(|fd| socket::unsent(fd) > 0)
    }

    /// Something of its next request is here.
    fn has_asked(&self) -> bool {
        !self.input.is_empty() || self.carrier.socket().is_some_and(|fd| socket::unread(fd) > 0)
    }

    /// A client that has stayed, and comes again when it is sent away.
    fn is_dismissable(&self) -> bool {
        match &self.protocol {
            Protocol::WebSocket(ws) => ws.is_open(),
            Protocol::Http(exchange) => {
                exchange.subscription == Subscription::Running && exchange.response.open_ended() && !exchange.gone
            }
            _ => false,
        }
    }

    /// A stream of events that goes on.
    fn event_stream(&self) -> bool {
        match &self.protocol {
            Protocol::Http(exchange) => {
                matches!(exchange.subscription, Subscription::Running | Subscription::Dismissed)
                    && exchange.response.open_ended()
                    && !exchange.gone
            }
            _ => false,
        }
    }
}
