//! `http.response.pathsend` and `http.response.zerocopysend`: file contents that Python never touches.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::send::{event, sent, with_exchange};
use crate::core::Core;
use crate::py::callable::Link;
use crate::py::message::Message;

/// The file at `path` is the whole body.
///
/// # Errors
/// `OSError` when it cannot be opened or is not a regular file; nothing is sent then.
pub(crate) fn path(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
) -> PyResult<*mut ffi::PyObject> {
    let path = message.required(&core.py.names.path)?;
    let path: std::path::PathBuf = path.extract().map_err(|_| message.wrong(&core.py.names.path, "a path", &path))?;
    if !path.is_absolute() {
        return Err(message.error("path must be absolute"));
    }
    // The type is looked at before opening: opening a FIFO would wait for a writer.
    let found = std::fs::metadata(&path)?;
    if !found.is_file() {
        return Err(PyOSError::new_err(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(&path)?;
    let length = file.metadata()?.len();
    send_file(py, core, link, message, file.into(), 0, length, true)
}

/// `count` bytes of an open file from `offset`; by default from its current position to its end.
pub(crate) fn zero_copy(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let object = message.required(&names.file)?;
    // SAFETY: asks a live object for its descriptor.
    let fd = unsafe { ffi::PyObject_AsFileDescriptor(object.as_ptr()) };
    if fd < 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the object holds the descriptor open while this function runs; a duplicate is kept.
    let file: File = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map(OwnedFd::into)?;
    let not_negative = |key, value: Option<i64>| match value {
        Some(value) => {
            u64::try_from(value).map(Some).map_err(|_| message.error(&format!("{key} must not be negative")))
        }
        None => Ok(None),
    };
    let offset = match not_negative("offset", message.integer(&names.offset)?)? {
        Some(offset) => offset,
        None => {
            use std::io::Seek;
            (&file).stream_position()?
        }
    };
    let available = file.metadata()?.len().saturating_sub(offset);
    let count = not_negative("count", message.integer(&names.count)?)?.unwrap_or(available);
    if count > available {
        return Err(
            message.error(&format!("count is {count}, but the file has only {available} bytes from offset {offset}"))
        );
    }
    let last = !message.flag(&names.more_body, 1)?;
    send_file(py, core, link, message, file.into(), offset, count, last)
}

#[expect(clippy::too_many_arguments, reason = "one call, shared by the two messages above")]
fn send_file(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
    file: OwnedFd,
    offset: u64,
    length: u64,
    last: bool,
) -> PyResult<*mut ffi::PyObject> {
    let complete = with_exchange(core, link, message, |inner| {
        event(inner, link, length, last, |conn| conn.out.file(file, offset, length))
    })?;
    sent(py, core, link, length, complete)
}
