//! Bytes from the network as text of one log line: nothing that a peer sends can end the line, close a quote, or steer
//! a terminal.
//!
//! Kept as they are: printable ASCII and printable UTF-8. Escaped: quote and backslash, controls (C0, DEL, C1), the
//! Unicode line separators and the bidirectional overrides, bytes that are not UTF-8. RFC 8259 §7 for JSON strings.
//! Called by `line` only; it knows nothing of log formats beyond the two escapes.

/// How an escaped byte looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `\"`, `\\`, `\x1b`: for people.
    Text,
    /// The inside of a JSON string; a byte that is not UTF-8 becomes the four characters `\xNN`.
    Json,
}

/// Appends `bytes`, escaped.
#[inline]
pub(crate) fn escape(out: &mut Vec<u8>, bytes: &[u8], style: Style) {
    // Looks at every byte instead of stopping at the first: that way the loop is done in vectors.
    if bytes.iter().fold(true, |all, byte| all & harmless(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        slowly(out, bytes, style);
    }
}

#[inline]
fn harmless(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cold]
fn slowly(out: &mut Vec<u8>, bytes: &[u8], style: Style) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                _ if steers(character) => control(out, u32::from(character), style),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            if style == Style::Json {
                out.push(b'\\');
            }
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// True for what does something instead of showing something.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// All of them are in the basic plane: one JSON escape is enough.
fn control(out: &mut Vec<u8>, code: u32, style: Style) {
    let text = match style {
        Style::Json => format!("\\u{code:04x}"),
        Style::Text if code < 0x100 => format!("\\x{code:02x}"),
        Style::Text => format!("\\u{code:04x}"),
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], style: Style) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes, style);
        String::from_utf8(out).unwrap_or_else(|error| format!("not UTF-8: {error}"))
    }

    #[test]
    fn plain_text_is_kept() {
        assert_eq!(escaped(b"GET /a?b=c HTTP/1.1", Style::Text), "GET /a?b=c HTTP/1.1");
        assert_eq!(escaped("/grün/日本".as_bytes(), Style::Json), "/grün/日本");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(escaped(b"a\r\nb\x1b[2J\"\\", Style::Text), r#"a\x0d\x0ab\x1b[2J\"\\"#);
        assert_eq!(escaped(b"a\r\nb\x1b[2J\"\\", Style::Json), r#"a\u000d\u000ab\u001b[2J\"\\"#);
    }

    #[test]
    fn what_is_not_utf8_is_shown_in_hexadecimal() {
        assert_eq!(escaped(b"/\xff\xc3/", Style::Text), r"/\xff\xc3/");
        assert_eq!(escaped(b"/\xff/", Style::Json), r"/\\xff/");
    }

    #[test]
    fn direction_and_line_separators_are_shown() {
        assert_eq!(escaped("a\u{202e}b\u{2028}\u{85}".as_bytes(), Style::Text), r"a\u202eb\u2028\x85");
        assert_eq!(escaped("a\u{202e}b\u{85}".as_bytes(), Style::Json), r"a\u202eb\u0085");
    }
}
