//! A chunked body, against a second decoder written the slow and obvious way on the complete bytes.
//!
//! Holds when both agree on the data, on the end of the body and on whether it is well formed, however the input is
//! cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::facts::Framing;

/// What a body turned out to be: its data, and the bytes behind it or nothing when more are needed; `None` when wrong.
type Outcome = Option<(Vec<u8>, Option<usize>)>;

fn decode(segments: &mut dyn Iterator<Item = &[u8]>) -> Outcome {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let (mut data, mut behind, mut done) = (Vec::new(), 0, false);
    for segment in segments {
        let mut rest = segment;
        while !done && !rest.is_empty() {
            let piece = decoder.decode(rest).ok()?;
            data.extend_from_slice(&rest[piece.data.clone()]);
            rest = &rest[piece.consumed..];
            done = piece.done;
        }
        behind += rest.len();
    }
    Some((data, done.then_some(behind)))
}

/// Reads line by line; extensions and trailers are only accepted in their simplest form, so `None` decides nothing
/// when the input has any.
fn plain(mut rest: &[u8]) -> Outcome {
    let mut data = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Some((data, None));
        };
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return None;
        }
        let size = u64::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        let available = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        if size == 0 {
            return match rest {
                [b'\r', b'\n', behind @ ..] => Some((data, Some(behind.len()))),
                [] | [b'\r'] => Some((data, None)),
                _ => None,
            };
        }
        data.extend_from_slice(&rest[..available]);
        rest = &rest[available..];
        match rest {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Some((data, None)),
            _ => return None,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = decode(&mut std::iter::once(data));
    assert_eq!(whole, decode(&mut data.chunks(1)));
    assert_eq!(whole, decode(&mut data.chunks(3)));
    if let Some((body, Some(behind))) = plain(data) {
        assert_eq!(
            whole,
            Some((body, Some(behind))),
            "a plain body must be read"
        );
    }
    if whole.is_some() && !data.contains(&b';') {
        let outcome = plain(data);
        // Without extensions and trailers the obvious reader must see the same, up to a cut inside a size line.
        if let Some((body, end)) = outcome {
            assert_eq!(whole, Some((body, end)));
        }
    }
});
