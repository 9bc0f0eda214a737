//! The sizes at which this crate refuses: each a named constant with unit, reason and the status it produces, and one
//! table of them from which the documentation is made.
//!
//! Deliberately unknown here: time (deadlines belong to the engine) and the size of a whole body (the engine counts
//! what it hands on). Read by the parsers of this crate, by the engine's configuration and by the documentation.

/// One row of the documentation's table of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name under which the limit is documented.
    pub name: &'static str,
    /// The default, in `unit`.
    pub value: usize,
    /// What is counted: bytes, fields, digits.
    pub unit: &'static str,
    /// The status sent when the limit is passed.
    pub status: u16,
    /// Whether [`HeadLimits`] can change it.
    pub settable: bool,
    /// Why there is a limit and why it has this value.
    pub reason: &'static str,
}

/// Bytes of a request line without its line end. RFC 9112 §3 recommends at least 8000.
pub const REQUEST_LINE: usize = 8190;
/// Field lines in one head.
pub const FIELDS: usize = 100;
/// The most that [`HeadLimits::fields`] can be raised to: the parser keeps its work on the stack.
pub const FIELDS_CAP: usize = 256;
/// Bytes of a whole head: leading empty line, request line, field lines and the final empty line.
pub const HEAD: usize = 65_536;
/// Hexadecimal digits of one chunk size: 16 digits fill 64 bits, so no sum can overflow.
pub const CHUNK_SIZE_DIGITS: u8 = 16;
/// Decimal digits of one content-length: 19 digits always fit 64 bits.
pub const CONTENT_LENGTH_DIGITS: usize = 19;
/// Bytes of extensions on one chunk line.
pub const CHUNK_EXTENSION_LINE: u32 = 256;
/// Bytes of chunk extensions in one body.
pub const CHUNK_EXTENSION_TOTAL: u32 = 16_384;
/// Bytes of a trailer section.
pub const TRAILERS: u32 = 8192;
/// Bytes of a PROXY protocol version 1 line, its line end included (PROXY protocol §2.1).
pub const PROXY_V1: usize = 107;
/// Bytes after the 16-byte header of a PROXY protocol version 2 preface.
pub const PROXY_V2: usize = 4096;

/// Every limit on HTTP/1.1 input, in the order in which a request meets them.
pub const LIMITS: &[Limit] = &[
    Limit {
        name: "PROXY protocol v1 line",
        value: PROXY_V1,
        unit: "bytes",
        status: 400,
        settable: false,
        reason: "the longest line that the protocol allows",
    },
    Limit {
        name: "PROXY protocol v2 payload",
        value: PROXY_V2,
        unit: "bytes",
        status: 400,
        settable: false,
        reason: "addresses need at most 216 bytes, the rest is room for extensions such as a TLS certificate name",
    },
    Limit {
        name: "request line",
        value: REQUEST_LINE,
        unit: "bytes",
        status: 414,
        settable: true,
        reason: "what nginx and Apache accept; RFC 9112 §3 asks for at least 8000",
    },
    Limit {
        name: "field lines",
        value: FIELDS,
        unit: "fields",
        status: 431,
        settable: true,
        reason: "browsers send about 20; at most 256 because the parser works on the stack",
    },
    Limit {
        name: "request head",
        value: HEAD,
        unit: "bytes",
        status: 431,
        settable: true,
        reason: "room for large cookies and tokens, bounded memory for a client that never ends its head",
    },
    Limit {
        name: "content-length digits",
        value: CONTENT_LENGTH_DIGITS,
        unit: "digits",
        status: 400,
        settable: false,
        reason: "always fits 64 bits",
    },
    Limit {
        name: "chunk size digits",
        value: CHUNK_SIZE_DIGITS as usize,
        unit: "digits",
        status: 400,
        settable: false,
        reason: "always fits 64 bits",
    },
    Limit {
        name: "chunk extensions per line",
        value: CHUNK_EXTENSION_LINE as usize,
        unit: "bytes",
        status: 400,
        settable: false,
        reason: "no deployed client sends any; they are parsed and dropped",
    },
    Limit {
        name: "chunk extensions per body",
        value: CHUNK_EXTENSION_TOTAL as usize,
        unit: "bytes",
        status: 400,
        settable: false,
        reason: "keeps the ratio of overhead to content bounded over many small chunks",
    },
    Limit {
        name: "trailer section",
        value: TRAILERS as usize,
        unit: "bytes",
        status: 431,
        settable: false,
        reason: "trailers are checked and dropped, none needs more",
    },
];

/// The limits on a request head that the configuration can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the request line without its line end; 414 beyond.
    pub request_line: usize,
    /// Field lines; 431 beyond. Values over [`FIELDS_CAP`] count as [`FIELDS_CAP`].
    pub fields: usize,
    /// Bytes of the whole head, line and final empty line included; 431 beyond.
    pub head: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { request_line: REQUEST_LINE, fields: FIELDS, head: HEAD }
    }
}
