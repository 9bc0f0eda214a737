//! Starting the application as a real `asyncio.Task` that runs its first step at once.
//!
//! From 3.12.5 on asyncio does that itself (`eager_start=True`). Before, the task's constructor hands its first step
//! to `loop.call_soon`; for the duration of the constructor call the loop *instance* carries a `call_soon` of ours
//! that keeps that one callback, which is then run in the task's context. Everything else about the task is
//! asyncio's own. A loop with a task factory, or `eager_start = off`, gets ordinary scheduling.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::rawtype::{self, slot};

pub(crate) struct Starter {
    task_type: Py<PyAny>,
    event_loop: Py<PyAny>,
    way: Way,
    /// Keyword names of the constructor call.
    keywords: Py<PyTuple>,
}

enum Way {
    /// The constructor runs the first step.
    Eager,
    /// We run the first step that the constructor scheduled.
    Captured { namespace: Py<PyDict>, capture: Py<PyAny> },
    /// The loop runs the first step on its next turn.
    Scheduled,
    /// `loop.create_task`, because the loop has a task factory.
    Factory,
}

#[repr(C)]
struct Capture {
    base: ffi::PyObject,
    /// The type of a C task's first step; other callbacks are passed on.
    wanted: *mut ffi::PyTypeObject,
    caught: *mut ffi::PyObject,
    /// The loop's own method, for everything else.
    real: *mut ffi::PyObject,
}

impl Starter {
    pub(crate) fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>, eager: bool) -> PyResult<Self> {
        let task_type = py.import("asyncio")?.getattr("Task")?;
        let has_factory = !event_loop.call_method0("get_task_factory")?.is_none();
        let version = py.version_info();
        let way = if has_factory {
            Way::Factory
        } else if !eager {
            Way::Scheduled
        } else if (version.major, version.minor, version.patch) >= (3, 12, 5) {
            Way::Eager
        } else {
            Self::captured(py, event_loop, &task_type)?
        };
        let names: &[&str] = match way {
            Way::Eager => &["loop", "context", "eager_start"],
            _ => &["loop", "context"],
        };
        let interned = names.iter().map(|name| pyo3::types::PyString::intern(py, name));
        let keywords = PyTuple::new(py, interned)?.unbind();
        Ok(Self { task_type: task_type.unbind(), event_loop: event_loop.clone().unbind(), way, keywords })
    }

    /// True when the first step is made before [`Self::start`] returns.
    pub(crate) fn is_eager(&self) -> bool {
        matches!(self.way, Way::Eager | Way::Captured { .. })
    }

    /// Which way tasks are started, for `swell doctor` and tests.
    pub(crate) fn describe(&self) -> &'static str {
        match self.way {
            Way::Eager => "eager",
            Way::Captured { .. } => "captured",
            Way::Scheduled => "scheduled",
            Way::Factory => "factory",
        }
    }

    /// Learns from a trial task what a first step looks like on this interpreter; falls back to scheduling.
    fn captured(py: Python<'_>, event_loop: &Bound<'_, PyAny>, task_type: &Bound<'_, PyAny>) -> PyResult<Way> {
        let Ok(namespace) = event_loop.getattr("__dict__").and_then(|dict| Ok(dict.cast_into::<PyDict>()?)) else {
            return Ok(Way::Scheduled);
        };
        let call_soon = event_loop.getattr("call_soon")?;
        let capture = new_capture(py, call_soon.clone().unbind())?;
        let coroutine = {
            let scope = PyDict::new(py);
            py.run(c"async def trial():\n    pass\ncoroutine = trial()\n", Some(&scope), Some(&scope))?;
            scope.get_item("coroutine")?.ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("no trial task"))?
        };
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        namespace.set_item("call_soon", capture.bind(py))?;
        let task = task_type.call((&coroutine,), Some(&options));
        namespace.del_item("call_soon")?;
        task?;
        // SAFETY: `capture` is a live Capture and the GIL is held; with `wanted` null it keeps any callback.
        let first_step = unsafe {
            let this = capture.as_ptr().cast::<Capture>();
            Bound::from_owned_ptr_or_opt(py, std::mem::replace(&mut (*this).caught, ptr::null_mut()))
        };
        let Some(first_step) = first_step else {
            // Not a C task, or a loop that does not look up `call_soon` on its instance: the trial is scheduled.
            return Ok(Way::Scheduled);
        };
        // SAFETY: as above; types of the interpreter live as long as it does.
        unsafe { (*capture.as_ptr().cast::<Capture>()).wanted = ffi::Py_TYPE(first_step.as_ptr()) };
        // The engine is made inside a task, where another cannot be stepped: the trial ends with the loop's next turn.
        call_soon.call1((first_step,))?;
        Ok(Way::Captured { namespace: namespace.unbind(), capture })
    }

    /// Makes the task of `coroutine` in `context` and runs its first step where possible.
    ///
    /// # Errors
    /// What the constructor raises, and `KeyboardInterrupt` or `SystemExit` from the first step. Other exceptions of
    /// the coroutine stay in the task.
    #[inline]
    pub(crate) fn start<'py>(
        &self,
        coroutine: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        if let Way::Factory = self.way {
            let options = PyDict::new(py);
            options.set_item("context", context)?;
            return self.event_loop.bind(py).call_method("create_task", (coroutine,), Some(&options));
        }
        if let Way::Captured { namespace, capture } = &self.way {
            return self.start_captured(coroutine, context, namespace.bind(py), capture);
        }
        self.construct(coroutine, context)
    }

    #[inline]
    fn construct<'py>(
        &self,
        coroutine: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        // SAFETY: all objects are alive; the number of values matches the keyword names (three for `Eager`).
        unsafe {
            let arguments = [coroutine.as_ptr(), self.event_loop.as_ptr(), context.as_ptr(), ffi::Py_True()];
            let task =
                ffi::PyObject_Vectorcall(self.task_type.as_ptr(), arguments.as_ptr(), 1, self.keywords.as_ptr());
            Bound::from_owned_ptr_or_err(py, task)
        }
    }

    #[inline]
    fn start_captured<'py>(
        &self,
        coroutine: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        namespace: &Bound<'py, PyDict>,
        capture: &Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let name = pyo3::intern!(py, "call_soon");
        // Something else may carry a `call_soon` of its own on the instance (a debugger): it is put back.
        let before = namespace.get_item(name)?;
        namespace.set_item(name, capture.bind(py))?;
        let task = self.construct(coroutine, context);
        match &before {
            None => namespace.del_item(name)?,
            Some(before) => namespace.set_item(name, before)?,
        }
        // SAFETY: `capture` is a live Capture and the GIL is held.
        let first_step = unsafe {
            let this = capture.as_ptr().cast::<Capture>();
            Bound::from_owned_ptr_or_opt(py, std::mem::replace(&mut (*this).caught, ptr::null_mut()))
        };
        let task = task?;
        if let Some(first_step) = first_step {
            // SAFETY: the context is a fresh copy that nobody has entered; exit follows enter.
            unsafe {
                if ffi::PyContext_Enter(context.as_ptr()) < 0 {
                    return Err(PyErr::fetch(py));
                }
                let result = ffi::PyObject_CallNoArgs(first_step.as_ptr());
                let failed = result.is_null().then(|| PyErr::fetch(py));
                ffi::Py_XDECREF(result);
                ffi::PyContext_Exit(context.as_ptr());
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        }
        Ok(task)
    }
}

struct CaptureType(UnsafeCell<*mut ffi::PyTypeObject>);

// SAFETY: written once at import with the GIL held, read with the GIL held.
unsafe impl Sync for CaptureType {}

static CAPTURE: CaptureType = CaptureType(UnsafeCell::new(ptr::null_mut()));

/// Makes the type; called when the module is imported.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let mut slots = vec![
        slot(ffi::Py_tp_dealloc, capture_deallocate as *mut c_void),
        slot(ffi::Py_tp_call, capture_call as *mut c_void),
    ];
    let of = rawtype::make(py, c"swell._core.Capture", size_of::<Capture>(), 0, &mut slots)?;
    // SAFETY: the GIL is held (`py`), before any use.
    unsafe { *CAPTURE.0.get() = of };
    Ok(())
}

fn new_capture(py: Python<'_>, real: Py<PyAny>) -> PyResult<Py<PyAny>> {
    // SAFETY: the type was made at import; a fresh object's fields are zeroed, then written.
    unsafe {
        let object = ffi::PyType_GenericAlloc(*CAPTURE.0.get(), 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (*object.cast::<Capture>()).real = real.into_ptr();
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

unsafe extern "C" fn capture_call(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a Capture, a tuple and a dict or null.
    unsafe {
        let this = object.cast::<Capture>();
        let callback =
            if ffi::PyTuple_GET_SIZE(arguments) == 1 { ffi::PyTuple_GET_ITEM(arguments, 0) } else { ptr::null_mut() };
        let expected = (*this).wanted.is_null() || (!callback.is_null() && ffi::Py_TYPE(callback) == (*this).wanted);
        if !callback.is_null() && (*this).caught.is_null() && expected {
            (*this).caught = ffi::Py_NewRef(callback);
            return ffi::Py_NewRef(ffi::Py_None());
        }
        ffi::PyObject_Call((*this).real, arguments, keywords)
    }
}

unsafe extern "C" fn capture_deallocate(object: *mut ffi::PyObject) {
    // SAFETY: called once, by the interpreter; the fields are owned references or null.
    unsafe {
        let this = object.cast::<Capture>();
        ffi::Py_XDECREF((*this).caught);
        ffi::Py_XDECREF((*this).real);
        let of = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(of.cast());
    }
}
