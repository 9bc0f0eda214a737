//! Reading the messages that an application sends. Every error names the message, the key and the rule.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use swell_wire::h1::response::{self, Noticed};

use super::callable::one_argument;
use super::errors::MessageError;
use super::names::Names;

/// A message and its type, for error texts.
pub(crate) struct Message<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    pub(crate) kind: &'a str,
}

/// Hands the message that `send()` was called with to `work`.
///
/// # Errors
/// What is no message, and what `work` returns.
#[inline]
pub(crate) fn read<'py, R>(
    py: Python<'py>,
    names: &Names,
    arguments: &[*mut ffi::PyObject],
    work: impl FnOnce(&Message<'_, 'py>) -> PyResult<R>,
) -> PyResult<R> {
    let argument = one_argument("send", arguments)?;
    // SAFETY: the argument is borrowed from the caller for the duration of this call.
    let argument = unsafe { Bound::from_borrowed_ptr(py, argument) };
    let dict = argument.cast::<PyDict>().map_err(|_| {
        MessageError::new_err(format!("send() takes a message as a dict, not {}", type_name(&argument)))
    })?;
    let kind = get(dict, &names.type_)?
        .ok_or_else(|| MessageError::new_err("an ASGI message must have the key \"type\""))?
        .cast_into::<PyString>()
        .map_err(|error| {
            MessageError::new_err(format!(
                "\"type\" of an ASGI message must be str, not {}",
                type_name(&error.into_inner())
            ))
        })?;
    work(&Message { dict, kind: kind.to_str()? })
}

#[inline]
fn get<'py>(dict: &Bound<'py, PyDict>, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: both objects are alive; the result is borrowed from the dict and made our own at once.
    unsafe {
        let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if !value.is_null() {
            return Ok(Some(Bound::from_borrowed_ptr(dict.py(), value)));
        }
        // Absence is frequent, and taking an error that is not there costs as much as a look-up.
        if ffi::PyErr_Occurred().is_null() {
            return Ok(None);
        }
        Err(PyErr::fetch(dict.py()))
    }
}

pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map(|name| name.to_string()).unwrap_or_else(|_| "an unknown type".into())
}

impl<'py> Message<'_, 'py> {
    /// The same as a message of another type.
    pub(crate) fn renamed<'b>(&'b self, kind: &'b str) -> Message<'b, 'py> {
        Message { dict: self.dict, kind }
    }

    pub(crate) fn error(&self, text: &str) -> PyErr {
        MessageError::new_err(format!("{}: {text}", self.kind))
    }

    pub(crate) fn wrong(&self, key: &Py<PyString>, wanted: &str, got: &Bound<'_, PyAny>) -> PyErr {
        self.error(&format!("{key} must be {wanted}, not {}", type_name(got)))
    }

    /// The value under `key`; None and absence are the same.
    #[inline]
    pub(crate) fn get(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(get(self.dict, key)?.filter(|value| !value.is_none()))
    }

    pub(crate) fn required(&self, key: &Py<PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.get(key)?.ok_or_else(|| self.error(&format!("the key \"{key}\" is missing")))
    }

    /// `seen` keys of the message have been found already; looking for one that cannot be there costs as much as for any.
    #[inline]
    pub(crate) fn flag(&self, key: &Py<PyString>, seen: usize) -> PyResult<bool> {
        if self.dict.len() <= seen {
            return Ok(false);
        }
        match self.get(key)? {
            None => Ok(false),
            Some(value) => value.is_truthy(),
        }
    }

    /// `bytes`, also from what else holds bytes.
    #[inline]
    pub(crate) fn bytes(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => as_bytes(&value).ok_or_else(|| self.wrong(key, "bytes", &value)).map(Some),
        }
    }

    pub(crate) fn integer(&self, key: &Py<PyString>) -> PyResult<Option<i64>> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => value.extract().map(Some).map_err(|_| self.wrong(key, "an integer", &value)),
        }
    }

    pub(crate) fn text(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyString>>> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => value.cast::<PyString>().cloned().map(Some).map_err(|_| self.wrong(key, "str", &value)),
        }
    }

    /// Calls `each` with every (name, value) of a header list, in order. Returns whether there is one.
    #[inline]
    pub(crate) fn each_header(
        &self,
        key: &Py<PyString>,
        mut each: impl FnMut(&[u8], &[u8]) -> PyResult<()>,
    ) -> PyResult<bool> {
        let Some(headers) = self.get(key)? else { return Ok(false) };
        let pair_rule = "an iterable of [name, value] pairs of bytes";
        let mut one = |item: &Bound<'py, PyAny>| -> PyResult<()> {
            let (name, value) = pair(item).ok_or_else(|| self.wrong(key, pair_rule, item))?;
            let (Some(name), Some(value)) = (as_bytes(&name), as_bytes(&value)) else {
                return Err(self.error(&format!(
                    "{key} must be {pair_rule}, but one is [{}, {}]",
                    type_name(&name),
                    type_name(&value)
                )));
            };
            each(name.as_bytes(), value.as_bytes())
        };
        if let Ok(list) = headers.cast::<pyo3::types::PyList>() {
            for item in list.iter() {
                one(&item)?;
            }
            return Ok(true);
        }
        for item in headers.try_iter().map_err(|_| self.wrong(key, pair_rule, &headers))? {
            one(&item?)?;
        }
        Ok(true)
    }

    /// Encodes a header list. Returns whether there is one, and what was noticed through `notice`.
    #[inline]
    pub(crate) fn encode_headers(
        &self,
        key: &Py<PyString>,
        out: &mut Vec<u8>,
        mut notice: impl FnMut(Noticed) -> bool,
    ) -> PyResult<bool> {
        self.each_header(key, |name, value| {
            let before = out.len();
            match response::field(out, name, value) {
                Ok(noticed) => {
                    if !notice(noticed) {
                        out.truncate(before);
                    }
                    Ok(())
                }
                Err(error) => Err(self.error(&format!(
                    "{key}: {}: {:?}: {:?}",
                    error.explain(),
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value)
                ))),
            }
        })
    }
}

#[inline]
fn pair<'py>(item: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(tuple) = item.cast::<pyo3::types::PyTuple>() {
        return (tuple.len() == 2).then(|| Some((tuple.get_item(0).ok()?, tuple.get_item(1).ok()?)))?;
    }
    if let Ok(list) = item.cast::<pyo3::types::PyList>() {
        return (list.len() == 2).then(|| Some((list.get_item(0).ok()?, list.get_item(1).ok()?)))?;
    }
    None
}

#[inline]
pub(crate) fn as_bytes<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Some(bytes.clone());
    }
    // bytearray and memoryview: copied, because the application may change them afterwards.
    // SAFETY: a check and a conversion of a live object; a failed conversion leaves an exception, which is cleared.
    unsafe {
        if ffi::PyObject_CheckBuffer(value.as_ptr()) == 0 {
            return None;
        }
        let made = ffi::PyBytes_FromObject(value.as_ptr());
        if made.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Bound::from_owned_ptr(value.py(), made).cast_into::<PyBytes>().ok()
    }
}
