//! One stream as the carrier of a connection: response heads, body bytes and trailers out, body bytes in.
//!
//! What is here works on one stream's handles. Whatever it does may make the parent connection have something to write:
//! callers mark that one dirty.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use swell_wire::h2::response::{read_back, Fields};

use super::chunk::Chunk;
use super::wake::waker;
use crate::http::head::Parsed;
use crate::io::outbuf::OutBuf;

/// Body bytes that are asked room for at a time.
const STEP: usize = 64 * 1024;

pub(crate) struct Stream {
    respond: SendResponse<Chunk>,
    /// There once the head was given to the `h2` crate.
    send: Option<SendStream<Chunk>>,
    body: RecvStream,
    /// The head that leaves with the next flush.
    head: Option<Response<()>>,
    trailers: Option<HeaderMap>,
    /// Bytes of the body that were taken over and whose window the client has not got back.
    unreleased: usize,
    /// The request, until its application is started.
    pub(crate) parsed: Option<Parsed>,
    /// The application has returned.
    pub(crate) returned: bool,
    /// One side has reset it.
    was_reset: bool,
}

/// What has become of bytes that were to be sent.
pub(super) enum Sent {
    All,
    /// The client gives no more room. `true`: some bytes were taken.
    Blocked(bool),
    /// The end of the stream is on its way.
    End,
    /// The stream is no more, or the body's source has failed.
    Lost,
}

/// What the client has sent.
pub(super) enum Received {
    Data(Bytes),
    End,
    Nothing,
    Lost,
}

impl Stream {
    pub(super) fn new(respond: SendResponse<Chunk>, body: RecvStream) -> Self {
        Self {
            respond,
            send: None,
            body,
            head: None,
            trailers: None,
            unreleased: 0,
            parsed: None,
            returned: false,
            was_reset: false,
        }
    }

    /// Takes an encoded head. Returns what follows it.
    pub(crate) fn begin_response<'e>(&mut self, encoded: &'e [u8]) -> &'e [u8] {
        let Some((response, rest)) = response(encoded) else { return b"" };
        self.head = Some(response);
        rest
    }

    /// Sends an encoded interim response (RFC 9110 §15.2).
    pub(crate) fn inform(&mut self, encoded: &[u8]) {
        if let Some((response, _)) = response(encoded) {
            // An error means that the stream is over; whoever waits for it is told by its waker.
            let _ = self.respond.send_informational(response);
        }
    }

    /// Takes encoded trailer lines, which follow the body.
    pub(crate) fn add_trailers(&mut self, lines: &[u8]) {
        fill(self.trailers.get_or_insert_default(), Fields::of(lines));
    }

    /// Hands as much of `out` over as the client's window takes. `last`: the response ends with it.
    pub(super) fn flush(&mut self, slot: u32, out: &mut OutBuf, last: bool) -> Sent {
        let last_data = last && self.trailers.is_none();
        if let Some(head) = self.head.take() {
            let ends = last_data && out.is_empty();
            match self.respond.send_response(head, ends) {
                Ok(send) => self.send = Some(send),
                Err(_) => return Sent::Lost,
            }
            if ends {
                return Sent::End;
            }
        }
        let Some(send) = &mut self.send else {
            return if out.is_empty() { Sent::All } else { Sent::Lost };
        };
        let mut moved = false;
        while !out.is_empty() {
            let wanted = usize::try_from(out.len()).unwrap_or(STEP).min(STEP);
            send.reserve_capacity(wanted);
            let room = send.capacity();
            if room == 0 {
                let waker = waker(slot);
                match send.poll_capacity(&mut Context::from_waker(&waker)) {
                    Poll::Pending => return Sent::Blocked(moved),
                    Poll::Ready(Some(Ok(_))) if send.capacity() > 0 => continue,
                    Poll::Ready(_) => return Sent::Lost,
                }
            }
            let Ok(chunk) = out.take(room.min(wanted)) else { return Sent::Lost };
            let ends = last_data && out.is_empty();
            if send.send_data(chunk, ends).is_err() {
                return Sent::Lost;
            }
            moved = true;
            if ends {
                return Sent::End;
            }
        }
        if !last {
            return Sent::All;
        }
        let ended = match self.trailers.take() {
            Some(trailers) => send.send_trailers(trailers),
            None => send.send_data(Chunk::empty(), true),
        };
        if ended.is_ok() {
            Sent::End
        } else {
            Sent::Lost
        }
    }

    /// The next bytes of the body. The stream's connection is woken when there are some after [`Received::Nothing`].
    pub(super) fn receive(&mut self, slot: u32) -> Received {
        let waker = waker(slot);
        match self.body.poll_data(&mut Context::from_waker(&waker)) {
            Poll::Pending => Received::Nothing,
            Poll::Ready(None) => Received::End,
            Poll::Ready(Some(Err(_))) => Received::Lost,
            Poll::Ready(Some(Ok(data))) => {
                self.unreleased += data.len();
                Received::Data(data)
            }
        }
    }

    /// Bytes of the body that have come and whose window the client has not got back.
    pub(super) fn held(&mut self) -> usize {
        self.body.flow_control().used_capacity()
    }

    /// The client may send as much again as was taken over. False when that was nothing.
    pub(crate) fn release(&mut self) -> bool {
        let bytes = std::mem::take(&mut self.unreleased);
        if bytes > 0 {
            // An error means that the stream is over; then nobody needs room.
            let _ = self.body.flow_control().release_capacity(bytes);
        }
        bytes > 0
    }

    /// When the client has reset the stream, its reason; `Some(None)` when the connection is lost. Otherwise the stream's
    /// connection is woken when it does.
    pub(super) fn reset_by(&mut self, slot: u32) -> Option<Option<Reason>> {
        let waker = waker(slot);
        let context = &mut Context::from_waker(&waker);
        let polled = match &mut self.send {
            Some(send) => send.poll_reset(context),
            None => self.respond.poll_reset(context),
        };
        match polled {
            Poll::Pending => None,
            Poll::Ready(reason) => {
                self.was_reset = true;
                Some(reason.ok())
            }
        }
    }

    /// Ends the bytes of a WebSocket in order (RFC 8441 §5). A client that has not ended its side is asked to stop when
    /// the stream is dropped. False when there is nothing to end.
    pub(crate) fn end(&mut self) -> bool {
        self.head.is_none() && self.send.as_mut().is_some_and(|send| send.send_data(Chunk::empty(), true).is_ok())
    }

    /// Ends the stream at once. False: one side has done so before.
    pub(crate) fn reset(&mut self, reason: Reason) -> bool {
        let first = !std::mem::replace(&mut self.was_reset, true);
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
        first
    }
}

fn response(encoded: &[u8]) -> Option<(Response<()>, &[u8])> {
    let (status, fields, rest) = read_back(encoded)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    fill(response.headers_mut(), fields);
    Some((response, rest))
}

/// The encoder has checked names and values by rules that are at least as strict.
fn fill(map: &mut HeaderMap, fields: Fields<'_>) {
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // It fails beyond 24,000 fields; no client takes so many.
            let _ = map.try_append(name, value);
        }
    }
}
