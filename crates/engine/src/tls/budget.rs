//! How much of a turn handshakes may take. A signature costs up to milliseconds; a burst of new connections must not keep
//! those that exist waiting longer than anything else in a turn may.

use crate::core::Inner;
use crate::io::slots::Key;

/// So much time goes to handshakes until the loop's other callbacks have had their turn.
const BUDGET_NS: u64 = 1_000_000;

#[derive(Default)]
pub(crate) struct Budget {
    spent: u64,
    waiting: Vec<Key>,
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
        self.waiting.push(key);
        Turn::Later
    }

    pub(crate) fn spend(&mut self, nanoseconds: u64) {
        self.spent += nanoseconds;
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// The loop's other callbacks have had their turn: who had to wait goes on.
pub(crate) fn renew(inner: &mut Inner) {
    for key in std::mem::take(&mut inner.tls.budget).waiting {
        if let Some(conn) = inner.conns.get_mut(key) {
            conn.readable = true;
            inner.look_again(key);
        }
    }
}
