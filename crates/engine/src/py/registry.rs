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

/// What `add` and the weak references' callback work on.
#[pyclass(frozen, module = "swell._core")]
struct Members {
    data: Py<PySet>,
    /// Iterations under way: removals wait until they are over, which the set's own method sees to.
    iterating: Py<PySet>,
    remove: Py<PyAny>,
    /// Called when a task dies.
    forget: std::sync::OnceLock<Py<PyAny>>,
}

impl Registry {
    /// None when the register is not the class that this is written for.
    pub(crate) fn find(py: Python<'_>) -> Option<Self> {
        let set = py.import("_asyncio").ok()?.getattr("_all_tasks").ok()?;
        let kind = set.get_type();
        if !kind.is(py.import("weakref").ok()?.getattr("WeakSet").ok()?) {
            return None;
        }
        let members = Bound::new(
            py,
            Members {
                data: set.getattr("data").ok()?.cast_into().ok()?.unbind(),
                iterating: set.getattr("_iterating").ok()?.cast_into().ok()?.unbind(),
                remove: set.getattr("_remove").ok()?.unbind(),
                forget: std::sync::OnceLock::new(),
            },
        )
        .ok()?;
        let forget_function = function(py, c"forget", forget, members.as_any()).ok()?;
        members.get().forget.set(forget_function.unbind()).ok()?;
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

/// A native function of one argument whose `self` is the members.
fn function<'py>(
    py: Python<'py>,
    name: &'static std::ffi::CStr,
    body: ffi::PyCFunction,
    members: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: body },
        ml_flags: ffi::METH_O,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition lives as long as the process; the function keeps its own reference to the members.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition, members.as_ptr(), ptr::null_mut());
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
        let forget = members.forget.get().map_or(ptr::null_mut(), Py::as_ptr);
        let reference = ffi::PyWeakref_NewRef(task, forget);
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
unsafe extern "C" fn forget(members: *mut ffi::PyObject, reference: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with the GIL held and `self` as given above.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, members);
        let members = object.cast_unchecked::<Members>().get();
        if ffi::PySet_Size(members.iterating.as_ptr()) > 0 {
            return ffi::PyObject_CallOneArg(members.remove.as_ptr(), reference);
        }
        if ffi::PySet_Discard(members.data.as_ptr(), reference) < 0 {
            return ptr::null_mut();
        }
        ffi::Py_NewRef(ffi::Py_None())
    }
}
