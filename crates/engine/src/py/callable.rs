//! The `send` and `receive` that an application is called with, and the engine's own callbacks.
//!
//! One raw type with a vectorcall entry per role: calling it makes no bound method, no argument tuple and no Python
//! frame. It links to one exchange by key and serial number and never keeps it alive.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::rc::Rc;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::rawtype::{self, slot, FreeList};
use crate::core::Core;
use crate::io::slots::Key;

/// Which exchange a Python object belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) key: Key,
    pub(crate) serial: u32,
    /// It is a WebSocket's: those do not count as running requests.
    pub(crate) websocket: bool,
}

/// What a role does when it is called with positional arguments.
pub(crate) type Action = fn(Python<'_>, &Rc<Core>, Link, &[*mut ffi::PyObject]) -> PyResult<*mut ffi::PyObject>;

#[repr(C)]
struct Callable {
    base: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    action: Action,
    core: Option<Rc<Core>>,
    link: Link,
}

struct Shared {
    of: *mut ffi::PyTypeObject,
    free: FreeList<128>,
}

struct Guarded(UnsafeCell<Shared>);

// SAFETY: only touched with the GIL held, and never across a call that can run Python.
unsafe impl Sync for Guarded {}

static SHARED: Guarded = Guarded(UnsafeCell::new(Shared { of: ptr::null_mut(), free: FreeList::new() }));

/// Makes the type; called when the module is imported.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let members = Box::leak(Box::new([
        ffi::PyMemberDef {
            name: c"__vectorcalloffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: mem::offset_of!(Callable, vectorcall) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        },
        ffi::PyMemberDef { name: ptr::null(), type_code: 0, offset: 0, flags: 0, doc: ptr::null() },
    ]));
    let mut slots = vec![
        slot(ffi::Py_tp_dealloc, deallocate as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
    ];
    let of =
        rawtype::make(py, c"swell._core.Channel", size_of::<Callable>(), ffi::Py_TPFLAGS_HAVE_VECTORCALL, &mut slots)?;
    // SAFETY: the GIL is held (`py`), and this runs before any instance exists.
    unsafe { (*SHARED.0.get()).of = of };
    Ok(())
}

/// A new callable that runs `action` for the exchange at `link`.
#[inline]
pub(crate) fn new<'py>(py: Python<'py>, core: &Rc<Core>, link: Link, action: Action) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the GIL is held (`py`); allocation from the list runs no Python; every field is written before the
    // object is seen by anyone.
    unsafe {
        let shared = &mut *SHARED.0.get();
        let object: *mut Callable = shared.free.allocate(shared.of);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (&raw mut (*object).vectorcall).write(Some(call));
        (&raw mut (*object).action).write(action);
        (&raw mut (*object).core).write(Some(Rc::clone(core)));
        (&raw mut (*object).link).write(link);
        Ok(Bound::from_owned_ptr(py, object.cast()))
    }
}

unsafe extern "C" fn call(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    flags: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the GIL held, with an instance of our type and valid arguments.
    let (this, arguments) = unsafe {
        let count = ffi::PyVectorcall_NARGS(flags) as usize;
        let arguments = if count == 0 { &[][..] } else { std::slice::from_raw_parts(arguments, count) };
        (&*callable.cast::<Callable>(), arguments)
    };
    // PyO3 has to know that the GIL is held: otherwise it puts aside what is dropped in here until its next call.
    Python::attach(|py| {
        // SAFETY: a keyword tuple, when there is one, is a tuple.
        if !keywords.is_null() && unsafe { ffi::PyTuple_GET_SIZE(keywords) } > 0 {
            PyTypeError::new_err("this callable takes no keyword arguments").restore(py);
            return ptr::null_mut();
        }
        let Some(core) = this.core.as_ref() else {
            return ptr::null_mut();
        };
        // The action may drop the last reference to this object; it works on its own handle.
        let (core, link, action) = (Rc::clone(core), this.link, this.action);
        crate::fault::guard(py, &core, link.key, || {
            core.read_clock();
            action(py, &core, link, arguments)
        })
    })
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: called once, by the interpreter, on an instance of our type with the GIL held. The core is taken out
    // first, because dropping the last handle to it can run Python.
    unsafe {
        let core = (*object.cast::<Callable>()).core.take();
        (*SHARED.0.get()).free.release(object);
        drop(core);
    }
}

/// The single positional argument of a call.
pub(crate) fn one_argument(name: &str, arguments: &[*mut ffi::PyObject]) -> PyResult<*mut ffi::PyObject> {
    match arguments {
        [argument] => Ok(*argument),
        _ => Err(PyTypeError::new_err(format!("{name}() takes exactly one argument ({} given)", arguments.len()))),
    }
}

/// Refuses a call with arguments.
pub(crate) fn no_argument(name: &str, arguments: &[*mut ffi::PyObject]) -> PyResult<()> {
    match arguments {
        [] => Ok(()),
        _ => Err(PyTypeError::new_err(format!("{name}() takes no arguments ({} given)", arguments.len()))),
    }
}
