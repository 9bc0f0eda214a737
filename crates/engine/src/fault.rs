//! What happens when something fails that must not: a panic costs one connection, is logged and counted.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::board::Board;
use crate::core::{level, Core, Wake};
use crate::io::slots::Key;
use crate::lifecycle;

fn describe(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown cause")
}

/// Runs `work`; a panic ends the connection at `key`.
pub(crate) fn contained(py: Python<'_>, core: &std::rc::Rc<Core>, key: Key, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        lose(py, core, key, describe(&*panic));
    }
}

/// Runs a callback for the interpreter: errors are raised, a panic ends the connection at `key` and raises.
pub(crate) fn guard(
    py: Python<'_>,
    core: &std::rc::Rc<Core>,
    key: Key,
    work: impl FnOnce() -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            error.restore(py);
            ptr::null_mut()
        }
        Err(panic) => {
            lose(py, core, key, describe(&*panic));
            PyRuntimeError::new_err("swell: internal error, please report").restore(py);
            ptr::null_mut()
        }
    }
}

fn lose(py: Python<'_>, core: &std::rc::Rc<Core>, key: Key, cause: &str) {
    let text = format!("internal error, please report: {cause}; one connection was ended");
    core.with(|inner| {
        inner.stats.engine_faults += 1;
        inner.board.iter().for_each(Board::end_step);
        inner.wakes.push(Wake::Report { level: level::ERROR, text, error: None });
        lifecycle::lose(inner, key, true);
    });
    core.settle(py);
}
