//! Making heap types from slots, and instances of them from a small free list.

use std::ffi::{c_int, c_void, CStr};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// A slot of a type specification.
pub(crate) fn slot(id: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: id, pfunc: function }
}

/// Makes an immutable heap type. The result lives as long as the process.
pub(crate) fn make(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    extra_flags: std::ffi::c_ulong,
    slots: &mut Vec<ffi::PyType_Slot>,
) -> PyResult<*mut ffi::PyTypeObject> {
    slots.push(ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() });
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: (flags | extra_flags) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete and zero-terminated; name and functions live for the whole process.
    let object = unsafe { ffi::PyType_FromSpec(&mut spec) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    Ok(object.cast())
}

/// Freed instances of one type, kept for the next request. The GIL guards it.
pub(crate) struct FreeList<const N: usize> {
    kept: [*mut ffi::PyObject; N],
    count: usize,
}

impl<const N: usize> FreeList<N> {
    pub(crate) const fn new() -> Self {
        Self { kept: [ptr::null_mut(); N], count: 0 }
    }

    /// Memory for one instance with its object header initialised; the rest is uninitialised.
    ///
    /// # Safety
    /// The GIL is held and `of` is the one type this list serves.
    #[inline]
    pub(crate) unsafe fn allocate<T>(&mut self, of: *mut ffi::PyTypeObject) -> *mut T {
        let memory = if self.count > 0 {
            self.count -= 1;
            self.kept[self.count]
        } else {
            // SAFETY: plain allocation; checked for null below.
            unsafe { ffi::PyObject_Malloc(size_of::<T>()) }.cast()
        };
        if memory.is_null() {
            // SAFETY: the GIL is held.
            unsafe { ffi::PyErr_NoMemory() };
            return ptr::null_mut();
        }
        // SAFETY: the memory is large enough for an instance of `of`.
        unsafe { ffi::PyObject_Init(memory, of) }.cast()
    }

    /// Takes the memory of a dead instance and drops its reference to the type.
    ///
    /// # Safety
    /// The GIL is held; the instance came from `allocate` and its fields are already dropped.
    #[inline]
    pub(crate) unsafe fn release(&mut self, object: *mut ffi::PyObject) {
        // SAFETY: an instance of a heap type owns a reference to it.
        unsafe {
            let of = ffi::Py_TYPE(object);
            if self.count < N {
                self.kept[self.count] = object;
                self.count += 1;
            } else {
                ffi::PyObject_Free(object.cast());
            }
            ffi::Py_DECREF(of.cast());
        }
    }
}
