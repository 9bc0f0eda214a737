//! The response side of one HTTP/1.1 exchange: what the application may say next, and what that does to the wire.
//!
//! RFC 9112 §6 (framing), RFC 9110 §6.4.1 and §9.3.2 (messages without a body). Called by the engine with the
//! application's events already checked for type; it does not know ASGI, buffers or bytes, only lengths.
//!
//! | state     | start           | body                              | end of body                  | trailers |
//! |-----------|-----------------|-----------------------------------|------------------------------|----------|
//! | Awaited   | Held            | `BodyFirst`                       | `BodyFirst`                  | `BodyFirst` |
//! | Held      | `StartTwice`    | head chosen → Streaming           | head chosen → Complete/Trailing | `TrailersEarly` |
//! | Streaming | `StartTwice`    | Streaming, `TooMuch`              | Complete/Trailing, `TooLittle`  | `TrailersEarly` |
//! | Trailing  | `StartTwice`    | `AfterEnd`                        | `AfterEnd`                   | Complete |
//! | Complete  | `AfterEnd`      | `AfterEnd`                        | `AfterEnd`                   | `AfterEnd` |

/// Where the response of one exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The application has said nothing; interim (1xx) responses are still allowed.
    Awaited,
    /// The head was given but waits for the first body event, which decides its framing.
    Held(Held),
    /// The head is encoded, the body is under way.
    Streaming(Body),
    /// The last of the body is encoded, promised trailers are not.
    Trailing(Trailers),
    /// Everything was encoded.
    Complete,
}

/// A head that was accepted and not yet framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The body's length as the application declared it.
    pub length: Option<u64>,
    /// The application promised trailers.
    pub trailers: bool,
    /// No body may be sent: the request was HEAD or the status forbids one.
    pub bodiless: bool,
    /// The recipient understands chunked (HTTP/1.1).
    pub chunked: bool,
}

/// A body under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    framing: BodyFraming,
    /// Trailers follow the body; the application promised them.
    trailers: bool,
}

/// What happens to the trailers that the application sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// They follow the last chunk (RFC 9112 §7.1.2).
    Written,
    /// The message has no place for them: HEAD, 204, 304, HTTP/1.0.
    Dropped,
}

/// How the body of a response under way is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// `Content-Length`: this many bytes are still owed.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection ends the body (HTTP/1.0, RFC 9112 §6.3 rule 8).
    UntilClose,
    /// Body bytes are accepted and dropped: HEAD, 204, 304.
    Bodiless,
}

/// The framing field the head must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFraming {
    /// Nothing to add: the application's own `Content-Length` stands, or no body may follow.
    AsGiven,
    /// Add `Content-Length` with this value.
    AddLength(u64),
    /// Add `Transfer-Encoding: chunked`.
    AddChunked,
    /// Add `Connection: close`; the end of the connection ends the body.
    AddClose,
}

/// What a body event does to the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyStep {
    /// The head goes out first, framed like this.
    pub head: Option<HeadFraming>,
    /// How the bytes of this event are written.
    pub write: Write,
    /// The response is complete after this event.
    pub complete: bool,
}

/// How the bytes of one body event are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// As they are.
    Plain,
    /// As one chunk (none when there are no bytes).
    Chunk,
    /// As one chunk, then the last chunk and an empty trailer section.
    ChunkAndEnd,
    /// As one chunk, then the last chunk; the trailer section follows.
    ChunkAndTrailers,
    /// Not at all.
    Drop,
}

/// An event that the application was not allowed to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A body or trailers before the start of the response.
    BodyFirst,
    /// A second start.
    StartTwice,
    /// Anything after the end of the response.
    AfterEnd,
    /// More body than `Content-Length` announced.
    TooMuch {
        /// Bytes that were still owed.
        owed: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The body ended before `Content-Length` was reached.
    TooLittle {
        /// Bytes that are still owed.
        owed: u64,
    },
    /// Trailers before the end of the body, or without having been promised.
    TrailersEarly,
}

impl Violation {
    /// One plain sentence for the application's author.
    #[must_use]
    pub fn explain(self) -> String {
        match self {
            Self::BodyFirst => "the response has not been started: send http.response.start first".into(),
            Self::StartTwice => "the response was already started; http.response.start is sent once".into(),
            Self::AfterEnd => "the response is already complete; nothing more can be sent for this request".into(),
            Self::TooMuch { owed, got } => format!(
                "the body is longer than its content-length: {got} bytes were sent where {owed} were left (RFC 9110 §8.6)"
            ),
            Self::TooLittle { owed } => {
                format!("the body is shorter than its content-length: {owed} bytes are missing (RFC 9110 §8.6)")
            }
            Self::TrailersEarly => {
                "trailers come after the last body event and need \"trailers\": True in http.response.start".into()
            }
        }
    }
}

impl Response {
    /// The application starts the response.
    ///
    /// # Errors
    /// [`Violation::StartTwice`] or [`Violation::AfterEnd`].
    pub fn start(&mut self, held: Held) -> Result<(), Violation> {
        match self {
            Self::Awaited => {
                *self = Self::Held(held);
                Ok(())
            }
            Self::Held(_) | Self::Streaming(_) | Self::Trailing(_) => Err(Violation::StartTwice),
            Self::Complete => Err(Violation::AfterEnd),
        }
    }

    /// The head has to leave before a body event came (the application is waiting for something else).
    /// Returns its framing when there was a head to send.
    pub fn release_head(&mut self) -> Option<HeadFraming> {
        let Self::Held(held) = *self else { return None };
        let (framing, head) = held.streaming();
        *self = Self::Streaming(Body { framing, trailers: held.trailers });
        Some(head)
    }

    /// The application sends `length` bytes of body; `last` when no more follow.
    ///
    /// # Errors
    /// A [`Violation`]; the state is then unchanged, so what is on the wire stays well-formed.
    pub fn body(&mut self, length: u64, last: bool) -> Result<BodyStep, Violation> {
        let (body, head) = match *self {
            Self::Awaited => return Err(Violation::BodyFirst),
            Self::Trailing(_) | Self::Complete => return Err(Violation::AfterEnd),
            Self::Streaming(body) => (body, None),
            Self::Held(held) => {
                let (framing, head) = if last { held.whole(length) } else { held.streaming() };
                (Body { framing, trailers: held.trailers }, Some(head))
            }
        };
        let (next, write) = body.advance(length, last)?;
        *self = next;
        Ok(BodyStep { head, write, complete: matches!(next, Self::Complete) })
    }

    /// The application sends its (last) trailers. Returns whether they are written.
    ///
    /// # Errors
    /// [`Violation::TrailersEarly`] unless the body has ended and trailers were promised.
    pub fn trailers(&mut self, last: bool) -> Result<bool, Violation> {
        match *self {
            Self::Trailing(trailers) => {
                if last {
                    *self = Self::Complete;
                }
                Ok(trailers == Trailers::Written)
            }
            Self::Complete => Err(Violation::AfterEnd),
            Self::Awaited => Err(Violation::BodyFirst),
            Self::Held(_) | Self::Streaming(_) => Err(Violation::TrailersEarly),
        }
    }

    /// True when only the end of the connection tells where the body ends: an early end would pass for a whole body.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Streaming(body) if body.framing == BodyFraming::UntilClose)
    }

    /// True while the body goes on and nobody was told where it ends: to end it now is no error on the wire.
    #[must_use]
    pub fn open_ended(&self) -> bool {
        matches!(self, Self::Streaming(body) if matches!(body.framing, BodyFraming::Chunked | BodyFraming::UntilClose))
    }

    /// True while an error can still be answered with a status of its own: no byte of this response is encoded.
    #[must_use]
    pub fn replaceable(&self) -> bool {
        matches!(self, Self::Awaited | Self::Held(_))
    }
}

impl Held {
    /// The framing when the whole body is one event.
    fn whole(self, length: u64) -> (BodyFraming, HeadFraming) {
        match self.length {
            _ if self.bodiless => (BodyFraming::Bodiless, HeadFraming::AsGiven),
            _ if self.trailers && self.chunked => self.streaming(),
            Some(declared) => (BodyFraming::Length(declared), HeadFraming::AsGiven),
            None => (BodyFraming::Length(length), HeadFraming::AddLength(length)),
        }
    }

    /// The framing when more events follow.
    fn streaming(self) -> (BodyFraming, HeadFraming) {
        match self.length {
            _ if self.bodiless => (BodyFraming::Bodiless, HeadFraming::AsGiven),
            // Trailers need chunked; HTTP/1.0 gets neither (RFC 9112 §6.1).
            _ if self.trailers && self.chunked => (BodyFraming::Chunked, HeadFraming::AddChunked),
            Some(declared) => (BodyFraming::Length(declared), HeadFraming::AsGiven),
            None if self.chunked => (BodyFraming::Chunked, HeadFraming::AddChunked),
            None => (BodyFraming::UntilClose, HeadFraming::AddClose),
        }
    }
}

impl Body {
    fn advance(self, length: u64, last: bool) -> Result<(Response, Write), Violation> {
        let trailers = self.trailers;
        let after = |framing| match (last, trailers) {
            (false, _) => Response::Streaming(Self { framing, trailers }),
            (true, false) => Response::Complete,
            (true, true) if framing == BodyFraming::Chunked => Response::Trailing(Trailers::Written),
            (true, true) => Response::Trailing(Trailers::Dropped),
        };
        match self.framing {
            BodyFraming::Length(owed) => {
                let left = owed.checked_sub(length).ok_or(Violation::TooMuch { owed, got: length })?;
                if last && left > 0 {
                    return Err(Violation::TooLittle { owed: left });
                }
                Ok((after(BodyFraming::Length(left)), Write::Plain))
            }
            BodyFraming::Chunked => {
                let write = match (last, trailers) {
                    (false, _) => Write::Chunk,
                    (true, false) => Write::ChunkAndEnd,
                    (true, true) => Write::ChunkAndTrailers,
                };
                Ok((after(self.framing), write))
            }
            BodyFraming::UntilClose => Ok((after(self.framing), Write::Plain)),
            BodyFraming::Bodiless => Ok((after(self.framing), Write::Drop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(length: Option<u64>) -> Held {
        Held { length, trailers: false, bodiless: false, chunked: true }
    }

    fn started(held: Held) -> Response {
        let mut response = Response::Awaited;
        response.start(held).unwrap();
        response
    }

    #[test]
    fn a_single_body_without_length_gets_one() {
        let mut response = started(held(None));
        let step = response.body(13, true).unwrap();
        assert_eq!(step.head, Some(HeadFraming::AddLength(13)));
        assert_eq!(step.write, Write::Plain);
        assert!(step.complete);
    }

    #[test]
    fn a_stream_without_length_is_chunked_on_1_1_and_closed_on_1_0() {
        let mut response = started(held(None));
        let step = response.body(1, false).unwrap();
        assert_eq!((step.head, step.write), (Some(HeadFraming::AddChunked), Write::Chunk));
        assert_eq!(response.body(0, true).unwrap().write, Write::ChunkAndEnd);

        let mut old = started(Held { chunked: false, ..held(None) });
        assert_eq!(old.body(1, false).unwrap().head, Some(HeadFraming::AddClose));
        assert_eq!(old.body(1, true).unwrap().write, Write::Plain);
    }

    #[test]
    fn a_declared_length_is_enforced_both_ways_and_state_survives() {
        let mut response = started(held(Some(5)));
        assert_eq!(response.body(6, true), Err(Violation::TooMuch { owed: 5, got: 6 }));
        assert!(response.replaceable());
        assert_eq!(response.body(4, true), Err(Violation::TooLittle { owed: 1 }));
        response.body(4, false).unwrap();
        assert_eq!(response, Response::Streaming(Body { framing: BodyFraming::Length(1), trailers: false }));
        assert!(response.body(1, true).unwrap().complete);
        assert_eq!(response.body(0, true), Err(Violation::AfterEnd));
    }

    #[test]
    fn bodiless_responses_drop_bytes_and_keep_the_declared_length() {
        let mut response = started(Held { bodiless: true, ..held(Some(100)) });
        let step = response.body(3, true).unwrap();
        assert_eq!((step.head, step.write, step.complete), (Some(HeadFraming::AsGiven), Write::Drop, true));
    }

    #[test]
    fn trailers_need_a_promise_and_the_end_of_the_body() {
        let mut response = started(Held { trailers: true, ..held(Some(3)) });
        assert_eq!(response.trailers(true), Err(Violation::TrailersEarly));
        let step = response.body(3, true).unwrap();
        assert_eq!(
            (step.head, step.write, step.complete),
            (Some(HeadFraming::AddChunked), Write::ChunkAndTrailers, false)
        );
        assert_eq!(response.trailers(false), Ok(true));
        assert_eq!(response.trailers(true), Ok(true));
        assert_eq!(response, Response::Complete);

        for untold in [Held { bodiless: true, ..held(None) }, Held { chunked: false, ..held(None) }] {
            let mut response = started(Held { trailers: true, ..untold });
            assert!(!response.body(3, true).unwrap().complete);
            assert_eq!(response.trailers(true), Ok(false));
            assert_eq!(response, Response::Complete);
        }

        let mut plain = started(held(None));
        plain.body(1, true).unwrap();
        assert_eq!(plain.trailers(true), Err(Violation::AfterEnd));
    }

    #[test]
    fn a_body_under_way_without_a_length_is_open_ended() {
        let streaming = |held| {
            let mut response = started(held);
            assert!(!response.open_ended());
            response.body(1, false).unwrap();
            response
        };
        let mut chunked = streaming(held(None));
        assert!(chunked.open_ended());
        chunked.body(0, true).unwrap();
        assert!(!chunked.open_ended());
        assert!(streaming(Held { chunked: false, ..held(None) }).open_ended());
        assert!(!streaming(held(Some(5))).open_ended());
        assert!(!streaming(Held { bodiless: true, ..held(None) }).open_ended());
    }

    #[test]
    fn the_order_is_enforced() {
        let mut response = Response::Awaited;
        assert_eq!(response.body(0, true), Err(Violation::BodyFirst));
        assert_eq!(response.trailers(true), Err(Violation::BodyFirst));
        response.start(held(None)).unwrap();
        assert_eq!(response.start(held(None)), Err(Violation::StartTwice));
        assert_eq!(response.release_head(), Some(HeadFraming::AddChunked));
        assert_eq!(response.release_head(), None);
        assert_eq!(response.start(held(None)), Err(Violation::StartTwice));
    }
}
