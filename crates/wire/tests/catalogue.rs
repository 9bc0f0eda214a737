//! The tables of errors and limits: complete, consistent, fit for the documentation made from them.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::HashSet;

use swell_wire::error::{Kind, WireError};
use swell_wire::limits::{HeadLimits, LIMITS};

#[test]
fn each_error_reads_its_own_row() {
    let mut reasons = HashSet::new();
    for error in WireError::all() {
        assert!((400..=426).contains(&error.status()) || matches!(error.status(), 431 | 501 | 505), "{error}");
        let section = error.section();
        assert!(section.starts_with("RFC ") || section.starts_with("PROXY protocol "), "{section}");
        assert!(section.contains(" §"), "{section}");
        assert!(!error.reason().ends_with('.') && !error.reason().is_empty());
        assert!(reasons.insert(error.reason()), "two rules with one reason: {error}");
        assert_eq!(error.to_string(), format!("{} ({section})", error.reason()));
        assert_eq!(WireError::new(error.kind()), error);
    }
    assert_eq!(WireError::from(Kind::RequestLineTooLong).status(), 414);
    assert_eq!(WireError::from(Kind::WebSocketVersion).status(), 426);
    assert_eq!(size_of::<WireError>(), 1);
}

#[test]
fn the_table_of_limits_agrees_with_the_defaults() {
    let value = |name: &str| LIMITS.iter().find(|limit| limit.name == name).unwrap();
    let defaults = HeadLimits::default();
    for (name, set, status) in [
        ("request line", defaults.request_line, 414),
        ("field lines", defaults.fields, 431),
        ("request head", defaults.head, 431),
    ] {
        assert_eq!((value(name).value, value(name).status, value(name).settable), (set, status, true), "{name}");
    }
    let names: HashSet<_> = LIMITS.iter().map(|limit| limit.name).collect();
    assert_eq!(names.len(), LIMITS.len());
}
