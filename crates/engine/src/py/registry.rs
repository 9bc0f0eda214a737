//! A shorter way into asyncio's register of all tasks, on the interpreters where it is a Python class (before 3.12.5).
//!
//! `asyncio.all_tasks()` reads a `WeakSet`; registering and forgetting a task run a Python function each, a tenth of a small
//! request's own time. While the engine starts tasks, that set *instance* carries an `add` of ours that does the same
//! natively. The set, its contents and what others see of it are unchanged.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::standin::{function, StandIn};

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

/// The stand-in for the register's `add`. None when the register is not the class that this is written for.
pub(crate) fn stand_in(py: Python<'_>) -> Option<StandIn> {
    let set = py.import("_asyncio").ok()?.getattr("_all_tasks").ok()?;
    if !set.get_type().is(py.import("weakref").ok()?.getattr("WeakSet").ok()?) {
        return None;
    }
    let data: Py<PySet> = set.getattr("data").ok()?.cast_into().ok()?.unbind();
    let departures = Departures {
        data: data.clone_ref(py),
        iterating: set.getattr("_iterating").ok()?.cast_into().ok()?.unbind(),
        remove: set.getattr("_remove").ok()?.unbind(),
    };
    let method = |name, body, itself: &Bound<'_, PyAny>| -> PyResult<Py<PyAny>> {
        let body = ffi::PyMethodDefPointer { PyCFunction: body };
        function(name, body, ffi::METH_O, itself).map(Bound::unbind)
    };
    let forget = method(c"forget", forget, Bound::new(py, departures).ok()?.as_any()).ok()?;
    let members = Bound::new(py, Members { data, forget }).ok()?;
    let add = method(c"add", add, members.as_any()).ok()?;
    StandIn::new(&set, "add", add.into_bound(py))
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
