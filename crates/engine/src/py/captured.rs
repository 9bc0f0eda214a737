//! The first step of a task, caught on its way to the loop: how tasks are started at once before Python 3.12.5.
//!
//! The constructor of a C task hands its first step to `loop.call_soon`. While the engine starts tasks, a native function
//! stands in for that method: it keeps the one callback that is wanted and passes everything else on.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::standin::{self, function, StandIn};

pub(crate) struct Captured {
    catcher: Py<Catcher>,
}

/// What our `call_soon` needs to know.
#[pyclass(frozen, module = "swell._core")]
struct Catcher {
    /// The type of a C task's first step; other callbacks are passed on. Null during the trial: anything is kept.
    wanted: Cell<*mut ffi::PyTypeObject>,
    /// A task's constructor is running.
    catching: Cell<bool>,
    caught: Cell<Option<FirstStep>>,
    /// The loop's own method.
    real: Py<PyAny>,
}

// SAFETY: only touched with the GIL held; the cells are never borrowed across a call.
unsafe impl Send for Catcher {}
// SAFETY: as above.
unsafe impl Sync for Catcher {}

/// A callback and the context to call it in.
struct FirstStep {
    callback: Py<PyAny>,
    context: Py<PyAny>,
}

impl Captured {
    /// Learns from a trial task what a first step looks like on this interpreter. Returns the stand-in that catches,
    /// too. None where it cannot be caught: no C tasks, or a loop that does not look up `call_soon` on its instance; the
    /// trial is then scheduled.
    pub(crate) fn try_new(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        task_type: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(Self, StandIn)>> {
        let real = event_loop.getattr("call_soon")?;
        let catcher = Bound::new(
            py,
            Catcher {
                wanted: Cell::new(ptr::null_mut()),
                catching: Cell::new(true),
                caught: Cell::new(None),
                real: real.clone().unbind(),
            },
        )?;
        let body = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call_soon };
        let method = function(c"call_soon", body, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, catcher.as_any())?;
        let Some(stand_in) = StandIn::new(event_loop, "call_soon", method) else { return Ok(None) };
        let scope = PyDict::new(py);
        py.run(c"async def trial():\n    pass\ncoroutine = trial()\n", Some(&scope), Some(&scope))?;
        let coroutine =
            scope.get_item("coroutine")?.ok_or_else(|| PyRuntimeError::new_err("there is no trial coroutine"))?;
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        stand_in.install(py)?;
        let task = task_type.call((&coroutine,), Some(&options));
        stand_in.remove(py)?;
        task?;
        catcher.get().catching.set(false);
        let Some(FirstStep { callback, context }) = catcher.get().caught.take() else { return Ok(None) };
        catcher.get().wanted.set(callback.bind(py).get_type().as_type_ptr());
        // The engine is made inside a task, where another cannot be stepped: the trial ends with the loop's next turn.
        let options = PyDict::new(py);
        options.set_item("context", context)?;
        real.call((callback,), Some(&options))?;
        Ok(Some((Self { catcher: catcher.unbind() }, stand_in)))
    }

    /// Runs `construct`, which makes a task, and then the task's first step.
    #[inline]
    pub(crate) fn start<'py>(
        &self,
        py: Python<'py>,
        construct: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let catcher = self.catcher.get();
        catcher.catching.set(true);
        let task = construct();
        catcher.catching.set(false);
        let first_step = catcher.caught.take();
        let task = task?;
        if let Some(FirstStep { callback, context }) = first_step {
            in_context(context.bind(py), || callback.bind(py).call0())?;
        }
        Ok(task)
    }
}

/// Runs `work` in a context in which nobody runs.
#[inline]
pub(crate) fn in_context<R>(context: &Bound<'_, PyAny>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    // SAFETY: the object is a context; exit follows enter.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            return Err(PyErr::fetch(context.py()));
        }
        let result = work();
        ffi::PyContext_Exit(context.as_ptr());
        result
    }
}

unsafe extern "C" fn call_soon(
    catcher: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the GIL held and `self` as given above; a callback is the first argument
    // and the values of keywords follow the positional ones. A task gives one keyword, its context.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, catcher);
        let catcher = object.cast_unchecked::<Catcher>().get();
        if count == 1 && catcher.catching.get() && !keywords.is_null() && ffi::PyTuple_GET_SIZE(keywords) == 1 {
            let (callback, context) = (*arguments, *arguments.add(1));
            let wanted = catcher.wanted.get();
            if (wanted.is_null() || ffi::Py_TYPE(callback) == wanted) && ffi::PyContext_CheckExact(context) != 0 {
                catcher.catching.set(false);
                catcher.caught.set(Some(FirstStep {
                    callback: Bound::from_borrowed_ptr(py, callback).unbind(),
                    context: Bound::from_borrowed_ptr(py, context).unbind(),
                }));
                return ffi::Py_NewRef(ffi::Py_None());
            }
        }
        ffi::PyObject_Vectorcall(catcher.real.as_ptr(), arguments, count as usize, keywords)
    }
}

/// The stand-in for `get_debug` of asyncio's own loops, which every constructor of a task calls: without a Python frame.
/// None for other loops.
pub(crate) fn debug_flag(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<StandIn>> {
    let py = event_loop.py();
    let known = py.import("asyncio")?.getattr("BaseEventLoop")?.getattr("get_debug")?;
    let namespace = standin::namespace(event_loop);
    match namespace {
        Some(namespace)
            if event_loop.get_type().getattr("get_debug")?.is(&known) && namespace.contains("_debug")? =>
        {
            let body = ffi::PyMethodDefPointer { PyCFunction: get_debug };
            let method = function(c"get_debug", body, ffi::METH_NOARGS, namespace.as_any())?;
            Ok(StandIn::new(event_loop, "get_debug", method))
        }
        _ => Ok(None),
    }
}

unsafe extern "C" fn get_debug(namespace: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the GIL held and `self` as given above, a dict.
    unsafe {
        let py = Python::assume_attached();
        let value = ffi::PyDict_GetItemWithError(namespace, pyo3::intern!(py, "_debug").as_ptr());
        if !value.is_null() {
            return ffi::Py_NewRef(value);
        }
        if ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_SetString(ffi::PyExc_AttributeError, c"_debug".as_ptr());
        }
        ptr::null_mut()
    }
}
