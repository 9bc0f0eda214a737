//! WebSocket connections between the wire crate's frames and the application.

pub(crate) mod open;
pub(crate) mod receive;

use std::rc::Rc;

use pyo3::prelude::*;

use crate::core::{Core, Inner, Wake};
use crate::io::slots::Key;
use crate::py::callable::Link;

pub(crate) struct Ws {
    pub(crate) task: Option<Key>,
    pub(crate) senders: Vec<Py<PyAny>>,
}

impl Ws {
    pub(crate) fn paused(&self) -> bool {
        false
    }
    pub(crate) fn ends_after_sending(&self) -> bool {
        false
    }
    pub(crate) fn lost(&mut self, _wakes: &mut Vec<Wake>, _code: u16, _reason: &str) -> bool {
        true
    }
}
pub(crate) fn ping(_inner: &mut Inner, _key: Key) {}
pub(crate) fn no_pong(_inner: &mut Inner, _key: Key) {}
pub(crate) fn end_of_input(_inner: &mut Inner, _key: Key) {}
pub(crate) fn finish_sending(_inner: &mut Inner, _key: Key) {}
pub(crate) fn over(_py: Python<'_>, _core: &Rc<Core>, _link: Link, _error: Option<PyErr>) {}
pub(crate) fn close_for_shutdown(_core: &Rc<Core>, _key: Key, _code: u16) {}
