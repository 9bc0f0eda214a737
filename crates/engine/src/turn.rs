//! One turn of the engine: everything that is ready, up to a time budget.
//!
//! 1. The loop sees the inner poller readable and calls [`turn`].
//! 2. Listeners: a few connections are accepted. Connections: bytes are read, processed and answered.
//! 3. What the turn has produced for other connections is flushed.
//! 4. Deadlines, when the timer has fired: after what has come in time, however long ago that was.
//!
//! What is left over stays in the poller, which keeps the loop's descriptor readable: the loop calls again after its
//! other callbacks.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::accept;
use crate::board;
use crate::core::{level, Core, Wake};
use crate::expire;
use crate::fault;
use crate::http::read;
use crate::io::clock::{self, Moment};
use crate::io::poller::{Events, Poller};
use crate::io::slots::Key;
use crate::py::callable::Link;
use crate::share::{self, Share};
use crate::tls;

/// Tokens from here on name listeners.
pub(crate) const LISTENERS: u64 = u64::MAX - (1 << 16);
/// The inbox for connections of other workers. The poller's own tokens begin at the other end.
pub(crate) const INBOX: u64 = LISTENERS + (1 << 15);

pub(crate) fn turn(py: Python<'_>, core: &Rc<Core>) -> PyResult<()> {
    // A nested event loop run by the application inside a callback must not start a second turn.
    if core.in_turn.replace(true) {
        return Ok(());
    }
    if let Err(error) = core.py.starter.prepare(py) {
        core.in_turn.set(false);
        return Err(error);
    }
    let started = clock::precise_ns();
    let mut now = Moment::at(started);
    let requests = core.with(|inner| inner.stats.requests);
    let mut events = Events::new();
    let mut result = Ok(());
    let mut timer_has_fired = false;
    loop {
        if let Err(error) = core.with(|inner| {
            inner.moment = now;
            if let Some(board) = &mut inner.board {
                board.turn(inner.moment.now());
            }
            inner.now = clock::coarse_ms();
            inner.passed = 0;
            inner.fixed.refresh();
            inner.poller.poll(&mut events)
        }) {
            result = Err(error.into());
            break;
        }
        core.with(|inner| inner.gathering.begin(events.len(), inner.moment.now()));
        for at in 0..events.len() {
            let event = events.get(at);
            let key = Key::from_bits(event.token);
            fault::contained(py, core, key, || match event.token {
                Poller::TIMER => timer_has_fired = true,
                INBOX => accept::take(py, core, event.hangup),
                Poller::BEAT => board::beat(core),
                token if token >= LISTENERS => {
                    accept::accept(py, core, (token - LISTENERS) as usize);
                }
                _ => read::ready(py, core, key, event),
            });
            now = core.with(|inner| {
                let over = inner.moment.after(now);
                if inner.gathering.is_on() && inner.gathering.is_due(over) {
                    inner.flush_dirty();
                    inner.moment.pass();
                }
                inner.moment
            });
        }
        core.with(|inner| inner.gathering.end(inner.moment.now()));
        settle_all(py, core);
        // KeyboardInterrupt and SystemExit of an application end the loop; the engine's state stays whole.
        if let Some(error) = core.take_fatal() {
            result = Err(error);
        }
        if result.is_err() || events.len() < Events::CAPACITY {
            break;
        }
        now = Moment::default();
        if now.now() - started > share::OF_TURN_NS {
            break;
        }
    }
    if timer_has_fired {
        let all_read = events.len() < Events::CAPACITY;
        fault::contained(py, core, Key::from_bits(Poller::TIMER), || expire::expire(py, core, all_read));
        settle_all(py, core);
    }
    core.with(|inner| inner.turned(started, requests));
    core.in_turn.set(false);
    go_on(py, core);
    core.py.starter.rest(py)?;
    result
}

/// The callback of [`Core::schedule`]: what was produced outside of a turn leaves, and input that waited is processed.
pub(crate) fn after(
    py: Python<'_>,
    core: &Rc<Core>,
    _: Link,
    _: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    core.with(|inner| {
        inner.scheduled = false;
        inner.moment.pass();
        if let Some(board) = &mut inner.board {
            board.outside(inner.moment.now());
        }
        inner.now = clock::coarse_ms();
        inner.passed = 0;
        inner.fixed.refresh();
        tls::budget::renew(inner);
    });
    let nested = core.in_turn.replace(true);
    if nested {
        // A nested event loop inside a turn: what waits is that turn's to do.
        return Ok(py.None().into_ptr());
    }
    if let Err(error) = core.py.starter.prepare(py) {
        core.in_turn.set(false);
        return Err(error);
    }
    settle_all(py, core);
    core.py.starter.rest(py)?;
    core.in_turn.set(false);
    go_on(py, core);
    match core.take_fatal() {
        Some(error) => Err(error),
        None => Ok(py.None().into_ptr()),
    }
}

/// What the budgets have left over has its turn after the loop's other callbacks.
fn go_on(py: Python<'_>, core: &Rc<Core>) {
    let is_left = core.with(|inner| {
        let is_left = !inner.again.is_empty() || inner.tls.budget.is_waited_for();
        if !is_left {
            tls::budget::renew(inner);
        }
        is_left
    });
    if is_left {
        core.schedule(py);
    }
}

/// Flushes, resumes and wakes until nothing is left to do, or the time is up; then sets the timer.
fn settle_all(py: Python<'_>, core: &Rc<Core>) {
    let mut share = Share::of(share::OF_TURN_NS);
    let mut time_is_up = false;
    while let Some(again) = core.with(|inner| {
        if inner.dirty.is_empty() && (time_is_up || inner.again.is_empty()) {
            return None;
        }
        inner.flush_dirty();
        inner.moment.pass();
        Some(if time_is_up { Vec::new() } else { std::mem::take(&mut inner.again) })
    }) {
        let mut again = again.into_iter();
        for key in again.by_ref() {
            fault::contained(py, core, key, || read::resume(py, core, key));
            time_is_up = share.is_used_up();
            if time_is_up {
                break;
            }
        }
        core.settle(py);
        core.with(|inner| drop(inner.again.splice(0..0, again)));
    }
    core.settle(py);
    let python = core.with(|inner| {
        // The clock is coarse: the timer may have fired a moment too early for a rest to be over.
        if let Some(due) = inner.deadlines.next().into_iter().chain(inner.resting).min() {
            inner.poller.wake_at(due, inner.now);
        }
        if let Some(board) = &inner.board {
            board.publish(&inner.stats);
        }
        let access = inner.access.as_mut()?;
        let trouble = access.hand_over();
        if access.is_unread() {
            inner.access = None;
            return None;
        }
        let work = trouble.is_some();
        inner.wakes.extend(trouble.map(|text| Wake::Report { level: level::WARNING, text, error: None }));
        (work || inner.access.as_ref()?.is_waiting()).then_some(())
    });
    if python.is_some() {
        crate::access::deliver(py, core);
        core.settle(py);
    }
}
