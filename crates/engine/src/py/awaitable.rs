//! What `send()` and `receive()` return.
//!
//! `Done` is one shared object whose first step ends at once: no allocation, no `StopIteration`. `Step` asks the
//! engine when it is awaited, not when it is made, so a `receive()` that is never awaited takes no message. Both
//! have `send`, `throw` and `close` and so pass as coroutines for `asyncio.create_task` and `wait_for`.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::callable::Link;
use super::rawtype::{self, slot, FreeList};
use crate::core::Core;

/// What the engine says when an awaitable is stepped.
pub(crate) enum Answer {
    /// The result, a new reference.
    Ready(*mut ffi::PyObject),
    /// Wait for this future, then ask again. Until then nothing is taken, so nothing is lost with a cancelled wait.
    Retry(Py<PyAny>),
}

/// What is asked when the awaitable is stepped for the first time.
pub(crate) type Ask = fn(Python<'_>, &Rc<Core>, Link) -> PyResult<Answer>;

enum State {
    Fresh(Question),
    /// The iterator of the future that is waited for, and what is asked when that is done.
    Waiting(Py<PyAny>, Option<Question>),
    Over,
}

struct Question {
    core: Rc<Core>,
    link: Link,
    ask: Ask,
}

#[repr(C)]
struct Step {
    base: ffi::PyObject,
    state: State,
}

struct Shared {
    step: *mut ffi::PyTypeObject,
    done: *mut ffi::PyObject,
    free: FreeList<128>,
}

struct Guarded(UnsafeCell<Shared>);

// SAFETY: only touched with the GIL held, and never across a call that can run Python.
unsafe impl Sync for Guarded {}

static SHARED: Guarded =
    Guarded(UnsafeCell::new(Shared { step: ptr::null_mut(), done: ptr::null_mut(), free: FreeList::new() }));

/// Makes the types; called when the module is imported.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let mut slots = vec![
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, done_next as *mut c_void),
        slot(ffi::Py_tp_methods, methods(done_send, done_throw, done_close)),
    ];
    let done = rawtype::make(py, c"swell._core.Done", size_of::<ffi::PyObject>(), 0, &mut slots)?;
    let mut slots = vec![
        slot(ffi::Py_tp_dealloc, step_deallocate as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, step_am_send as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, step_next as *mut c_void),
        slot(ffi::Py_tp_methods, methods(step_send, step_throw, step_close)),
    ];
    let step = rawtype::make(py, c"swell._core.Step", size_of::<Step>(), 0, &mut slots)?;
    // SAFETY: the GIL is held (`py`); the type is complete; the instance has no fields.
    unsafe {
        let instance = ffi::PyType_GenericAlloc(done, 0);
        if instance.is_null() {
            return Err(PyErr::fetch(py));
        }
        let shared = &mut *SHARED.0.get();
        shared.done = instance;
        shared.step = step;
    }
    Ok(())
}

fn methods(send: ffi::PyCFunction, throw: ffi::PyCFunction, close: ffi::PyCFunction) -> *mut c_void {
    let method = |name: &'static std::ffi::CStr, function, flags| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: ptr::null(),
    };
    Box::leak(Box::new([
        method(c"send", send, ffi::METH_O),
        method(c"throw", throw, ffi::METH_VARARGS),
        method(c"close", close, ffi::METH_NOARGS),
        ffi::PyMethodDef::zeroed(),
    ]))
    .as_mut_ptr()
    .cast()
}

/// A new reference to the shared awaitable that is already finished.
#[inline]
pub(crate) fn done() -> *mut ffi::PyObject {
    // SAFETY: made at import, never freed; callers hold the GIL.
    unsafe { ffi::Py_NewRef((*SHARED.0.get()).done) }
}

/// An awaitable that asks the engine when it is first stepped.
#[inline]
pub(crate) fn ask(py: Python<'_>, core: &Rc<Core>, link: Link, ask: Ask) -> PyResult<*mut ffi::PyObject> {
    new(py, State::Fresh(Question { core: Rc::clone(core), link, ask }))
}

/// An awaitable that waits for `future`.
pub(crate) fn wait(py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<*mut ffi::PyObject> {
    new(py, State::Waiting(iterator(future)?, None))
}

fn iterator(future: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    // An asyncio future's `__await__` iterator is its `__iter__`.
    Ok(future.try_iter()?.into_any().unbind())
}

#[inline]
fn new(py: Python<'_>, state: State) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: the GIL is held (`py`); allocation from the list runs no Python; the state is written before the
    // object is seen by anyone.
    unsafe {
        let shared = &mut *SHARED.0.get();
        let object: *mut Step = shared.free.allocate(shared.step);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (&raw mut (*object).state).write(state);
        Ok(object.cast())
    }
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a valid object.
    unsafe { ffi::Py_NewRef(object) }
}

/// NULL without an exception means "ended with None" to the interpreter.
unsafe extern "C" fn done_next(_: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ptr::null_mut()
}

unsafe extern "C" fn done_send(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter holds the GIL.
    unsafe { ffi::PyErr_SetNone(ffi::PyExc_StopIteration) };
    ptr::null_mut()
}

unsafe extern "C" fn done_throw(_: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    raise(arguments)
}

unsafe extern "C" fn done_close(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter holds the GIL.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

/// Raises what `throw(value)` or `throw(type, value, traceback)` was given.
fn raise(arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called from methods with METH_VARARGS: the GIL is held and `arguments` is a tuple.
    unsafe {
        let count = ffi::PyTuple_GET_SIZE(arguments);
        let first = if count > 0 { ffi::PyTuple_GET_ITEM(arguments, 0) } else { ptr::null_mut() };
        if first.is_null() {
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw() needs an exception".as_ptr());
        } else if ffi::PyExceptionInstance_Check(first) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(first).cast(), first);
        } else {
            let value = if count > 1 { ffi::PyTuple_GET_ITEM(arguments, 1) } else { ptr::null_mut() };
            ffi::PyErr_SetObject(first, value);
        }
    }
    ptr::null_mut()
}

enum Stepped {
    /// Something the task has to wait for: pass it up.
    Yielded(*mut ffi::PyObject),
    Returned(*mut ffi::PyObject),
    Raised,
}

/// # Safety
/// The GIL is held and `object` is a `Step`.
unsafe fn step(object: *mut ffi::PyObject) -> Stepped {
    // SAFETY: passed on. PyO3 has to know that the GIL is held, see `callable`.
    Python::attach(|py| unsafe { step_attached(py, object) })
}

/// # Safety
/// `object` is a `Step`.
unsafe fn step_attached(py: Python<'_>, object: *mut ffi::PyObject) -> Stepped {
    let this = object.cast::<Step>();
    // SAFETY: the object is alive and this is the only access to its state. It is taken out, so that whatever runs
    // below cannot see it half changed.
    let mut state = unsafe { std::mem::replace(&mut (*this).state, State::Over) };
    loop {
        let (waiting, retry) = match state {
            State::Over => {
                PyRuntimeError::new_err("cannot reuse an awaitable that was already awaited").restore(py);
                return Stepped::Raised;
            }
            State::Waiting(iterator, retry) => (iterator, retry),
            State::Fresh(question) => {
                let answer = (question.ask)(py, &question.core, question.link).and_then(|answer| match answer {
                    Answer::Ready(result) => Ok(Err(result)),
                    Answer::Retry(future) => Ok(Ok((iterator(&future.into_bound(py))?, Some(question)))),
                });
                match answer {
                    Ok(Ok(wait)) => wait,
                    Ok(Err(result)) => return Stepped::Returned(result),
                    Err(error) => {
                        error.restore(py);
                        return Stepped::Raised;
                    }
                }
            }
        };
        let mut result = ptr::null_mut();
        // SAFETY: the iterator is alive; the result is a new reference when the call says so.
        match unsafe { ffi::PyIter_Send(waiting.as_ptr(), ffi::Py_None(), &mut result) } {
            ffi::PySendResult::PYGEN_NEXT => {
                // SAFETY: the object is alive; its state is `Over` since above and drops without running anything.
                unsafe { (*this).state = State::Waiting(waiting, retry) };
                return Stepped::Yielded(result);
            }
            ffi::PySendResult::PYGEN_RETURN => match retry {
                None => return Stepped::Returned(result),
                Some(question) => {
                    // SAFETY: `result` is a new reference.
                    unsafe { ffi::Py_DECREF(result) };
                    state = State::Fresh(question);
                }
            },
            ffi::PySendResult::PYGEN_ERROR => return Stepped::Raised,
        }
    }
}

unsafe extern "C" fn step_am_send(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: called by the interpreter with a `Step` and a place for the result.
    unsafe {
        match step(object) {
            Stepped::Yielded(value) => {
                *result = value;
                ffi::PySendResult::PYGEN_NEXT
            }
            Stepped::Returned(value) => {
                *result = value;
                ffi::PySendResult::PYGEN_RETURN
            }
            Stepped::Raised => {
                *result = ptr::null_mut();
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

unsafe extern "C" fn step_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a `Step`.
    match unsafe { step(object) } {
        Stepped::Yielded(value) => value,
        Stepped::Raised => ptr::null_mut(),
        Stepped::Returned(value) => {
            // SAFETY: `value` is a new reference; a dict or None needs no wrapping in StopIteration.
            unsafe {
                ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value);
                ffi::Py_DECREF(value);
            }
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn step_send(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a `Step`.
    unsafe { step_next(object) }
}

unsafe extern "C" fn step_throw(object: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a `Step`; the state is taken out before anything runs.
    let (py, state) =
        unsafe { (Python::assume_attached(), std::mem::replace(&mut (*object.cast::<Step>()).state, State::Over)) };
    if let State::Waiting(iterator, retry) = state {
        // SAFETY: `arguments` is the tuple of the call.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) };
        let result = iterator.bind(py).getattr("throw").and_then(|throw| {
            arguments.cast_into::<pyo3::types::PyTuple>().map_err(PyErr::from).and_then(|all| throw.call1(all))
        });
        return match result {
            Ok(value) => {
                // SAFETY: the object is alive; the future caught the exception and is waited for further.
                unsafe { (*object.cast::<Step>()).state = State::Waiting(iterator, retry) };
                value.into_ptr()
            }
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        };
    }
    drop(state);
    raise(arguments)
}

unsafe extern "C" fn step_close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a `Step`; the state is taken out before it is dropped.
    unsafe {
        let state = std::mem::replace(&mut (*object.cast::<Step>()).state, State::Over);
        drop(state);
        ffi::Py_NewRef(ffi::Py_None())
    }
}

unsafe extern "C" fn step_deallocate(object: *mut ffi::PyObject) {
    // SAFETY: called once, by the interpreter, on a `Step` with the GIL held. The memory goes back before the state
    // is dropped, because dropping it can run Python.
    unsafe {
        let state = std::mem::replace(&mut (*object.cast::<Step>()).state, State::Over);
        (*SHARED.0.get()).free.release(object);
        if let State::Waiting(iterator, question) = state {
            drop(question);
            // Released here and now, although PyO3 cannot know that the GIL is held.
            drop(iterator.into_bound(Python::assume_attached()));
        }
    }
}
