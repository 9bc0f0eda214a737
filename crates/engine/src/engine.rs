//! The Python class `swell._core.Engine`: one per event loop.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustls::ServerConfig;

use crate::access::{AccessLog, End, Filter, Tap};
use crate::board::{Board, Scoreboard, Slow};
use crate::core::{level, Core};
use crate::ending;
use crate::handoff::Handoff;
use crate::http::finish;
use crate::io::socket::{self, Address};
use crate::lifecycle;
use crate::listener::{Accepting, Listener, Role};
use crate::py::scope::Templates;
use crate::settings::Settings;
use crate::tls::alpn;
use crate::tls::context::TlsContext;
use crate::turn;

/// The data plane of one worker: sockets, connections and the ASGI cycle, driven by one event loop on its own thread.
#[pyclass(module = "swell._core")]
pub(crate) struct Engine {
    core: Option<Rc<Core>>,
    home: ThreadId,
}

// SAFETY: `core` is only touched with the GIL held, and by every method but the destructor only on the loop's own thread
// (`at_home`). The destructor runs where the last reference is dropped, which may be in any thread's garbage collection;
// nothing of the core is bound to a thread.
unsafe impl Send for Engine {}
// SAFETY: as above; a method on another thread gets no further than `at_home`.
unsafe impl Sync for Engine {}

impl Engine {
    fn at_home(&self) -> PyResult<()> {
        if thread::current().id() == self.home {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("the engine belongs to the thread of its event loop"))
    }

    fn core(&self) -> PyResult<&Rc<Core>> {
        self.at_home()?;
        let core = self.core.as_ref().ok_or_else(|| PyRuntimeError::new_err("the engine is closed"))?;
        core.read_clock();
        Ok(core)
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (settings, event_loop, application, *, state, context, report, retire = None, board = None, slot = 0, inbox = None, outboxes = None, slow_turns = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
    fn new(
        settings: Settings,
        event_loop: &Bound<'_, PyAny>,
        application: Py<PyAny>,
        state: Option<Py<PyDict>>,
        context: Py<PyAny>,
        report: Py<PyAny>,
        retire: Option<Py<PyAny>>,
        board: Option<&Bound<'_, Scoreboard>>,
        slot: usize,
        inbox: Option<RawFd>,
        outboxes: Option<Vec<RawFd>>,
        slow_turns: Option<RawFd>,
    ) -> PyResult<Self> {
        let (inbox, outboxes) = (inbox.unwrap_or(-1), outboxes.unwrap_or_default());
        if board.is_none() && (inbox >= 0 || !outboxes.is_empty()) {
            return Err(PyValueError::new_err("workers that hand connections to each other need a scoreboard"));
        }
        let handoff = board.is_some().then(|| Handoff::new(slot, inbox, &outboxes)).transpose()?;
        let core = Core::new(settings, event_loop, application, state, context, report)?;
        let board = match board {
            Some(board) => {
                let beat = core.with(|inner| inner.poller.add_beat().map(|()| inner.poller.beat_fd()))?;
                let slow = slow_turns.and_then(|report| Slow::new(core.settings.slow_callback, beat, report));
                Some(board.get().board(slot, core.py.starter.is_eager(), slow)?)
            }
            None => None,
        };
        core.with(|inner| {
            inner.retire = retire;
            if let Some(board) = &board {
                inner.poller.beat_at(board.next_beat());
            }
            inner.board = board;
            inner.handoff = handoff;
            PyResult::Ok(())
        })?;
        Ok(Self { core: Some(core), home: thread::current().id() })
    }

    /// The descriptor that the event loop watches for reading.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.core()?.with(|inner| inner.poller.fd()))
    }

    /// Does what is ready, within a time budget. To be called when `fileno()` is readable.
    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        self.at_home()?;
        match &self.core {
            Some(core) => turn::turn(py, &Rc::clone(core)),
            None => Ok(()),
        }
    }

    /// Adds a listening socket behind the earlier ones and accepts connections from it, unless that is left to others
    /// for now; the caller keeps its own descriptor.
    #[pyo3(signature = (fd, accepting = true, *, tls = false, redirect = None))]
    fn listen(&self, py: Python<'_>, fd: RawFd, accepting: bool, tls: bool, redirect: Option<u16>) -> PyResult<()> {
        let core = self.core()?;
        // SAFETY: the caller's socket is open during this call; a duplicate is kept.
        let fd: OwnedFd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        let address = socket::local_address(fd.as_raw_fd())
            .ok_or_else(|| PyRuntimeError::new_err("the listening socket has no address"))?;
        let server = crate::accept::python_address(py, &address)?;
        let wildcard = matches!(&address, Address::Inet(inet) if unspecified(inet.ip()));
        let templates = Rc::new(Templates::new(
            py,
            &core.py.names,
            server.bind(py),
            &core.settings.root_path,
            core.py.state.is_some() || core.request_ids.is_some(),
            tls,
        )?);
        let role = match redirect {
            Some(port) => Role::Redirect(port),
            None if tls => Role::Tls,
            None => Role::Plain,
        };
        let accepting = if accepting { Accepting::Yes } else { Accepting::No };
        core.with(|inner| {
            inner.scope_size = templates.size(py);
            inner.add_listener(Listener { fd: Some(fd), templates, wildcard, accepting, role })
        })?;
        Ok(())
    }

    /// What TLS handshakes that begin from now on are made with; connections that exist are left alone.
    fn set_tls(&self, context: &Bound<'_, TlsContext>) -> PyResult<()> {
        let context = context.get();
        self.core()?.with(|inner| {
            let mut config = ServerConfig::clone(&context.config);
            config.alpn_protocols = alpn::offered(&inner.h2, context.challenged);
            inner.tls.answers.clone_from(&context.answers);
            inner.tls.config = Some(Arc::new(config));
            inner.tls.judge = context.judge.clone();
        });
        Ok(())
    }

    /// Accepts from the listeners at these positions (in the order of `listen`) and from no others, which stay open.
    /// After `stop_accepting` it changes nothing.
    fn accept_from(&self, indexes: Vec<usize>) -> PyResult<()> {
        self.core()?.with(|inner| {
            let count = inner.listeners.len();
            if let Some(wrong) = indexes.iter().find(|at| **at >= count) {
                return Err(PyIndexError::new_err(format!("there is no listener {wrong}: {count} were given")));
            }
            Ok(inner.accept_from(&indexes)?)
        })
    }

    /// Accepts no more connections, but for those that wait already. The listening sockets themselves stay open at their
    /// owner's.
    fn stop_accepting(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        crate::accept::accept_queued(py, core);
        core.settle(py);
        Ok(core.with(|inner| inner.stop_accepting())?)
    }

    /// Begins the end: idle connections are closed, the others after their current response; WebSockets and streams of
    /// events stay until `dismiss`. A connection that has only just come may still send its request: nobody repeats one
    /// on a new connection. Returns a future that is done when no connection and no application is left.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let core = self.core()?;
        let empty = core.future(py)?;
        let kept = empty.clone().unbind();
        core.with(|inner| {
            ending::begin(inner);
            inner.when_empty = Some(kept);
        });
        core.settle(py);
        core.schedule(py);
        Ok(empty)
    }

    /// Asks the next `count` clients that come again by themselves to do so, or all: open WebSockets are closed with
    /// `code`, applications that stream events to a GET receive `http.disconnect`. Returns how many are left.
    #[pyo3(signature = (count = None, code = 1012))]
    fn dismiss(&self, py: Python<'_>, count: Option<usize>, code: u16) -> PyResult<usize> {
        let core = self.core()?;
        let left = core.with(|inner| ending::dismiss(inner, count.unwrap_or(usize::MAX), code));
        core.settle(py);
        core.schedule_if_needed(py);
        Ok(left)
    }

    /// Completes the next `count` streams of events to a GET, or all, in the application's place: its next `send()` raises
    /// `ClientDisconnected`. Returns how many are left.
    #[pyo3(signature = (count = None))]
    fn end_streams(&self, py: Python<'_>, count: Option<usize>) -> PyResult<usize> {
        let core = self.core()?;
        let left = core.with(|inner| ending::end_streams(inner, count.unwrap_or(usize::MAX)));
        core.settle(py);
        core.schedule_if_needed(py);
        Ok(left)
    }

    /// Cancels the applications that still run. Their connections end when they have returned.
    fn cancel_all(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        core.with(|inner| {
            for running in inner.tasks.keys() {
                finish::cancel(inner, running);
            }
        });
        core.settle(py);
        Ok(())
    }

    /// Ends every connection now.
    fn abort_all(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        core.with(ending::abort);
        core.settle(py);
        core.schedule_if_needed(py);
        Ok(())
    }

    /// Ends every connection and gives everything back. The engine cannot be used afterwards.
    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        self.at_home()?;
        if let Some(core) = self.core.take() {
            core.with(|inner| {
                inner.board = inner.board.take().filter(Board::is_ours);
                for key in inner.conns.keys() {
                    finish::log_end(inner, key, End::Aborted);
                    lifecycle::lose(inner, key, true);
                }
            });
            core.settle(py);
            crate::access::deliver(py, &core);
            if let Some(mut access) = core.with(|inner| inner.access.take()) {
                // The reader of the log may be slow, or a thread of this process.
                if let Some(trouble) = py.detach(|| access.close()) {
                    core.with(|inner| inner.report(level::WARNING, trouble));
                    core.settle(py);
                }
            }
            if let Some((board, stats)) = core.with(|inner| Some((inner.board.take()?, inner.stats.clone()))) {
                board.end(&stats);
            }
            core.with(|inner| {
                inner.poller.close();
                inner.handoff = None;
                for listener in &mut inner.listeners {
                    listener.fd = None;
                }
            });
        }
        Ok(())
    }

    /// Open connections, requests being served, queued requests, suspended tasks.
    #[getter]
    fn connections(&self) -> PyResult<usize> {
        Ok(self.core()?.with(|inner| inner.connections()))
    }

    /// Applications that have been called and have not returned.
    #[getter]
    fn active(&self) -> PyResult<usize> {
        Ok(self.core()?.with(|inner| inner.active))
    }

    /// Sends the lines of the access log to a socket, too, as far as they are wanted; None: no more. Where the log is off,
    /// it is made for this alone. The engine duplicates the descriptor; a follower that has gone is noticed.
    #[pyo3(signature = (fd, *, statuses = 255, slower = 0.0, contains = Vec::new()))]
    fn tap(&self, fd: Option<RawFd>, statuses: u8, slower: f64, contains: Vec<u8>) -> PyResult<()> {
        let tap = match fd {
            Some(fd) => {
                // SAFETY: the caller's socket is open during this call; a duplicate is kept.
                let socket: OwnedFd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
                Some(Tap::new(socket, Filter { statuses, slower: (slower * 1e9) as u64, contains }))
            }
            None => None,
        };
        self.core()?.with(|inner| {
            if tap.is_some() || inner.access.is_some() {
                inner.access.get_or_insert_with(AccessLog::for_tap).set_tap(tap);
            }
            inner.access.take_if(|access| access.is_unread());
        });
        Ok(())
    }

    /// The requests whose first step is over and whose application has not returned: (task, since when). Times are
    /// those of `time.monotonic_ns()`, 0 without a scoreboard.
    fn suspended(&self, py: Python<'_>) -> PyResult<Vec<(Py<PyAny>, u64)>> {
        Ok(self.core()?.with(|inner| {
            let keys = inner.tasks.keys();
            keys.into_iter()
                .filter_map(|key| inner.tasks.get_mut(key).map(|running| (running.task.clone_ref(py), running.since)))
                .collect()
        }))
    }

    /// How application tasks are started: `eager`, `captured`, `scheduled` or `factory`.
    #[getter]
    fn task_start(&self) -> PyResult<&'static str> {
        Ok(self.core()?.py.starter.describe())
    }

    /// Counters since the engine was made.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let core = self.core()?;
        let counters = core.with(|inner| inner.stats.clone());
        let all = counters.export(py)?;
        let (connections, active, queued) = core.with(|inner| (inner.connections(), inner.active, inner.queue.len()));
        all.set_item("connections", connections)?;
        all.set_item("active", active)?;
        all.set_item("queued", queued)?;
        Ok(all)
    }
}

fn unspecified(ip: IpAddr) -> bool {
    ip.is_unspecified()
}
