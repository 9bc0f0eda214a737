//! What a peer can do wrong, as data: one row per rule with the status to answer, one plain sentence and the section
//! of the RFC that says so.
//!
//! Every error in this crate is the peer's fault and ends the connection after the answer: once the framing of a
//! message is in doubt, nothing behind it can be trusted (RFC 9112 §11.2). Deliberately unknown here: how the answer
//! is written, what is logged, who the peer is. Called by every parser of this crate; read by the engine.

use std::fmt;

macro_rules! kinds {
    ($($(#[$group:meta])* $kind:ident, $status:literal, $section:literal, $reason:literal;)*) => {
        /// One rule that a peer broke. The row of the rule is read through [`WireError`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$group])* #[doc = $reason] $kind,)*
        }

        const ROWS: &[Row] = &[$(Row { kind: Kind::$kind, status: $status, section: $section, reason: $reason },)*];
    };
}

struct Row {
    kind: Kind,
    status: u16,
    section: &'static str,
    reason: &'static str,
}

kinds! {
    // Lines and the request line
    BareLf, 400, "RFC 9112 §2.2", "a line ends in LF without CR";
    BareCr, 400, "RFC 9112 §2.2", "a CR is not followed by LF";
    EmptyLines, 400, "RFC 9112 §2.2", "more than one empty line before the request line";
    RequestLineTooLong, 414, "RFC 9112 §3", "the request line is longer than the limit";
    BadMethod, 400, "RFC 9110 §9.1", "the method is not a token";
    BadRequestLine, 400, "RFC 9112 §3", "the request line is not method SP target SP version";
    BadVersion, 400, "RFC 9112 §2.3", "the version is not of the form HTTP/d.d";
    UnsupportedVersion, 505, "RFC 9110 §15.6.6", "only HTTP/1.0 and HTTP/1.1 are spoken here";
    BadTargetByte, 400, "RFC 9112 §3.2", "the request target contains a byte that no URI may contain";
    BadTarget, 400, "RFC 9112 §3.2", "the request target has none of the four forms";
    BadTargetAuthority, 400, "RFC 9112 §3.2.2", "the authority in the request target is not host[:port]";
    AsteriskMethod, 400, "RFC 9112 §3.2.4", "only OPTIONS may ask for *";
    ConnectRefused, 501, "RFC 9110 §9.3.6", "CONNECT is for proxies and is not implemented";

    // Field lines
    FieldNoName, 400, "RFC 9112 §5", "a field line starts with the colon";
    FieldNoColon, 400, "RFC 9112 §5", "a field line has no colon";
    FieldSpaceBeforeColon, 400, "RFC 9112 §5.1", "whitespace between a field name and the colon";
    FieldBadName, 400, "RFC 9110 §5.1", "a field name contains a byte that is not a token character";
    FieldBadValue, 400, "RFC 9110 §5.5", "a field value contains a control character";
    FieldFolded, 400, "RFC 9112 §5.2", "a field line starts with whitespace (obsolete line folding)";
    TooManyFields, 431, "RFC 6585 §5", "more field lines than the limit";
    HeadTooLarge, 431, "RFC 6585 §5", "the request head is larger than the limit";

    // Message framing
    ContentLengthBad, 400, "RFC 9110 §8.6", "content-length is not a plain decimal number that fits";
    ContentLengthTwice, 400, "RFC 9112 §6.3", "more than one content-length field";
    LengthAndCoding, 400, "RFC 9112 §6.3", "both content-length and transfer-encoding";
    TransferEncodingTwice, 400, "RFC 9112 §6.1", "more than one transfer-encoding field";
    TransferEncodingBad, 400, "RFC 9112 §6.3", "transfer-encoding is not exactly one final chunked";
    TransferEncodingUnknown, 501, "RFC 9112 §6.1", "a transfer coding other than chunked is not implemented";
    TransferEncodingOn10, 400, "RFC 9112 §6.1", "transfer-encoding in an HTTP/1.0 message";

    // Fields that concern the connection or the target
    HostMissing, 400, "RFC 9112 §3.2", "an HTTP/1.1 request without a host field";
    HostTwice, 400, "RFC 9112 §3.2", "more than one host field";
    HostBad, 400, "RFC 9110 §7.2", "the host field is not host[:port]";
    HostMismatch, 400, "RFC 9112 §3.2.2", "the host field differs from the authority in the request target";
    ExpectationUnknown, 417, "RFC 9110 §10.1.1", "an expectation other than 100-continue";

    // Chunked bodies
    ChunkSizeBad, 400, "RFC 9112 §7.1", "a chunk size is not 1 to 16 hexadecimal digits";
    ChunkExtensionBad, 400, "RFC 9112 §7.1.1", "a chunk extension breaks its grammar";
    ChunkExtensionTooLong, 400, "RFC 9112 §7.1.1", "chunk extensions are longer than the limit";
    ChunkLineEnd, 400, "RFC 9112 §7.1", "a chunk line or chunk data does not end in CRLF";
    TrailerForbidden, 400, "RFC 9110 §6.5.1", "a trailer field that may only stand in the head";
    TrailersTooLarge, 431, "RFC 9112 §7.1.2", "the trailer section is larger than the limit";

    // PROXY protocol
    ProxyPreface, 400, "PROXY protocol §2", "the connection does not start with a PROXY protocol preface";
    ProxyTooLong, 400, "PROXY protocol §2", "the PROXY protocol preface is longer than the limit";
    ProxyAddress, 400, "PROXY protocol §2", "the PROXY protocol preface carries malformed addresses";

    // HTTP/2 pseudo-header fields
    BadPath, 400, "RFC 9113 §8.3.1", "the path does not begin with a slash";
    AuthorityMissing, 400, "RFC 9113 §8.3.1", "neither an authority nor a host field";
    AuthorityMismatch, 400, "RFC 9113 §8.3.1", "the host field differs from the authority";
    OnlyHttp2, 505, "RFC 9110 §15.6.6", "only HTTP/2 is spoken here (http_version)";
    ProtocolUnknown, 501, "RFC 8441 §4", "only WebSocket is spoken over an extended CONNECT";

    // WebSocket opening handshake
    WebSocketVersion, 426, "RFC 6455 §4.4", "sec-websocket-version is not 13";
    WebSocketKey, 400, "RFC 6455 §4.2.1", "sec-websocket-key is not the base64 of 16 bytes, given once";
    WebSocketProtocol, 400, "RFC 6455 §4.2.1", "sec-websocket-protocol is not a list of distinct tokens";
    WebSocketExtensions, 400, "RFC 6455 §9.1", "sec-websocket-extensions breaks its grammar";
}

/// A rule of the protocol that the peer broke. Small and `Copy`; everything else is looked up in a table.
///
/// Whoever receives one answers with [`status`](Self::status) and closes the connection; bytes behind the offending
/// ones are never read as a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireError(Kind);

impl WireError {
    /// The error for one rule.
    #[inline]
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self(kind)
    }

    /// Which rule was broken.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.0
    }

    /// The HTTP status code to answer with before the connection is closed.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// What was wrong, in one plain sentence without a full stop, fit for a log line.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.row().reason
    }

    /// The section that states the rule, such as `RFC 9112 §6.1`.
    #[must_use]
    pub fn section(self) -> &'static str {
        self.row().section
    }

    /// Every rule in the table, in order of declaration: for the documentation and its tests.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| Self(row.kind))
    }

    fn row(self) -> &'static Row {
        // The rows stand in the order of the enum: both come from one list.
        &ROWS[self.0 as usize]
    }
}

impl From<Kind> for WireError {
    #[inline]
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason(), self.section())
    }
}

impl std::error::Error for WireError {}
