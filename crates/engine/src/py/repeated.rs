//! The scope of a head that repeats on one connection.
//!
//! What the head alone decides is made once and copied. Better still, many small applications only read their scope: one
//! that the application has let go of, and left as it was together with all that is in it, is lent to the next such
//! request instead of being made anew; nobody can tell it from a new one. Every doubt means a new one.
//!
//! Whether a dict was changed is told by its version (PEP 509), which CPython keeps up to 3.13.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::names::Names;

/// Kept by the connection's memo until the head changes or the connection idles.
pub(crate) struct Repeated {
    template: Py<PyDict>,
    kept: Option<(Py<PyDict>, Lent)>,
}

/// What a scope consists of at the moment when an application gets it. While the scope's version is the same, it holds
/// what is named here.
#[derive(Clone, Copy)]
pub(crate) struct Lent {
    scope: Version,
    headers: *mut ffi::PyObject,
    asgi: Version,
    extensions: Version,
    tls: Option<Version>,
    /// The scope's and the lifespan's own.
    state: Option<(Version, Version)>,
}

/// A dict at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    dict: *mut ffi::PyObject,
    tag: u64,
}

/// What each scope has for itself.
pub(crate) struct Own<'a, 'py> {
    pub(crate) headers: &'a Bound<'py, PyList>,
    pub(crate) asgi: &'a Bound<'py, PyDict>,
    pub(crate) extensions: &'a Bound<'py, PyDict>,
    pub(crate) tls: Option<&'a Bound<'py, PyDict>>,
    /// A copy, and the lifespan's.
    pub(crate) state: Option<(&'a Bound<'py, PyDict>, &'a Bound<'py, PyDict>)>,
}

impl Lent {
    /// None where dicts have no versions.
    #[inline]
    pub(crate) fn of(scope: &Bound<'_, PyDict>, own: &Own<'_, '_>) -> Option<Self> {
        Some(Self {
            scope: Version::of(scope)?,
            headers: own.headers.as_ptr(),
            asgi: Version::of(own.asgi)?,
            extensions: Version::of(own.extensions)?,
            tls: match own.tls {
                Some(tls) => Some(Version::of(tls)?),
                None => None,
            },
            state: match own.state {
                Some((copy, lifespan)) => Some((Version::of(copy)?, Version::of(lifespan)?)),
                None => None,
            },
        })
    }

    /// True when nothing was changed and nobody holds any of it but `scope`, whose only holder is the caller.
    #[inline]
    fn is_back(&self, scope: &Bound<'_, PyDict>, fields: &[Py<PyTuple>]) -> bool {
        // SAFETY: the scope is alive; while it is unchanged it holds the list and the dicts, which are looked at only
        // then, and the list's size before its items.
        unsafe {
            ffi::Py_REFCNT(scope.as_ptr()) == 1
                && self.scope.is_current()
                && [Some(self.asgi), Some(self.extensions), self.tls, self.state.map(|(own, _)| own)]
                    .iter()
                    .flatten()
                    .all(|own| ffi::Py_REFCNT(own.dict) == 1 && own.is_current())
                && ffi::Py_REFCNT(self.headers) == 1
                && ffi::PyList_GET_SIZE(self.headers) as usize == fields.len()
                && fields
                    .iter()
                    .enumerate()
                    .all(|(at, field)| ffi::PyList_GET_ITEM(self.headers, at as ffi::Py_ssize_t) == field.as_ptr())
        }
    }
}

impl Version {
    #[cfg(not(Py_3_14))]
    #[inline]
    fn of(dict: &Bound<'_, PyDict>) -> Option<Self> {
        // SAFETY: a live dict.
        Some(Self { dict: dict.as_ptr(), tag: unsafe { tag(dict.as_ptr()) } })
    }

    #[cfg(Py_3_14)]
    fn of(_: &Bound<'_, PyDict>) -> Option<Self> {
        None
    }

    /// # Safety
    /// The dict is alive.
    #[inline]
    unsafe fn is_current(self) -> bool {
        // SAFETY: as promised.
        unsafe { tag(self.dict) == self.tag }
    }
}

/// # Safety
/// The object is a live dict.
#[cfg(not(Py_3_14))]
#[inline]
#[allow(deprecated, reason = "deprecated from 3.12 on, kept up to 3.13")]
unsafe fn tag(dict: *mut ffi::PyObject) -> u64 {
    // SAFETY: as promised.
    unsafe { (*dict.cast::<ffi::PyDictObject>()).ma_version_tag }
}

#[cfg(Py_3_14)]
unsafe fn tag(_: *mut ffi::PyObject) -> u64 {
    0
}

impl Repeated {
    /// From a scope that has nothing of its own yet.
    pub(crate) fn new(scope: &Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(Self { template: scope.copy()?.unbind(), kept: None })
    }

    /// A new scope that has nothing of its own yet.
    #[inline]
    pub(crate) fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.template.bind(py).copy()
    }

    /// The scope that came back, whole. `state` is the lifespan's.
    #[inline]
    pub(crate) fn take<'py>(
        &mut self,
        names: &Names,
        state: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<(Py<PyDict>, Lent)>> {
        let Some((scope, mut lent)) = self.kept.take() else { return Ok(None) };
        if let (Some(state), Some((_, then))) = (state, lent.state) {
            let now = Version::of(state);
            if now != Some(then) {
                let (scope, copy) = (scope.bind(state.py()), state.copy()?);
                scope.set_item(names.state.bind(state.py()), &copy)?;
                let (Some(whole), Some(copy), Some(now)) = (Version::of(scope), Version::of(&copy), now) else {
                    return Ok(None);
                };
                (lent.scope, lent.state) = (whole, Some((copy, now)));
            }
        }
        Ok(Some((scope, lent)))
    }

    /// Keeps a scope for the next request, or gives it back, to be dropped where that may run Python code. Runs none.
    #[inline]
    pub(crate) fn keep<'py>(
        &mut self,
        scope: Bound<'py, PyDict>,
        lent: Lent,
        fields: &[Py<PyTuple>],
    ) -> Option<Bound<'py, PyDict>> {
        if self.kept.is_some() || !lent.is_back(&scope, fields) {
            return Some(scope);
        }
        self.kept = Some((scope.unbind(), lent));
        None
    }
}
