//! Requests that were answered, onto the scoreboard: how long they took, by method, status and route.
//!
//! A response ends inside a borrow, where no Python code may run; the route stands in the scope, where the
//! application's router has put it. So `finish` notes the end, and it is counted right behind the borrow: for a request
//! in its first step when the step is over, which is when its bytes leave, for a suspended one by the next `settle`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::route;
use crate::board::Answered;
use crate::core::{Core, Inner};
use crate::io::slots::Key;
use crate::py::callable::Link;

/// A response that is complete and not counted yet. `running` is the task, if the application was suspended.
pub(crate) struct Ended {
    pub(crate) link: Link,
    pub(crate) running: Option<Key>,
    pub(crate) answered: Answered,
}

impl Inner {
    #[inline]
    pub(crate) fn has_ended_suspended(&self) -> bool {
        self.ended.iter().any(|ended| ended.running.is_some())
    }
}

/// The request at `link` has made its first step, or is over.
#[inline]
pub(crate) fn stepped(core: &Core, link: Link, scope: &Bound<'_, PyAny>) {
    let answered = core.with(|inner| {
        let at = inner.ended.iter().position(|ended| ended.link == link)?;
        Some(inner.ended.swap_remove(at).answered)
    });
    if let Some(answered) = answered {
        count(core, answered, scope);
    }
}

/// Counts suspended requests. Those in their first step are left to whoever makes it, those whose task is just over to
/// whoever has its scope.
#[cold]
pub(crate) fn suspended(py: Python<'_>, core: &Core) {
    core.with(|inner| inner.moment.pass());
    let mut at = 0;
    while let Some(found) = core.with(|inner| {
        let running = inner.ended.get(at)?.running;
        let scope = running.and_then(|running| inner.tasks.get_mut(running)?.scope.as_ref());
        // Cloning a reference runs no Python code.
        Some(scope.map(|scope| (scope.clone_ref(py), inner.ended.swap_remove(at).answered)))
    }) {
        match found {
            Some((scope, answered)) => count(core, answered, scope.bind(py)),
            None => at += 1,
        }
    }
}

fn count(core: &Core, answered: Answered, scope: &Bound<'_, PyAny>) {
    let Ok(scope) = scope.cast::<PyDict>() else { return };
    let keys = scope.len();
    // A router that says where it has sent the request has put more into the scope than was there.
    let (now, routed) = core.with(|inner| (inner.moment.now(), keys > inner.scope_size));
    let route = if routed { route::template(&core.py.names, scope) } else { None };
    core.with(|inner| {
        if let Some(board) = &mut inner.board {
            board.count_request(answered, now, route.as_deref().unwrap_or_default());
        }
    });
}
