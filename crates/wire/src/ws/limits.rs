//! The sizes at which the WebSocket side refuses, each with unit, reason and the close code it produces. One table of
//! them is for the documentation.
//!
//! Deliberately unknown here: time (ping interval and time-outs belong to the engine). Read by `connection`, by the
//! engine's configuration and by the documentation.

/// Bytes of one message, after inflation. The value that Python's peers use, so that an application can move.
pub const MESSAGE: usize = 16 * 1024 * 1024;

/// Frames of one message. Empty continuation frames grow no buffer but cost time; 2^17 still lets a peer send the
/// largest message in fragments of 128 bytes.
pub const FRAMES_PER_MESSAGE: usize = 131_072;

/// Inflated bytes per compressed byte. Deflate reaches 1032, the JSON of `ws_cost` 9: only data that says nothing gets
/// near 100.
pub const INFLATE_RATIO: u32 = 100;

/// Inflated bytes from which the ratio is looked at: below, a high ratio is common and harmless.
pub const INFLATE_RATIO_FLOOR: usize = 1024 * 1024;

/// What a connection accepts from the peer. Every value is checked while the bytes arrive, before memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WsLimits {
    /// Bytes of one message after inflation. A frame that announces more fails at its head. Default [`MESSAGE`].
    pub message: usize,
    /// Frames of one message, empty ones included. Default [`FRAMES_PER_MESSAGE`].
    pub frames_per_message: usize,
    /// Inflated bytes per compressed byte, looked at above [`INFLATE_RATIO_FLOOR`]; 0 turns the check off.
    /// Default [`INFLATE_RATIO`].
    pub inflate_ratio: u32,
}

impl Default for WsLimits {
    fn default() -> Self {
        Self { message: MESSAGE, frames_per_message: FRAMES_PER_MESSAGE, inflate_ratio: INFLATE_RATIO }
    }
}

/// One row of the documentation's table of WebSocket limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WsLimit {
    /// The name under which the limit is documented.
    pub name: &'static str,
    /// The default, in `unit`.
    pub value: usize,
    /// What is counted.
    pub unit: &'static str,
    /// The close code sent when the limit is passed.
    pub close_code: u16,
    /// Whether [`WsLimits`] can change it.
    pub settable: bool,
    /// Why there is a limit and why it has this value.
    pub reason: &'static str,
}

/// Every limit on WebSocket input.
pub const WS_LIMITS: &[WsLimit] = &[
    WsLimit {
        name: "control frame payload",
        value: super::frame::CONTROL_MAX,
        unit: "bytes",
        close_code: 1002,
        settable: false,
        reason: "RFC 6455 §5.5",
    },
    WsLimit {
        name: "message",
        value: MESSAGE,
        unit: "bytes after inflation",
        close_code: 1009,
        settable: true,
        reason: "a message is kept in memory until it is complete",
    },
    WsLimit {
        name: "frames per message",
        value: FRAMES_PER_MESSAGE,
        unit: "frames",
        close_code: 1009,
        settable: true,
        reason: "empty frames cost time without ever reaching the size limit",
    },
    WsLimit {
        name: "inflate ratio",
        value: INFLATE_RATIO as usize,
        unit: "inflated bytes per compressed byte, above 1 MiB",
        close_code: 1009,
        settable: true,
        reason: "a few kilobytes must not cost the memory and time of megabytes",
    },
];
