//! How a line looks: for people, or as one JSON object.
//!
//! A line has two halves. What the request says is rendered when it arrives, into the record's own buffer
//! ([`asked`]); what came of it when it is over ([`over`]). Text from the network passes [`super::escape`].

use swell_wire::h1::response::decimal;

use super::escape::{escape, Style};
use super::stamp::Stamp;
use super::{Asked, End, Format, Over, Record};

/// The request's half. Text puts what is long and rarely read behind the numbers: it begins at the returned position.
pub(crate) fn asked(out: &mut Vec<u8>, asked: &Asked<'_>, format: Format) -> usize {
    match format {
        Format::Text { .. } => {
            client(out, asked, Style::Text);
            out.extend_from_slice(b" \"");
            escape(out, asked.line, Style::Text);
            out.extend_from_slice(b"\" ");
            let tail = out.len();
            if !asked.agent.is_empty() {
                out.extend_from_slice(b" \"");
                escape(out, asked.agent, Style::Text);
                out.push(b'"');
            }
            if let Some(trace) = trace_id(asked.traceparent) {
                out.extend_from_slice(b" trace=");
                out.extend_from_slice(trace);
            }
            tail
        }
        Format::Json => {
            out.extend_from_slice(b"\"client\":\"");
            client(out, asked, Style::Json);
            out.push(b'"');
            match asked.split() {
                Some((method, target, version)) => {
                    text(out, b"method", method);
                    text(out, b"path", target);
                    text(out, b"http_version", version);
                }
                None if asked.line.is_empty() => {}
                None => text(out, b"request", asked.line),
            }
            if !asked.agent.is_empty() {
                text(out, b"user_agent", asked.agent);
            }
            if let Some(trace) = trace_id(asked.traceparent) {
                text(out, b"trace_id", trace);
                text(out, b"traceparent", asked.traceparent);
            }
            out.len()
        }
    }
}

/// The request id, behind what [`asked`] has written.
pub(crate) fn identified(out: &mut Vec<u8>, id: &str, format: Format) {
    match format {
        Format::Text { .. } => {
            out.extend_from_slice(b" id=");
            out.extend_from_slice(id.as_bytes());
        }
        Format::Json => text(out, b"request_id", id.as_bytes()),
    }
}

/// A whole line.
#[inline]
pub(crate) fn over(out: &mut Vec<u8>, stamp: &mut Stamp, record: &Record, over: &Over<'_>, format: Format) {
    match format {
        Format::Text { colors } => {
            stamp.write(out);
            out.push(b' ');
            let (front, tail) = record.asked.split_at(record.tail);
            out.extend_from_slice(front);
            status(out, over.status, colors);
            out.push(b' ');
            milliseconds(out, record.elapsed(over.now));
            out.extend_from_slice(b"ms");
            if record.first_byte > 0 {
                out.extend_from_slice(b" first=");
                milliseconds(out, record.elapsed(record.first_byte));
            }
            if record.first_step > 0 {
                out.extend_from_slice(b" dispatch=");
                milliseconds(out, record.elapsed(record.first_step));
            }
            out.extend_from_slice(b" in=");
            decimal(out, over.bytes_in);
            out.extend_from_slice(b" out=");
            decimal(out, over.bytes_out);
            match over.end {
                End::Complete => {}
                End::Disconnected => out.extend_from_slice(b" disconnected"),
                End::Aborted => out.extend_from_slice(b" aborted"),
                End::WebSocket(code) => {
                    out.extend_from_slice(b" code=");
                    decimal(out, code.into());
                }
            }
            if let Some(refusal) = &over.refusal {
                out.extend_from_slice(b" refused: ");
                escape(out, refusal.reason.as_bytes(), Style::Text);
                if !refusal.section.is_empty() {
                    out.extend_from_slice(b" (");
                    out.extend_from_slice(refusal.section.as_bytes());
                    out.push(b')');
                }
            }
            out.extend_from_slice(tail);
            out.push(b'\n');
        }
        Format::Json => {
            out.extend_from_slice(b"{\"time\":\"");
            stamp.write(out);
            out.extend_from_slice(b"\",\"level\":\"info\",\"logger\":\"swell.access\",");
            out.extend_from_slice(&record.asked);
            out.extend_from_slice(b",\"status\":");
            if over.status == 0 {
                out.extend_from_slice(b"null");
            } else {
                decimal(out, over.status.into());
            }
            out.extend_from_slice(b",\"duration_ms\":");
            milliseconds(out, record.elapsed(over.now));
            if record.first_byte > 0 {
                out.extend_from_slice(b",\"first_byte_ms\":");
                milliseconds(out, record.elapsed(record.first_byte));
            }
            if record.first_step > 0 {
                out.extend_from_slice(b",\"dispatch_ms\":");
                milliseconds(out, record.elapsed(record.first_step));
            }
            out.extend_from_slice(b",\"bytes_in\":");
            decimal(out, over.bytes_in);
            out.extend_from_slice(b",\"bytes_out\":");
            decimal(out, over.bytes_out);
            match over.end {
                End::Complete => {}
                End::Disconnected => out.extend_from_slice(b",\"disconnected\":true"),
                End::Aborted => out.extend_from_slice(b",\"aborted\":true"),
                End::WebSocket(code) => {
                    out.extend_from_slice(b",\"close_code\":");
                    decimal(out, code.into());
                }
            }
            if let Some(refusal) = &over.refusal {
                text(out, b"refused", refusal.reason.as_bytes());
                if !refusal.section.is_empty() {
                    text(out, b"rfc", refusal.section.as_bytes());
                }
            }
            out.extend_from_slice(b"}\n");
        }
    }
}

/// The line that stands for lines that could not be kept.
pub(crate) fn notice(out: &mut Vec<u8>, lines: u64, format: Format) {
    let mut stamp = Stamp::default();
    match format {
        Format::Text { .. } => {
            stamp.write(out);
            out.extend_from_slice(format!(" {lines} access log lines were lost: the log was not read\n").as_bytes());
        }
        Format::Json => {
            out.extend_from_slice(b"{\"time\":\"");
            stamp.write(out);
            out.extend_from_slice(b"\",\"level\":\"warning\",\"logger\":\"swell.access\",\"lines_lost\":");
            decimal(out, lines);
            out.extend_from_slice(b"}\n");
        }
    }
}

fn client(out: &mut Vec<u8>, asked: &Asked<'_>, style: Style) {
    match asked.forwarded {
        Some(client) => escape(out, client.as_bytes(), style),
        None => address(out, asked.peer, style),
    }
}

fn address(out: &mut Vec<u8>, address: &crate::io::socket::Address, style: Style) {
    use crate::io::socket::Address;
    use std::net::IpAddr;

    match address {
        Address::Inet(inet) => {
            match inet.ip().to_canonical() {
                IpAddr::V4(ip) => {
                    for (at, octet) in ip.octets().into_iter().enumerate() {
                        if at > 0 {
                            out.push(b'.');
                        }
                        decimal(out, octet.into());
                    }
                }
                IpAddr::V6(ip) => out.extend_from_slice(format!("[{ip}]").as_bytes()),
            }
            out.push(b':');
            decimal(out, inet.port().into());
        }
        Address::Unix(_) => escape(out, address.to_string().as_bytes(), style),
    }
}

/// `,"name":"value"`
fn text(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":\"");
    escape(out, value, Style::Json);
    out.push(b'"');
}

fn status(out: &mut Vec<u8>, status: u16, colors: bool) {
    let color: &[u8] = match status / 100 {
        _ if !colors => b"",
        1 | 2 => b"\x1b[32m",
        3 => b"\x1b[36m",
        4 => b"\x1b[33m",
        _ => b"\x1b[31m",
    };
    out.extend_from_slice(color);
    if status == 0 {
        out.push(b'-');
    } else {
        decimal(out, status.into());
    }
    if colors {
        out.extend_from_slice(b"\x1b[0m");
    }
}

/// Nanoseconds as milliseconds with three decimals.
#[inline]
fn milliseconds(out: &mut Vec<u8>, nanoseconds: u64) {
    let microseconds = nanoseconds / 1000;
    decimal(out, microseconds / 1000);
    let rest = microseconds % 1000;
    out.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

/// The trace id of a well-formed `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context 1 §3.2).
pub(crate) fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let hex =
        |range: std::ops::Range<usize>| traceparent[range].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let well_formed = traceparent.len() == 55
        && [2, 35, 52].iter().all(|at| traceparent[*at] == b'-')
        && hex(0..2)
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && &traceparent[..2] != b"ff"
        && traceparent[3..35].iter().any(|byte| *byte != b'0');
    well_formed.then(|| &traceparent[3..35])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_decimals() {
        let mut out = Vec::new();
        milliseconds(&mut out, 1_234_567);
        out.push(b' ');
        milliseconds(&mut out, 9_999);
        assert_eq!(out, b"1.234 0.009");
    }

    #[test]
    fn trace_context_3_2_only_a_well_formed_traceparent_counts() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some(&b"4bf92f3577b34da6a3ce929d0e0e4736"[..]));
        for bad in [
            &b""[..],
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ] {
            assert_eq!(trace_id(bad), None);
        }
    }
}
