//! The minimum rate of a request body (slow senders, "R-U-Dead-Yet").

use crate::conn::{Protocol, BODY_HIGH};
use crate::core::{level, Core, Inner};
use crate::h2;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;

/// A grace period is over: the body must have come at the minimum rate on average.
/// Time in which applications did not take what was there does not count, nor that before the application has asked.
pub(crate) fn check(inner: &mut Inner, core: &Core, key: Key) {
    let now = inner.now;
    let no_window = h2::has_no_window(inner, key);
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let peer = conn.peer.to_string();
    let Protocol::Http(exchange) = &mut conn.protocol else { return };
    let body = &mut exchange.body;
    if body.decoder.is_done() || exchange.gone {
        return;
    }
    let wanted = core.settings.body_rate_min * (now - body.started) / 1000;
    let waits = body.continue_owed || body.buffered >= BODY_HIGH || no_window;
    if waits || body.received - body.measured >= wanted {
        if waits {
            body.started = now;
            body.measured = body.received;
        }
        inner.deadlines.arm(Kind::Body, key.index, now);
        return;
    }
    inner.stats.timed_out += 1;
    inner.report(
        level::INFO,
        format!(
            "{peer}: 408, the request body came at less than {} bytes/s (body_rate_min)",
            core.settings.body_rate_min
        ),
    );
    super::finish::refuse(inner, key, 408, "the request body came too slowly");
}
