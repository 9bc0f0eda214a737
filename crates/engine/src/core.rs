//! The engine's state and the rule that keeps it sound.
//!
//! Everything mutable is in [`Inner`], reached only through [`Core::with`]. No borrow is alive across a call that can
//! run Python: a borrow computes what is to be done, the Python work follows outside, and the connection is looked
//! up again by its key. What a borrow wants Python to do (wake a future, cancel a task, log) it puts on a list that
//! [`Core::settle`] works off.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use swell_wire::h1::head::FieldSpan;
use swell_wire::limits::HeadLimits;

use crate::access::AccessLog;
use crate::board::Board;
use crate::conn::{Conn, Exchange, Running};
use crate::fixed::FixedFields;
use crate::gather::Gathering;
use crate::h2;
use crate::handoff::Handoff;
use crate::http::count::{self, Ended};
use crate::io::clock::{self, Moment};
use crate::io::deadlines::Deadlines;
use crate::io::poller::Poller;
use crate::io::slots::{Key, Slots};
use crate::lifecycle;
use crate::listener::Listener;
use crate::py::awaitable;
use crate::py::callable::{self, Action, Link};
use crate::py::names::Names;
use crate::py::starter::Starter;
use crate::request_id::RequestIds;
use crate::settings::Settings;
use crate::share;
use crate::stats::Stats;
use crate::tls;

/// One shared receive buffer's size. Large enough that an ordinary upload arrives in few reads.
pub(crate) const RECEIVE_SIZE: usize = 128 * 1024;

pub(crate) struct Core {
    inner: RefCell<Inner>,
    pub(crate) py: Handles,
    pub(crate) settings: Settings,
    /// None when requests get no ids.
    pub(crate) request_ids: Option<Rc<RequestIds>>,
    /// A turn is running: responses are flushed by it, and new tasks may be started.
    pub(crate) in_turn: Cell<bool>,
    /// What an application's step raised that is meant for the whole process.
    fatal: RefCell<Option<PyErr>>,
}

/// Python objects that never change.
pub(crate) struct Handles {
    pub(crate) names: Names,
    pub(crate) application: Py<PyAny>,
    pub(crate) state: Option<Py<PyDict>>,
    /// Called with (level, text, exception or None).
    pub(crate) report: Py<PyAny>,
    pub(crate) starter: Starter,
    event_loop: Py<PyAny>,
    call_soon: Py<PyAny>,
    future_type: Py<PyAny>,
    loop_keyword: Py<PyTuple>,
    /// `{"type": "http.request", "body": b"", "more_body": False}`, to be copied.
    pub(crate) empty_request: Py<PyDict>,
    /// Turns a non-coroutine awaitable into a coroutine.
    pub(crate) as_coroutine: Py<PyAny>,
}

pub(crate) struct Inner {
    pub(crate) poller: Poller,
    pub(crate) conns: Slots<Conn>,
    pub(crate) tasks: Slots<Running>,
    pub(crate) deadlines: Deadlines,
    /// Coarse milliseconds, read once per turn, and per call from Python.
    pub(crate) now: u64,
    pub(crate) listeners: Vec<Listener>,
    /// One of them sends everybody elsewhere.
    pub(crate) redirects: bool,
    pub(crate) limits: HeadLimits,
    pub(crate) h2: h2::Options,
    /// Receive buffers that are free; a nested read takes a second one.
    pub(crate) buffers: Vec<Box<[u8]>>,
    /// Small buffers for heads and output.
    pub(crate) spare: Vec<Vec<u8>>,
    pub(crate) spans: Vec<FieldSpan>,
    /// Boxes of finished exchanges, for the next ones.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is reused")]
    pub(crate) exchanges: Vec<Box<Exchange>>,
    /// Connections with something to send.
    pub(crate) dirty: Vec<Key>,
    pub(crate) gathering: Gathering,
    pub(crate) moment: Moment,
    /// Connections whose next input can be processed now.
    pub(crate) again: Vec<Key>,
    pub(crate) scheduled: bool,
    /// What applications have sent and received since the loop was last in control, or one had to wait, in bytes.
    pub(crate) passed: u64,
    pub(crate) wakes: Vec<Wake>,
    /// For the scoreboard: responses that are complete.
    pub(crate) ended: Vec<Ended>,
    /// Exchanges whose application has not returned.
    pub(crate) active: usize,
    /// The same of WebSockets.
    pub(crate) websockets: usize,
    /// Connections in the table that are streams of others.
    pub(crate) streams: usize,
    /// Connections that speak HTTP/2, the parents of these.
    pub(crate) h2_open: Rc<Cell<usize>>,
    pub(crate) queue: VecDeque<Key>,
    /// Requests out of the queue whose turn has come. Each has a place, until it is looked at.
    pub(crate) called: Vec<Key>,
    /// How many keys the scope of a request has when the application is called.
    pub(crate) scope_size: usize,
    /// Connections end after their current response.
    pub(crate) draining: bool,
    /// While draining: whom [`crate::ending::dismiss`] asks to come again next, from the back.
    pub(crate) dismissable: Vec<Key>,
    pub(crate) fixed: FixedFields,
    pub(crate) stats: Stats,
    pub(crate) access: Option<AccessLog>,
    /// The way to and from the other workers, if there are any.
    pub(crate) handoff: Option<Handoff>,
    /// This worker's place on the scoreboard, if there is one.
    pub(crate) board: Option<Board>,
    pub(crate) request_ids: Option<Rc<RequestIds>>,
    pub(crate) tls: tls::Shared,
    /// When listeners that had to stop accepting try again (engine milliseconds).
    pub(crate) resting: Option<u64>,
    pub(crate) last_accept_report: u64,
    pub(crate) cancel_on_disconnect: bool,
    /// While draining: the future of those who wait for the end.
    pub(crate) when_empty: Option<Py<PyAny>>,
    /// Called without arguments when `limit_max_requests` is reached.
    pub(crate) retire: Option<Py<PyAny>>,
}

/// Work for Python that a borrow has decided on.
pub(crate) enum Wake {
    /// Let a waiting `send()` go on, or a waiting `receive()` look again.
    Resume(Py<PyAny>),
    Cancel(Py<PyAny>),
    /// Call a function without arguments.
    Call(Py<PyAny>),
    Report {
        level: u32,
        text: String,
        error: Option<Py<PyAny>>,
    },
    /// Objects whose last reference must not go away inside a borrow.
    Drop(#[allow(dead_code, reason = "held to be dropped later")] Py<PyAny>),
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        event_loop: &Bound<'_, PyAny>,
        application: Py<PyAny>,
        state: Option<Py<PyDict>>,
        context: Py<PyAny>,
        report: Py<PyAny>,
    ) -> PyResult<Rc<Self>> {
        let py = event_loop.py();
        let names = Names::new(py);
        let empty_request = PyDict::new(py);
        empty_request.set_item(&names.type_, &names.http_request)?;
        empty_request.set_item(&names.body, &names.no_bytes)?;
        empty_request.set_item(&names.more_body, false)?;
        let helpers = PyDict::new(py);
        py.run(c"async def as_coroutine(awaitable):\n    return await awaitable\n", Some(&helpers), Some(&helpers))?;
        let as_coroutine = helpers.get_item("as_coroutine")?.map(Bound::unbind).unwrap_or_else(|| py.None());
        let request_ids = RequestIds::new(&settings)?.map(Rc::new);
        let mut inner = Inner {
            poller: Poller::new()?,
            conns: Slots::new(),
            tasks: Slots::new(),
            deadlines: Deadlines::new(settings.timeouts()),
            now: clock::coarse_ms(),
            listeners: Vec::new(),
            redirects: false,
            limits: settings.head_limits(),
            h2: h2::Options::new(&settings),
            buffers: Vec::new(),
            spare: Vec::new(),
            spans: Vec::new(),
            exchanges: Vec::new(),
            dirty: Vec::new(),
            gathering: Gathering::default(),
            moment: Moment::default(),
            again: Vec::new(),
            scheduled: false,
            passed: 0,
            wakes: Vec::new(),
            ended: Vec::new(),
            active: 0,
            websockets: 0,
            streams: 0,
            h2_open: Rc::default(),
            queue: VecDeque::new(),
            called: Vec::new(),
            scope_size: 0,
            draining: false,
            dismissable: Vec::new(),
            fixed: FixedFields::new(&settings),
            stats: Stats::default(),
            access: AccessLog::new(py, &settings)?,
            handoff: None,
            board: None,
            request_ids: request_ids.clone(),
            tls: tls::Shared::default(),
            resting: None,
            last_accept_report: 0,
            cancel_on_disconnect: settings.cancel_on_disconnect,
            when_empty: None,
            retire: None,
        };
        inner.fixed.refresh();
        let py_handles = Handles {
            names,
            application,
            state,
            report,
            starter: Starter::new(py, event_loop, context, settings.eager_start)?,
            event_loop: event_loop.clone().unbind(),
            call_soon: event_loop.getattr("call_soon")?.unbind(),
            future_type: py.import("asyncio")?.getattr("Future")?.unbind(),
            loop_keyword: PyTuple::new(py, [PyString::intern(py, "loop")])?.unbind(),
            empty_request: empty_request.unbind(),
            as_coroutine,
        };
        Ok(Rc::new(Self {
            inner: RefCell::new(inner),
            py: py_handles,
            settings,
            request_ids,
            in_turn: Cell::new(false),
            fatal: RefCell::new(None),
        }))
    }

    /// Works on the state. Nothing in `work` may run Python code.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        work(&mut self.inner.borrow_mut())
    }

    /// Python has called. What follows may begin deadlines, and the last turn, or the last call, may be long ago.
    #[inline]
    pub(crate) fn read_clock(&self) {
        self.with(|inner| inner.now = clock::coarse_ms());
    }

    /// Keeps `KeyboardInterrupt` or `SystemExit` until the loop's callback can raise it.
    pub(crate) fn set_fatal(&self, error: PyErr) {
        *self.fatal.borrow_mut() = Some(error);
    }

    pub(crate) fn take_fatal(&self) -> Option<PyErr> {
        self.fatal.borrow_mut().take()
    }

    /// A future of the loop.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let arguments = [self.py.event_loop.as_ptr()];
        // SAFETY: the objects are alive; one keyword value for one keyword name.
        unsafe {
            let future = ffi::PyObject_Vectorcall(
                self.py.future_type.as_ptr(),
                arguments.as_ptr(),
                0,
                self.py.loop_keyword.as_ptr(),
            );
            Bound::from_owned_ptr_or_err(py, future)
        }
    }

    /// Does the Python work that borrows have decided on, until there is none.
    #[inline]
    pub(crate) fn settle(&self, py: Python<'_>) {
        loop {
            let (wakes, ended) = self.with(|inner| {
                if inner.when_empty.is_some() && inner.conns.len() == 0 && inner.tasks.len() == 0 {
                    inner.wakes.extend(inner.when_empty.take().map(Wake::Resume));
                }
                (std::mem::take(&mut inner.wakes), inner.has_ended_suspended())
            });
            if ended {
                count::suspended(py, self);
            }
            if wakes.is_empty() {
                return;
            }
            for wake in wakes {
                if let Err(error) = self.carry_out(py, wake) {
                    error.write_unraisable(py, Some(self.py.report.bind(py)));
                }
            }
            self.with(|inner| inner.moment.pass());
        }
    }

    fn carry_out(&self, py: Python<'_>, wake: Wake) -> PyResult<()> {
        match wake {
            Wake::Resume(future) => self.complete(future.bind(py), || Ok(py.None().into_bound(py))),
            Wake::Cancel(task) => {
                task.bind(py).call_method0(&self.py.names.cancel)?;
                Ok(())
            }
            Wake::Call(function) => function.bind(py).call0().map(drop),
            Wake::Report { level, text, error } => {
                self.py.report.bind(py).call1((level, text, error))?;
                Ok(())
            }
            Wake::Drop(_) => Ok(()),
        }
    }

    /// Sets a future's result unless it is done already (cancelled by its waiter).
    fn complete<'py>(
        &self,
        future: &Bound<'py, PyAny>,
        value: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if !self.is_done(future)? {
            future.call_method1(&self.py.names.set_result, (value()?,))?;
        }
        Ok(())
    }

    pub(crate) fn is_done(&self, future: &Bound<'_, PyAny>) -> PyResult<bool> {
        future.call_method0(&self.py.names.done)?.is_truthy()
    }

    /// Has the loop call `crate::turn::after` once, soon, unless a turn is running, which does the same at its end.
    pub(crate) fn schedule(self: &Rc<Self>, py: Python<'_>) {
        if self.in_turn.get() || self.with(|inner| std::mem::replace(&mut inner.scheduled, true)) {
            return;
        }
        let link = Link { key: Key::from_bits(0), serial: 0, websocket: false };
        if let Err(error) = self.soon(py, link, crate::turn::after) {
            // The loop is closing; nothing is sent any more.
            self.with(|inner| inner.scheduled = false);
            error.write_unraisable(py, None);
        }
    }
}

impl Core {
    /// An awaitable for an application that is to let the loop's other callbacks have their turn.
    pub(crate) fn give_way(self: &Rc<Self>, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
        let future = self.future(py)?;
        let kept = future.clone().unbind();
        self.with(|inner| inner.wakes.push(Wake::Resume(kept)));
        self.schedule(py);
        awaitable::wait(py, &future)
    }

    /// Has the loop call `action` after the callbacks that it holds already.
    pub(crate) fn soon(self: &Rc<Self>, py: Python<'_>, link: Link, action: Action) -> PyResult<()> {
        let action = callable::new(py, self, link, action)?;
        // SAFETY: the objects are alive.
        unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_CallOneArg(self.py.call_soon.as_ptr(), action.as_ptr()))?;
        }
        Ok(())
    }

    /// Schedules [`crate::turn::after`] when something waits to be sent or processed.
    pub(crate) fn schedule_if_needed(self: &Rc<Self>, py: Python<'_>) {
        let waits = |inner: &mut Inner| {
            !inner.dirty.is_empty()
                || !inner.again.is_empty()
                || inner.access.as_ref().is_some_and(AccessLog::is_waiting)
        };
        if self.with(waits) {
            self.schedule(py);
        }
    }
}

impl Inner {
    pub(crate) fn report(&mut self, level: u32, text: String) {
        self.wakes.push(Wake::Report { level, text, error: None });
    }

    /// Keeps the memory of a finished exchange; what it held is let go.
    #[inline]
    pub(crate) fn recycle(&mut self, mut exchange: Box<Exchange>) {
        if self.exchanges.len() < 64 {
            exchange.body.whole = None;
            exchange.body.rest = Vec::new();
            self.exchanges.push(exchange);
        }
    }

    /// Connections without those that are streams of others.
    pub(crate) fn connections(&self) -> usize {
        self.conns.len() - self.streams
    }

    /// For the scoreboard: connections have come or gone.
    #[inline]
    pub(crate) fn count_connections(&self) {
        if let Some(board) = &self.board {
            board.connections(self.connections(), self.h2_open.get());
        }
    }

    /// For the scoreboard: a stream has come or gone.
    #[inline]
    pub(crate) fn count_streams(&self) {
        if let Some(board) = &self.board {
            board.streams(self.streams, self.stats.h2_streams);
        }
    }

    /// For the scoreboard: a connection of HTTP/2 has begun, or something about one was counted.
    pub(crate) fn count_h2(&self) {
        if let Some(board) = &self.board {
            board.count_h2(&self.stats);
        }
    }

    /// For the scoreboard: an application was called or has returned.
    #[inline]
    pub(crate) fn count_active(&self) {
        if let Some(board) = &self.board {
            board.working(self.stats.requests, self.active, self.websockets);
        }
    }

    /// An application calls, with so many bytes or for more. True when it is to wait, even if the client is ready: one
    /// that never has to would keep the loop for itself.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: u64) -> bool {
        self.passed += bytes.max(share::OF_CALL);
        let enough = self.passed > share::OF_STEP;
        if enough {
            self.passed = 0;
        }
        enough
    }

    /// Marks a connection as having something to send.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(key);
            }
        }
    }

    /// Has a connection go on with what waits on it, in this turn or the next.
    #[inline]
    pub(crate) fn look_again(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            if !conn.again {
                conn.again = true;
                self.again.push(key);
            }
        }
    }

    /// Sends what waits on the connections that are marked.
    pub(crate) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if self.conns.get_mut(key).is_some_and(|conn| conn.dirty) {
                lifecycle::flush(self, key);
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }
}

/// Python logging levels.
pub(crate) mod level {
    pub(crate) const DEBUG: u32 = 10;
    pub(crate) const INFO: u32 = 20;
    pub(crate) const WARNING: u32 = 30;
    pub(crate) const ERROR: u32 = 40;
}
