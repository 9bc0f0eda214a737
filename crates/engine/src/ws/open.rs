//! Opening.
use std::rc::Rc;

use pyo3::prelude::*;

use crate::core::Core;
use crate::io::slots::Key;
use crate::py::headers::Memo;

pub(crate) fn open(_py: Python<'_>, _core: &Rc<Core>, _key: Key, _memo: Box<Memo>) {}
