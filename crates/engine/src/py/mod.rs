//! The Python side: object types that live per request, names, task starting, scopes and messages.
//!
//! Hot types are raw C-API types: a request costs one dict copy, a list, two callables and a task, nothing more.

pub(crate) mod awaitable;
pub(crate) mod callable;
pub(crate) mod captured;
pub(crate) mod errors;
pub(crate) mod headers;
pub(crate) mod message;
pub(crate) mod names;
pub(crate) mod rawtype;
pub(crate) mod registry;
pub(crate) mod repeated;
pub(crate) mod scope;
pub(crate) mod standin;
pub(crate) mod starter;
