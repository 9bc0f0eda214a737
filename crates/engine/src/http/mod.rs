//! HTTP/1.1 between the wire crate's events and the application: reading, launching, `receive`, `send`, finishing.

mod admit;
mod challenge;
pub(crate) mod count;
pub(crate) mod files;
pub(crate) mod finish;
pub(crate) mod head;
pub(crate) mod launch;
pub(crate) mod rate;
pub(crate) mod read;
pub(crate) mod receive;
mod redirect;
pub(crate) mod route;
pub(crate) mod send;
