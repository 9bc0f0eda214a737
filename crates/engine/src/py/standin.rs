//! Native functions that stand in for methods of one object while the engine starts tasks.
//!
//! A task's constructor calls Python methods of the loop and of asyncio's register. Where the *instance* carries an
//! attribute of that name, it is called instead; it does the same or passes on, and is taken away when the turn ends.
//! Nobody else's class or object is changed.

use std::cell::Cell;
use std::ffi::{c_int, CStr};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

pub(crate) struct StandIn {
    /// The instance's `__dict__`.
    namespace: Py<PyDict>,
    key: Py<PyString>,
    function: Py<PyAny>,
    /// What the instance had under that name (a debugger's), put back afterwards.
    before: Cell<Option<Py<PyAny>>>,
}

impl StandIn {
    /// `function` for the method `name` of `object`. None when the object has no dict.
    pub(crate) fn new(object: &Bound<'_, PyAny>, name: &str, function: Bound<'_, PyAny>) -> Option<Self> {
        Some(Self {
            namespace: namespace(object)?.unbind(),
            key: PyString::intern(object.py(), name).unbind(),
            function: function.unbind(),
            before: Cell::new(None),
        })
    }

    pub(crate) fn install(&self, py: Python<'_>) -> PyResult<()> {
        let namespace = self.namespace.bind(py);
        self.before.set(namespace.get_item(self.key.bind(py))?.map(Bound::unbind));
        namespace.set_item(self.key.bind(py), self.function.bind(py))
    }

    pub(crate) fn remove(&self, py: Python<'_>) -> PyResult<()> {
        let namespace = self.namespace.bind(py);
        match self.before.take() {
            Some(before) => namespace.set_item(self.key.bind(py), before),
            None => namespace.del_item(self.key.bind(py)),
        }
    }
}

/// The `__dict__` of an instance.
pub(crate) fn namespace<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    object.getattr("__dict__").ok()?.cast_into().ok()
}

/// A native function with the given `self`, which it keeps.
pub(crate) fn function<'py>(
    name: &'static CStr,
    body: ffi::PyMethodDefPointer,
    flags: c_int,
    itself: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: body,
        ml_flags: flags,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition lives as long as the process; the function keeps its own reference to `itself`.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition, itself.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(itself.py(), function)
    }
}
