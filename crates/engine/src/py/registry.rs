//! A shorter way into asyncio's register of all tasks, on the interpreters where it is a Python class (before 3.12.5).
//!
//! `asyncio.all_tasks()` reads a `WeakSet`; registering and forgetting a task run a Python function each, a tenth of a small
//! request's own time. While the engine starts tasks, that set *instance* carries an `add` of ours that does the same
//! natively. The set, its contents and what others see of it are unchanged.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};

pub(crate) struct Registry {
    /// The set instance's `__dict__`.
    namespace: Py<PyDict>,
    key: Py<PyString>,
    add: Py<PyAny>,
}

/// What `add` works on.
#[pyclass(frozen, module = "swell._core")]
struct Members {
    data: Py<PySet>,
    /// Called when a task dies.
    forget: Py<PyAny>,
}

/// What the weak references' callback works on. Apart from [`Members`], which would else hold itself for ever.
#[pyclass(frozen, module = "swell._core")]
struct Departures {
    data: Py<PySet>,
    /// Iterations under way: removals wait until they are over, which the set's own method sees to.
    iterating: Py<PySet>,
    remove: Py<PyAny>,
}

impl Registry {
    /// None when the register is not the class that this is written for.
    pub(crate) fn find(py: Python<'_>) -> Option<Self> {
        let set = py.import("_asyncio").ok()?.getattr("_all_tasks").ok()?;
        let kind = set.get_type();
        if !kind.is(py.import("weakref").ok()?.getattr("WeakSet").ok()?) {
            return None;
        }
        let data: Py<PySet> = set.getattr("data").ok()?.cast_into().ok()?.unbind();
        let departures = Departures {
            data: data.clone_ref(py),
            iterating: set.getattr("_iterating").ok()?.cast_into().ok()?.unbind(),
            remove: set.getattr("_remove").ok()?.unbind(),
        };
        let forget = function(py, c"forget", forget, Bound::new(py, departures).ok()?.as_any()).ok()?.unbind();
        let members = Bound::new(py, Members { data, forget }).ok()?;
        Some(Self {
            namespace: set.getattr("__dict__").ok()?.cast_into().ok()?.unbind(),
            key: PyString::intern(py, "add").unbind(),
            add: function(py, c"add", add, members.as_any()).ok()?.unbind(),
        })
    }

    pub(crate) fn install(&self, py: Python<'_>) -> PyResult<()> {
        self.namespace.bind(py).set_item(self.key.bind(py), self.add.bind(py))
    }

    pub(crate) fn remove(&self, py: Python<'_>) -> PyResult<()> {
        self.namespace.bind(py).del_item(self.key.bind(py))
    }
}

/// A native function of one argument with the given `self`.
fn function<'py>(
    py: Python<'py>,
    name: &'static std::ffi::CStr,
    body: ffi::PyCFunction,
    itself: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: body },
        ml_flags: ffi::METH_O,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition lives as long as the process; the function keeps its own reference to `itself`.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition, itself.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, function)
    }
}

/// `WeakSet.add`.
unsafe extern "C" fn add(members: *mut ffi::PyObject, task: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with the GIL held and `self` as given above.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, members);
        let members = object.cast_unchecked::<Members>().get();
        let reference = ffi::PyWeakref_NewRef(task, members.forget.as_ptr());
        if reference.is_null() {
            return ptr::null_mut();
        }
        let failed = ffi::PySet_Add(members.data.as_ptr(), reference) < 0;
        ffi::Py_DECREF(reference);
        if failed {
            return ptr::null_mut();
        }
        ffi::Py_NewRef(ffi::Py_None())
    }
}

/// The callback of a weak reference whose task is gone.
unsafe extern "C" fn forget(departures: *mut ffi::PyObject, reference: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with the GIL held and `self` as given above.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, departures);
        let departures = object.cast_unchecked::<Departures>().get();
        if ffi::PySet_Size(departures.iterating.as_ptr()) > 0 {
            return ffi::PyObject_CallOneArg(departures.remove.as_ptr(), reference);
        }
        if ffi::PySet_Discard(departures.data.as_ptr(), reference) < 0 {
            return ptr::null_mut();
        }
        ffi::Py_NewRef(ffi::Py_None())
    }
}
