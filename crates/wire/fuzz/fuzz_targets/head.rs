//! A connection's bytes, whole against cut, with two sets of limits.
//!
//! Holds when nothing panics, the transcript does not depend on the cuts, and the fast path agrees with the scan (both
//! asserted by the driver).
#![no_main]

#[path = "../../tests/support/driver.rs"]
#[allow(dead_code)]
mod driver;

use libfuzzer_sys::fuzz_target;
use swell_wire::fields::token::{is_field_name, is_field_value, trim_ows};
use swell_wire::limits::HeadLimits;

/// So small that short inputs reach them.
const SMALL: HeadLimits = HeadLimits {
    request_line: 24,
    fields: 3,
    head: 96,
};

fuzz_target!(|data: &[u8]| {
    read(SMALL, data);
    read(HeadLimits::default(), data);
});

fn read(limits: HeadLimits, data: &[u8]) {
    let whole = driver::read_within(limits, [data]);
    assert_eq!(whole, driver::read_within(limits, data.chunks(1)));
    assert_eq!(whole, driver::read_within(limits, data.chunks(5)));
    let (first, second) = data.split_at(data.len() / 2);
    assert_eq!(whole, driver::read_within(limits, [first, second]));
    for request in &whole.requests {
        assert!(!request.method.is_empty());
        assert!(request.path.starts_with(b"/") || request.path == b"*");
        for (name, value) in &request.fields {
            assert!(is_field_name(name));
            assert!(is_field_value(value));
            assert_eq!(trim_ows(value), value);
        }
    }
}
