//! How much of a turn handshakes may take. A signature costs up to milliseconds; a burst of new connections must not keep
//! those that exist waiting longer than anything else in a turn may.

use std::collections::VecDeque;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::core::Core;
use crate::io::slots::Key;
use crate::py::callable::Link;

/// So much time goes to handshakes until the loop's other callbacks have had their turn.
const BUDGET_NS: u64 = 1_000_000;

#[derive(Default)]
pub(crate) struct Budget {
    spent: u64,
    waiting: VecDeque<Key>,
    scheduled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    Later,
}

impl Budget {
    /// Whether the handshake at `key` may go on now. If not it is kept for later.
    pub(crate) fn postpone(&mut self, key: Key) -> Turn {
        if self.spent < BUDGET_NS {
            return Turn::Now;
        }
        // One that has been told to wait is not readable and does not come again before its turn.
        self.waiting.push_back(key);
        Turn::Later
    }

    pub(crate) fn spend(&mut self, nanoseconds: u64) {
        self.spent += nanoseconds;
    }
}

/// A turn is over: who had to wait goes on when the loop's other callbacks have run.
#[inline]
pub(crate) fn turn_over(py: Python<'_>, core: &Rc<Core>) {
    let wanted = core.with(|inner| {
        let budget = &mut inner.tls.budget;
        if budget.waiting.is_empty() {
            budget.spent = 0;
            return false;
        }
        !std::mem::replace(&mut budget.scheduled, true)
    });
    if wanted {
        let link = Link { key: Key::from_bits(0), serial: 0, websocket: false };
        if let Err(error) = core.soon(py, link, go_on) {
            // The loop is closing: nobody is served any more.
            error.write_unraisable(py, None);
        }
    }
}

fn go_on(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    arguments: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    core.with(|inner| {
        let budget = std::mem::take(&mut inner.tls.budget);
        for key in budget.waiting {
            if let Some(conn) = inner.conns.get_mut(key) {
                conn.readable = true;
                inner.look_again(key);
            }
        }
    });
    let result = crate::turn::after(py, core, link, arguments);
    turn_over(py, core);
    result
}
