//! The template of a request's path, such as `/items/{id}`, where the application's router has left it in the scope.
//!
//! Starlette: `scope["route"].path_format`, behind the `root_path` of what it is mounted in. FastAPI: the same; routes of
//! an included router are told by `scope["fastapi"]`, with the prefix. Litestar: `scope["path_template"]`. Everybody
//! else may put a `str` into `scope["route"]`. Runs Python code: to be called outside of borrows.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::py::names::Names;

/// For Python's side of telemetry: the template of the path, once the application has been called with this scope.
#[pyfunction]
pub(crate) fn route_of(py: Python<'_>, scope: &Bound<'_, PyDict>) -> Option<String> {
    static NAMES: PyOnceLock<Names> = PyOnceLock::new();
    template(NAMES.get_or_init(py, || Names::new(py)), scope)
}

/// None where nobody has said it.
pub(super) fn template(names: &Names, scope: &Bound<'_, PyDict>) -> Option<String> {
    let Some(route) = item(scope, &names.route) else {
        return item(scope, &names.path_template).and_then(text);
    };
    if route.is_instance_of::<PyString>() {
        return text(route);
    }
    let own = path_of(names, &route)?;
    let included = item(scope, &names.fastapi)
        .and_then(|found| found.cast_into::<PyDict>().ok())
        .and_then(|found| item(&found, &names.effective_route_context))
        .and_then(|context| path_of(names, &context))
        .filter(|path| path.ends_with(&own));
    let path = included.unwrap_or(own);
    let root = item(scope, &names.root_path).and_then(text).unwrap_or_default();
    if root.is_empty() {
        return Some(path);
    }
    Some(mounted(names, scope, &root) + &path)
}

fn item<'py>(dict: &Bound<'py, PyDict>, name: &Py<PyString>) -> Option<Bound<'py, PyAny>> {
    dict.get_item(name).ok().flatten()
}

fn text(value: Bound<'_, PyAny>) -> Option<String> {
    value.extract().ok()
}

fn path_of(names: &Names, route: &Bound<'_, PyAny>) -> Option<String> {
    let format = route.getattr(&names.path_format).or_else(|_| route.getattr(&names.path)).ok()?;
    text(format)
}

/// What a router is mounted at may have parameters, too, of which the root path has the values.
fn mounted(names: &Names, scope: &Bound<'_, PyDict>, root: &str) -> String {
    let parameters = item(scope, &names.path_params).and_then(|found| found.cast_into::<PyDict>().ok());
    let parameters: Vec<(String, String)> = parameters.map_or_else(Vec::new, |found| {
        found
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, value.str().ok()?.to_str().ok()?.to_owned())))
            .collect()
    });
    let named = |segment: &str| match parameters.iter().find(|(_, value)| value == segment) {
        Some((name, _)) if !segment.is_empty() => format!("{{{name}}}"),
        _ => segment.to_owned(),
    };
    root.trim_end_matches('/').split('/').map(named).collect::<Vec<_>>().join("/")
}
