//! Starting the application as a real `asyncio.Task` that runs its first step at once.
//!
//! From 3.12.5 on asyncio does that itself (`eager_start=True`). Before, the task's constructor hands its first step
//! to `loop.call_soon`; while the engine starts tasks the loop *instance* carries a `call_soon` of ours that keeps that
//! one callback, which is then run in the task's context, and passes everything else on. Everything else about the task
//! is asyncio's own. A loop with a task factory, or `eager_start = off`, gets ordinary scheduling.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::registry::Registry;

pub(crate) struct Starter {
    task_type: Py<PyAny>,
    event_loop: Py<PyAny>,
    way: Way,
    /// Keyword arguments of the constructor; `context` is set for each call. One dict, reused: the interpreter would
    /// otherwise build one per task.
    options: Py<PyDict>,
    context_key: Py<PyString>,
}

enum Way {
    /// The constructor runs the first step.
    Eager,
    /// We run the first step that the constructor scheduled.
    Captured(Captured),
    /// The loop runs the first step on its next turn.
    Scheduled,
    /// `loop.create_task`, because the loop has a task factory.
    Factory,
}

struct Captured {
    /// The loop instance's `__dict__`.
    namespace: Py<PyDict>,
    key: Py<PyString>,
    /// Our `call_soon` and what it keeps.
    function: Py<PyAny>,
    catcher: Py<Catcher>,
    registry: Option<Registry>,
    /// A `call_soon` that the instance had before (a debugger's), put back afterwards.
    before: Cell<Option<Py<PyAny>>>,
}

/// What our `call_soon` needs to know.
#[pyclass(frozen, module = "swell._core")]
struct Catcher {
    /// The type of a C task's first step; other callbacks are passed on. Null during the trial: anything is kept.
    wanted: Cell<*mut ffi::PyTypeObject>,
    /// A task's constructor is running.
    catching: Cell<bool>,
    caught: Cell<Option<Py<PyAny>>>,
    /// The loop's own method.
    real: Py<PyAny>,
}

// SAFETY: only touched with the GIL held; the cells are never borrowed across a call.
unsafe impl Send for Catcher {}
// SAFETY: as above.
unsafe impl Sync for Catcher {}

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
            Captured::try_new(py, event_loop, &task_type)?.map_or(Way::Scheduled, Way::Captured)
        };
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        options.set_item("context", py.None())?;
        match way {
            Way::Eager => options.set_item("eager_start", true)?,
            // These versions would format "Task-N" for each: 5 % of a small request's own time.
            Way::Captured(_) => options.set_item("name", "swell request")?,
            Way::Scheduled | Way::Factory => {}
        }
        Ok(Self {
            task_type: task_type.unbind(),
            event_loop: event_loop.clone().unbind(),
            way,
            options: options.unbind(),
            context_key: PyString::intern(py, "context").unbind(),
        })
    }

    /// True when the first step is made before [`Self::start`] returns.
    pub(crate) fn is_eager(&self) -> bool {
        matches!(self.way, Way::Eager | Way::Captured { .. })
    }

    /// Which way tasks are started, for `swell doctor` and tests.
    pub(crate) fn describe(&self) -> &'static str {
        match self.way {
            Way::Eager => "eager",
            Way::Captured(_) => "captured",
            Way::Scheduled => "scheduled",
            Way::Factory => "factory",
        }
    }

    /// To be called before tasks are started in a turn; [`Starter::rest`] follows.
    pub(crate) fn prepare(&self, py: Python<'_>) -> PyResult<()> {
        match &self.way {
            Way::Captured(captured) => captured.install(py),
            _ => Ok(()),
        }
    }

    /// Leaves the loop as it was.
    pub(crate) fn rest(&self, py: Python<'_>) -> PyResult<()> {
        match &self.way {
            Way::Captured(captured) => captured.remove(py),
            _ => Ok(()),
        }
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
        match &self.way {
            Way::Captured(captured) => {
                let catcher = captured.catcher.get();
                catcher.catching.set(true);
                let task = self.construct(coroutine, context);
                catcher.catching.set(false);
                let first_step = catcher.caught.take();
                let task = task?;
                if let Some(first_step) = first_step {
                    run_in(first_step.bind(py), context)?;
                }
                Ok(task)
            }
            Way::Factory => {
                let options = PyDict::new(py);
                options.set_item(&self.context_key, context)?;
                self.event_loop.bind(py).call_method("create_task", (coroutine,), Some(&options))
            }
            Way::Eager | Way::Scheduled => self.construct(coroutine, context),
        }
    }

    #[inline]
    fn construct<'py>(
        &self,
        coroutine: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let options = self.options.bind(py);
        options.set_item(self.context_key.bind(py), context)?;
        // SAFETY: all objects are alive; the tuple takes its own reference to the coroutine.
        let task = unsafe {
            let arguments = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_Pack(1, coroutine.as_ptr()))?;
            let task = ffi::PyObject_Call(self.task_type.as_ptr(), arguments.as_ptr(), options.as_ptr());
            Bound::from_owned_ptr_or_err(py, task)
        };
        // The dict must not keep the request's context alive.
        options.set_item(self.context_key.bind(py), py.None())?;
        task
    }
}

/// Calls `step` in `context`, as the loop would.
fn run_in(step: &Bound<'_, PyAny>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: the context is a fresh copy that nobody has entered; exit follows enter.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            return Err(PyErr::fetch(step.py()));
        }
        let result = step.call0();
        ffi::PyContext_Exit(context.as_ptr());
        result.map(drop)
    }
}

impl Captured {
    /// Learns from a trial task what a first step looks like on this interpreter. None where it cannot be caught: no
    /// C tasks, or a loop that does not look up `call_soon` on its instance; the trial is then scheduled.
    fn try_new(py: Python<'_>, event_loop: &Bound<'_, PyAny>, task_type: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let Ok(namespace) = event_loop.getattr("__dict__").and_then(|dict| Ok(dict.cast_into::<PyDict>()?)) else {
            return Ok(None);
        };
        let call_soon = event_loop.getattr("call_soon")?;
        let catcher = Bound::new(
            py,
            Catcher {
                wanted: Cell::new(ptr::null_mut()),
                catching: Cell::new(true),
                caught: Cell::new(None),
                real: call_soon.clone().unbind(),
            },
        )?;
        let function = function(py, catcher.as_any())?;
        let captured = Self {
            namespace: namespace.unbind(),
            key: PyString::intern(py, "call_soon").unbind(),
            function: function.unbind(),
            catcher: catcher.unbind(),
            registry: Registry::find(py),
            before: Cell::new(None),
        };
        let scope = PyDict::new(py);
        py.run(c"async def trial():\n    pass\ncoroutine = trial()\n", Some(&scope), Some(&scope))?;
        let coroutine =
            scope.get_item("coroutine")?.ok_or_else(|| PyRuntimeError::new_err("there is no trial coroutine"))?;
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        captured.install(py)?;
        let task = task_type.call((&coroutine,), Some(&options));
        captured.remove(py)?;
        task?;
        let catcher = captured.catcher.get();
        catcher.catching.set(false);
        let Some(first_step) = catcher.caught.take() else { return Ok(None) };
        catcher.wanted.set(first_step.bind(py).get_type().as_type_ptr());
        // The engine is made inside a task, where another cannot be stepped: the trial ends with the loop's next turn.
        call_soon.call1((first_step,))?;
        Ok(Some(captured))
    }

    fn install(&self, py: Python<'_>) -> PyResult<()> {
        let namespace = self.namespace.bind(py);
        self.before.set(namespace.get_item(self.key.bind(py))?.map(Bound::unbind));
        namespace.set_item(self.key.bind(py), self.function.bind(py))?;
        match &self.registry {
            Some(registry) => registry.install(py),
            None => Ok(()),
        }
    }

    fn remove(&self, py: Python<'_>) -> PyResult<()> {
        let namespace = self.namespace.bind(py);
        match self.before.take() {
            Some(before) => namespace.set_item(self.key.bind(py), before)?,
            None => namespace.del_item(self.key.bind(py))?,
        }
        match &self.registry {
            Some(registry) => registry.remove(py),
            None => Ok(()),
        }
    }
}

/// `call_soon` as a native function whose `self` is the catcher.
fn function<'py>(py: Python<'py>, catcher: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"call_soon".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call_soon },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition lives as long as the process; the function keeps its own reference to the catcher.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition, catcher.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, function)
    }
}

unsafe extern "C" fn call_soon(
    catcher: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the GIL held and `self` as given above; a callback is the first argument.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, catcher);
        let catcher = object.cast_unchecked::<Catcher>().get();
        if count == 1 && catcher.catching.get() {
            let callback = *arguments;
            let wanted = catcher.wanted.get();
            if wanted.is_null() || ffi::Py_TYPE(callback) == wanted {
                catcher.catching.set(false);
                catcher.caught.set(Some(Bound::from_borrowed_ptr(py, callback).unbind()));
                return ffi::Py_NewRef(ffi::Py_None());
            }
        }
        ffi::PyObject_Vectorcall(catcher.real.as_ptr(), arguments, count as usize, keywords)
    }
}
