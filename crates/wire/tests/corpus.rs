//! The wire corpus: bytes in `tests/wire/corpus/*.http`, what they mean in the `.toml` beside each. RFC 9112.
//!
//! The same files are sent to a running server by pytest and seed the fuzz targets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use support::driver::{End, Seen, Transcript};
use support::read_in_all_segmentations;
use toml::{Table, Value};

fn corpus() -> Vec<(String, Vec<u8>, Table)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire/corpus");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .map(|path| {
            let expected = fs::read_to_string(path.with_extension("toml")).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap(), expected.parse().unwrap())
        })
        .collect();
    cases.sort_by(|one, other| one.0.cmp(&other.0));
    cases
}

/// Strings in the expectations stand for bytes, one byte per character.
fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn check_request(expected: &Table, seen: &Seen) {
    for (key, value) in expected {
        match key.as_str() {
            "method" => assert_eq!(bytes(value), seen.method),
            "path" => assert_eq!(bytes(value), seen.path),
            "query" => assert_eq!(bytes(value), seen.query),
            "version" => assert_eq!(value.as_str(), Some(seen.version)),
            "body" => assert_eq!(bytes(value), seen.body),
            "keep_alive" => assert_eq!(value.as_bool(), Some(seen.keep_alive)),
            "expect_continue" => assert_eq!(value.as_bool(), Some(seen.expect_continue)),
            "websocket" => assert_eq!(value.as_bool(), Some(seen.websocket)),
            "complete" => {}
            "fields" => {
                let fields: Vec<_> =
                    value.as_array().unwrap().iter().map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect();
                assert_eq!(fields, seen.fields);
            }
            other => panic!("unknown key {other}"),
        }
    }
    let complete = expected.get("complete").is_none_or(|value| value.as_bool() == Some(true));
    assert_eq!(complete, seen.complete, "complete");
}

fn check(expected: &Table, transcript: &Transcript) {
    let none = Vec::new();
    let requests = expected.get("request").map_or(&none, |value| value.as_array().unwrap());
    assert_eq!(requests.len(), transcript.requests.len(), "number of requests, {:?}", transcript.end);
    for (expected, seen) in requests.iter().zip(&transcript.requests) {
        check_request(expected.as_table().unwrap(), seen);
    }
    match (expected["end"].as_str().unwrap(), transcript.end) {
        ("idle", End::Idle) | ("partial", End::Partial) | ("close", End::Close) | ("upgrade", End::Upgrade) => {}
        ("error", End::Error(error)) => {
            assert_eq!(expected["error"]["status"].as_integer(), Some(error.status().into()), "{error}");
            assert_eq!(expected["error"]["section"].as_str(), Some(error.section()), "{error}");
        }
        (wanted, found) => panic!("expected {wanted}, found {found:?}"),
    }
}

#[test]
fn every_case_means_what_is_written_beside_it_in_every_segmentation() {
    let mut failures = Vec::new();
    for (name, input, expected) in corpus() {
        let outcome = std::panic::catch_unwind(|| check(&expected, &read_in_all_segmentations(&input)));
        if let Err(cause) = outcome {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            failures.push(format!("{name}: {}", text.or(cause.downcast_ref::<&str>().copied()).unwrap_or("?")));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_class_of_attack_has_cases() {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, _, expected) in corpus() {
        *classes.entry(expected["class"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let required = [
        "boundary",
        "chunk-end",
        "chunk-ext",
        "chunk-size",
        "cl-syntax",
        "cl-te",
        "control",
        "field-line",
        "host",
        "limit",
        "line-end",
        "names",
        "pipeline",
        "plain",
        "request-line",
        "target",
        "te-list",
        "te-obfuscated",
        "trailer",
        "upgrade",
        "version",
    ];
    for class in required {
        assert!(classes.get(class).is_some_and(|count| *count >= 4), "{class}: {classes:?}");
    }
}
