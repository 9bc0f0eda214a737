//! Negotiation of permessage-deflate: the grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), what is accepted of an
//! offer, and the answer (RFC 7692 §5, §7.1).
//!
//! Deliberately unknown here: compression itself, and every other extension, which is read over. Called by `handshake`.

use crate::error::{Kind, WireError};
use crate::fields::token::is_tchar;

/// The largest LZ77 window, and what holds when nothing is agreed (RFC 7692 §7.1.2).
const WINDOW_BITS_MAX: u8 = 15;
const WINDOW_BITS_MIN: u8 = 8;

/// How the server wants to compress. Windows are given as their base-2 logarithm, 8 to 15; values outside count as the
/// nearest one inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateOptions {
    /// Accept permessage-deflate at all. Default: true.
    pub enabled: bool,
    /// Compress every message on its own. Default: true: the compressor is then shared by all connections of the
    /// thread and an idle connection holds none. Otherwise each connection that has sent a compressed message keeps
    /// one: 161 KiB with a window of 12 bits, 273 KiB with 15.
    pub server_no_context_takeover: bool,
    /// Ask the client to compress every message on its own. Default: false: repeated small messages shrink most with
    /// their predecessors at hand, and the state that this keeps here is 47 KiB per connection that uses it.
    pub client_no_context_takeover: bool,
    /// The window for what is sent. Default: 15.
    pub server_max_window_bits: u8,
    /// The window asked of the client, where it can be asked. Default: 15, that is not to ask: the inflater here always
    /// has room for the largest one, a smaller one only saves memory at the client.
    pub client_max_window_bits: u8,
    /// Deflate's level, 0 (store) to 9 (smallest). Default: 1: 64 KiB of JSON take 56 µs and shrink to 18 %, against
    /// 230 µs and 12 % at level 6 (`ws_cost`), and while a message is compressed the event loop does nothing else.
    pub level: u32,
    /// Messages of fewer bytes are sent uncompressed. Default: 256: below, compression costs 2 µs (`ws_cost`) to save
    /// bytes that travel in one packet anyway.
    pub threshold: usize,
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            server_no_context_takeover: true,
            client_no_context_takeover: false,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
            level: 1,
            threshold: 256,
        }
    }
}

/// What client and server agreed on, with the server's own settings for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParams {
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
    pub(crate) server_max_window_bits: u8,
    pub(crate) client_max_window_bits: u8,
    pub(crate) level: u32,
    pub(crate) threshold: usize,
    say_server_bits: bool,
    say_client_bits: bool,
}

impl DeflateParams {
    /// Appends the value of the response's `Sec-WebSocket-Extensions` field (RFC 7692 §7.1).
    pub fn write_response_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"permessage-deflate");
        if self.server_no_context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        if self.say_server_bits {
            out.extend_from_slice(b"; server_max_window_bits=");
            write_bits(self.server_max_window_bits, out);
        }
        if self.say_client_bits {
            out.extend_from_slice(b"; client_max_window_bits=");
            write_bits(self.client_max_window_bits, out);
        }
    }
}

fn write_bits(bits: u8, out: &mut Vec<u8>) {
    if bits >= 10 {
        out.push(b'0' + bits / 10);
    }
    out.push(b'0' + bits % 10);
}

/// Reads the values of all `Sec-WebSocket-Extensions` fields and accepts the first offer of permessage-deflate that
/// can be met. An offer with an unknown, repeated or malformed parameter is declined, as RFC 7692 §7.1 demands, and the
/// next one is looked at; broken grammar is an error.
pub(crate) fn negotiate(
    value: &[u8],
    options: &DeflateOptions,
    accepted: &mut Option<DeflateParams>,
) -> Result<(), WireError> {
    let mut cursor = Cursor { rest: value };
    loop {
        cursor.skip_ows();
        if cursor.eat(b',') {
            continue;
        }
        if cursor.rest.is_empty() {
            return Ok(());
        }
        let name = cursor.token()?;
        let wanted = options.enabled && accepted.is_none() && name.eq_ignore_ascii_case(b"permessage-deflate");
        let mut proposal = wanted.then(Proposal::default);
        while cursor.eat(b';') {
            cursor.skip_ows();
            let parameter = cursor.token()?;
            let value = if cursor.eat(b'=') { Some(cursor.value()?) } else { None };
            proposal = proposal.and_then(|proposal| proposal.with(parameter, value));
        }
        if let Some(proposal) = proposal {
            *accepted = Some(proposal.accept(options));
        }
        if !cursor.rest.is_empty() && !cursor.eat(b',') {
            return Err(broken());
        }
    }
}

fn broken() -> WireError {
    WireError::new(Kind::WebSocketExtensions)
}

/// One offer of permessage-deflate.
#[derive(Default)]
struct Proposal {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Proposal {
    /// The offer with one more parameter, `None` when it has to be declined.
    fn with(mut self, parameter: &[u8], value: Option<&[u8]>) -> Option<Self> {
        let repeated = match (parameter, value) {
            (b"server_no_context_takeover", None) => std::mem::replace(&mut self.server_no_context_takeover, true),
            (b"client_no_context_takeover", None) => std::mem::replace(&mut self.client_no_context_takeover, true),
            (b"server_max_window_bits", Some(value)) => self.server_max_window_bits.replace(bits(value)?).is_some(),
            // Without a value it says "you may choose" (RFC 7692 §7.1.2.2).
            (b"client_max_window_bits", value) => {
                let bits = value.map_or(Some(WINDOW_BITS_MAX), bits)?;
                self.client_max_window_bits.replace(bits).is_some()
            }
            _ => return None,
        };
        (!repeated).then_some(self)
    }

    fn accept(self, options: &DeflateOptions) -> DeflateParams {
        let server = options.server_max_window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let client = options.client_max_window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let server_max_window_bits = server.min(self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX));
        // A client that did not mention its window must not be asked to shrink it (RFC 7692 §7.1.2.2).
        let client_max_window_bits = self.client_max_window_bits.map_or(WINDOW_BITS_MAX, |bits| bits.min(client));
        DeflateParams {
            server_no_context_takeover: self.server_no_context_takeover || options.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover || options.client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
            level: options.level.min(9),
            threshold: options.threshold.max(1),
            say_server_bits: self.server_max_window_bits.is_some() || server_max_window_bits < WINDOW_BITS_MAX,
            say_client_bits: client_max_window_bits < WINDOW_BITS_MAX,
        }
    }
}

/// A window size: a decimal number from 8 to 15 without leading zeros (RFC 7692 §7.1.2).
fn bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// What is left of a field value.
struct Cursor<'v> {
    rest: &'v [u8],
}

impl<'v> Cursor<'v> {
    fn skip_ows(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes one delimiter, with whitespace on both sides of it.
    fn eat(&mut self, delimiter: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == delimiter => {
                self.rest = rest;
                self.skip_ows();
                true
            }
            _ => false,
        }
    }

    /// A token, and whitespace behind it.
    fn token(&mut self) -> Result<&'v [u8], WireError> {
        let len = self.rest.iter().position(|&byte| !is_tchar(byte)).unwrap_or(self.rest.len());
        if len == 0 {
            return Err(broken());
        }
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.skip_ows();
        Ok(token)
    }

    /// A token, or a quoted string that is a token once unquoted (RFC 6455 §9.1). Escapes are checked and left in: no
    /// parameter known here has a value that needs one.
    fn value(&mut self) -> Result<&'v [u8], WireError> {
        let Some(quoted) = self.rest.strip_prefix(b"\"") else {
            return self.token();
        };
        let mut index = 0;
        loop {
            match &quoted[index..] {
                [b'"', rest @ ..] if index > 0 => {
                    self.rest = rest;
                    self.skip_ows();
                    return Ok(&quoted[..index]);
                }
                [b'\\', escaped, ..] if is_tchar(*escaped) => index += 2,
                [byte, ..] if is_tchar(*byte) => index += 1,
                _ => return Err(broken()),
            }
        }
    }
}
