//! Starting the application as a real `asyncio.Task` that runs its first step at once.
//!
//! From 3.12.5 on asyncio does that itself (`eager_start=True`). Before, the first step is caught on its way to the loop
//! (`captured.rs`) and run in the task's context. Everything else about the task is asyncio's own. A loop with a task
//! factory, or `eager_start = off`, gets ordinary scheduling.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::captured::{self, in_context, Captured};
use super::registry;
use super::standin::StandIn;

pub(crate) struct Starter {
    task_type: Py<PyAny>,
    /// The methods of that type: looking them up for each task costs more than calling them.
    done: Py<PyAny>,
    exception: Py<PyAny>,
    event_loop: Py<PyAny>,
    /// The lifespan's context: tasks get copies.
    context: Py<PyAny>,
    way: Way,
    /// Installed while tasks are started.
    stand_ins: Vec<StandIn>,
    /// Keyword arguments of the constructor. One dict, reused: the interpreter would otherwise build one per task.
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

impl Starter {
    pub(crate) fn new(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        context: Py<PyAny>,
        eager: bool,
    ) -> PyResult<Self> {
        let task_type = py.import("asyncio")?.getattr("Task")?;
        let has_factory = !event_loop.call_method0("get_task_factory")?.is_none();
        let version = py.version_info();
        let mut stand_ins = Vec::new();
        let way = if has_factory {
            Way::Factory
        } else if !eager {
            Way::Scheduled
        } else if (version.major, version.minor, version.patch) >= (3, 12, 5) {
            stand_ins.extend(captured::debug_flag(event_loop)?);
            Way::Eager
        } else if let Some((captured, call_soon)) = Captured::try_new(py, event_loop, &task_type)? {
            stand_ins.push(call_soon);
            stand_ins.extend(captured::debug_flag(event_loop)?);
            stand_ins.extend(registry::stand_in(py));
            Way::Captured(captured)
        } else {
            Way::Scheduled
        };
        let options = PyDict::new(py);
        options.set_item("loop", event_loop)?;
        match way {
            Way::Eager => options.set_item("eager_start", true)?,
            // These versions would format "Task-N" for each: 5 % of a small request's own time.
            Way::Captured(_) => options.set_item("name", "swell request")?,
            Way::Scheduled | Way::Factory => {}
        }
        Ok(Self {
            done: task_type.getattr("done")?.unbind(),
            exception: task_type.getattr("exception")?.unbind(),
            task_type: task_type.unbind(),
            event_loop: event_loop.clone().unbind(),
            context,
            way,
            stand_ins,
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
        for (at, stand_in) in self.stand_ins.iter().enumerate() {
            if let Err(error) = stand_in.install(py) {
                for installed in &self.stand_ins[..at] {
                    installed.remove(py)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Leaves loop and register as they were.
    pub(crate) fn rest(&self, py: Python<'_>) -> PyResult<()> {
        self.stand_ins.iter().try_for_each(|stand_in| stand_in.remove(py))
    }

    /// Makes the task of `coroutine` in a copy of the lifespan's context and runs its first step where possible.
    ///
    /// # Errors
    /// What the constructor raises, and `KeyboardInterrupt` or `SystemExit` from the first step. Other exceptions of
    /// the coroutine stay in the task.
    #[inline]
    pub(crate) fn start<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let context = self.context.bind(py);
        match &self.way {
            // A task that is given no context copies the current one: an argument less to pass. Nobody runs in the
            // lifespan's context then: its only task is not inside of a turn.
            Way::Captured(captured) => captured.start(py, || in_context(context, || self.construct(coroutine))),
            Way::Factory => {
                let options = PyDict::new(py);
                options.set_item(&self.context_key, copy(context)?)?;
                self.event_loop.bind(py).call_method("create_task", (coroutine,), Some(&options))
            }
            // The first step runs inside of the constructor: the lifespan's context must not be entered meanwhile.
            Way::Eager | Way::Scheduled => {
                let options = self.options.bind(py);
                options.set_item(self.context_key.bind(py), copy(context)?)?;
                let task = self.construct(coroutine);
                // The dict must not keep the request's context alive.
                options.del_item(self.context_key.bind(py))?;
                task
            }
        }
    }

    /// `task.done()`.
    #[inline]
    pub(crate) fn is_done(&self, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.is_plain(task) {
            call(&self.done, task)?.is_truthy()
        } else {
            task.call_method0("done")?.is_truthy()
        }
    }

    /// `task.exception()`.
    #[inline]
    pub(crate) fn exception<'py>(&self, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_plain(task) {
            call(&self.exception, task)
        } else {
            task.call_method0("exception")
        }
    }

    /// A task factory may have made a task of another type.
    #[inline]
    fn is_plain(&self, task: &Bound<'_, PyAny>) -> bool {
        task.get_type().as_ptr() == self.task_type.as_ptr()
    }

    #[inline]
    fn construct<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        // SAFETY: all objects are alive; the tuple takes its own reference to the coroutine.
        unsafe {
            let arguments = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_Pack(1, coroutine.as_ptr()))?;
            let task = ffi::PyObject_Call(self.task_type.as_ptr(), arguments.as_ptr(), self.options.as_ptr());
            Bound::from_owned_ptr_or_err(py, task)
        }
    }
}

#[inline]
fn call<'py>(method: &Py<PyAny>, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are alive.
    unsafe { Bound::from_owned_ptr_or_err(task.py(), ffi::PyObject_CallOneArg(method.as_ptr(), task.as_ptr())) }
}

fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the lifespan's context is a context object.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}
