//! Says what bytes mean: the Rust half of the differential test in `tests/wire/test_differential.py`.
//!
//! Standard input is a row of cases, each a length as four bytes, most significant first, and that many bytes. For each
//! case one line of JSON goes to standard output: the requests that were understood and how reading ended. Bytes are
//! written as characters U+0000 to U+00FF.
#![allow(clippy::print_stdout, reason = "a command line tool")]

#[path = "../tests/support/driver.rs"]
#[allow(dead_code, reason = "the driver has more than the oracle needs")]
mod driver;

use std::io::{self, Read, Write};

use driver::{read, End, Seen, Transcript};

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut rest = input.as_slice();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((case, behind)) = behind.split_at_checked(length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the last case is cut"));
        };
        rest = behind;
        writeln!(output, "{}", transcript(&read([case])))?;
    }
    output.flush()
}

fn transcript(transcript: &Transcript) -> String {
    let requests: Vec<String> = transcript.requests.iter().map(request).collect();
    let end = match transcript.end {
        End::Idle => "\"idle\"".to_owned(),
        End::Partial => "\"partial\"".to_owned(),
        End::Close => "\"close\"".to_owned(),
        End::Upgrade => "\"upgrade\"".to_owned(),
        End::Error(error) => format!(
            "\"error\",\"status\":{},\"section\":{},\"reason\":{},\"rule\":\"{:?}\"",
            error.status(),
            text(error.section()),
            text(error.reason()),
            error.kind(),
        ),
    };
    format!("{{\"requests\":[{}],\"end\":{end}}}", requests.join(","))
}

fn request(seen: &Seen) -> String {
    let fields: Vec<String> =
        seen.fields.iter().map(|(name, value)| format!("[{},{}]", string(name), string(value))).collect();
    format!(
        "{{\"method\":{},\"target\":{},\"version\":\"{}\",\"fields\":[{}],\"body\":{},\"complete\":{},\
         \"keep_alive\":{}}}",
        string(&seen.method),
        string(&seen.target),
        seen.version,
        fields.join(","),
        string(&seen.body),
        seen.complete,
        seen.keep_alive,
    )
}

/// A JSON string of our own text, which needs no escapes.
fn text(text: &str) -> String {
    format!("\"{text}\"")
}

/// A JSON string with one character per byte.
fn string(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{byte:04x}")),
        }
    }
    text.push('"');
    text
}
