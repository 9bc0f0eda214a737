//! A new stream: its request in the form that the engine keeps of every request, and a connection of its own.

use ::h2::ext;
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream};
use http::request::Parts;
use http::Request;
use pyo3::prelude::*;
use swell_wire::h1::line::Version;
use swell_wire::h2::request::{compose, Asked};

use super::chunk::Chunk;
use super::drive::count_reset_received;
use super::stream::Stream;
use crate::conn::{Carrier, Conn, Protocol};
use crate::core::Inner;
use crate::http::head::Parsed;
use crate::http::read::protocol_error;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle;

/// Puts a new stream of the connection at `parent` into the table; it is looked at with the next round.
pub(super) fn open(inner: &mut Inner, parent: Key, request: Request<RecvStream>, mut respond: SendResponse<Chunk>) {
    // SAFETY: the engine runs only with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let Inner { conns, h2: options, limits, spare, deadlines, stats, .. } = inner;
    let Some(Conn { protocol: Protocol::H2(h2), peer, listener, client, server, trusted, .. }) = conns.get_mut(parent)
    else {
        return;
    };
    if request.uri().scheme_str().is_some_and(str::is_empty) {
        // RFC 9113 §8.3.1: the crate lets it pass.
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return inner.mark_dirty(parent);
    }
    h2.begun += 1;
    stats.h2_streams += 1;
    let last = h2.begun == options.streams_max;
    if last {
        h2.retire();
        stats.h2_closed_streams += 1;
    }
    if h2.streams.len() >= options.running_max {
        // Clients that reset what they asked for leave applications running, which count (CVE-2023-44487).
        respond.send_reset(Reason::REFUSED_STREAM);
        inner.stats.h2_resets_sent_refused += 1;
        inner.count_h2();
        return inner.mark_dirty(parent);
    }
    deadlines.disarm(Kind::Linger, parent.index);
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let mut text = spare.pop().unwrap_or_default();
    let mut spans = Vec::new();
    let composed = compose(&asked(&head, ended), || fields(&head), limits, &mut text, &mut spans);
    let mut stream = Stream::new(respond, body);
    let mut fault = None;
    match composed {
        Ok(composed) => {
            let memo = h2.memos.pop();
            let same_block = memo.as_ref().is_some_and(|memo| memo.block == text[composed.line_len..]);
            stream.parsed = Some(Parsed {
                skipped: 0,
                line_len: composed.line_len,
                len: text.len(),
                memo,
                same_block,
                spans,
                facts: composed.facts,
                request: composed.request,
                version: Version::Http2,
            });
        }
        Err(error) => fault = Some(error),
    }
    let server = server.as_ref().map(|server| server.clone_ref(py));
    let carrier = Carrier::Stream(Box::new(stream));
    let conn = Conn {
        parent: Some(parent),
        input: text,
        readable: !ended,
        ..Conn::new(carrier, peer.clone(), *listener, client.clone_ref(py), server, *trusted)
    };
    let key = conns.insert(conn);
    inner.streams += 1;
    inner.count_streams();
    if last {
        inner.count_h2();
    }
    if let Some(Protocol::H2(h2)) = inner.conns.get_mut(parent).map(|conn| &mut conn.protocol) {
        h2.streams.push(key);
    }
    if let Some(error) = fault {
        let head = inner.conns.get_mut(key).map(|conn| std::mem::take(&mut conn.input)).unwrap_or_default();
        return protocol_error(inner, key, error, &head);
    }
    let over = match inner.conns.get_mut(key).map(|conn| &mut conn.carrier) {
        Some(Carrier::Stream(stream)) => stream.reset_by(key.index),
        _ => Some(None),
    };
    if let Some(reason) = over {
        // It was reset behind its head, in the same read: nobody asks any more.
        count_reset_received(inner, reason);
        lifecycle::lose(inner, key, false);
    } else {
        inner.look_again(key);
    }
}

fn asked(head: &Parts, ended: bool) -> Asked<'_> {
    Asked {
        method: head.method.as_str().as_bytes(),
        path: head.uri.path_and_query().map_or(b"", |path| path.as_str().as_bytes()),
        authority: head.uri.authority().map(|authority| authority.as_str().as_bytes()),
        protocol: head.extensions.get::<ext::Protocol>().map(|protocol| protocol.as_str().as_bytes()),
        ended,
    }
}

fn fields(head: &Parts) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}
