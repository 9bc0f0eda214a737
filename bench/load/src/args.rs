//! The command line: plain `--name value` pairs, checked before anything is opened. Called by `main`.

use std::net::SocketAddrV4;
use std::time::Duration;

/// The text of `load --help`.
pub(crate) const HELP: &str = "\
load: a closed-loop load generator for one server on this machine

  load MODE --address 127.0.0.1:PORT [options]

modes
  http          requests on kept connections (or one connection each, see --close)
  idle          opens connections, one request on each, holds them, then asks each once more
  ws-echo       WebSocket: every connection sends a text and waits for its echo
  ws-broadcast  WebSocket: the first connection sends a text, all have to get it

options
  --connections N       connections open at the same time (64)
  --warmup SECONDS      load that is not counted, before the window (0.5)
  --seconds SECONDS     the longest window (3)
  --requests N          end the window after N completed exchanges
  --wait-start          print a ready line after the warm-up and wait for a line on standard input
  --watch PID           add this process's CPU time to the result; may be repeated
  --response-limit S    an exchange slower than this is a fault (10)
http and idle
  --path PATH           request target (/)
  --header 'Name: v'    one more request header; may be repeated
  --body-bytes N        send POST with this many bytes of 'x'
  --depth N             pipelined requests per batch (1)
  --close               ask the server to close, count an exchange when it has
  --expect-status N     the only good status (200)
  --expect-text TEXT    the only good body
  --expect-fill N       the only good body is N bytes of 'x'
  --expect-length N     the only good body length, contents unchecked
WebSocket
  --path PATH           request target (/)
  --message-bytes N     length of a message (64)
";

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Requests in a closed loop.
    Http,
    /// Connections that do nothing.
    Idle,
    /// WebSocket echo.
    WebSocketEcho,
    /// WebSocket broadcast.
    WebSocketBroadcast,
}

/// What a good body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// These bytes.
    Exactly(Vec<u8>),
    /// This many bytes of anything.
    Length(usize),
}

/// The checked command line.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) address: SocketAddrV4,
    pub(crate) connections: usize,
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
    pub(crate) requests: u64,
    pub(crate) wait_start: bool,
    pub(crate) watch: Vec<u32>,
    pub(crate) response_limit: Duration,
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body_bytes: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) close: bool,
    pub(crate) expect_status: u16,
    pub(crate) expect_body: Body,
    pub(crate) message_bytes: usize,
}

impl Args {
    /// Reads the arguments after the program's name; the error is one line for the user.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments;
        let mode = match arguments.next().as_deref() {
            Some("http") => Mode::Http,
            Some("idle") => Mode::Idle,
            Some("ws-echo") => Mode::WebSocketEcho,
            Some("ws-broadcast") => Mode::WebSocketBroadcast,
            Some(other) => return Err(format!("unknown mode {other:?}: http, idle, ws-echo or ws-broadcast")),
            None => return Err("a mode is missing: http, idle, ws-echo or ws-broadcast".into()),
        };
        let mut address = None;
        let mut args = Self {
            mode,
            address: SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0),
            connections: 64,
            warmup: Duration::from_millis(500),
            window: Duration::from_secs(3),
            requests: u64::MAX,
            wait_start: false,
            watch: Vec::new(),
            response_limit: Duration::from_secs(10),
            path: "/".into(),
            headers: Vec::new(),
            body_bytes: None,
            depth: 1,
            close: false,
            expect_status: 200,
            expect_body: Body::Length(0),
            message_bytes: 64,
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--wait-start" => args.wait_start = true,
                "--close" => args.close = true,
                _ => {
                    let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
                    match name.as_str() {
                        "--address" => address = Some(number(&name, &value)?),
                        "--connections" => args.connections = number(&name, &value)?,
                        "--warmup" => args.warmup = seconds(&name, &value)?,
                        "--seconds" => args.window = seconds(&name, &value)?,
                        "--requests" => args.requests = number(&name, &value)?,
                        "--watch" => args.watch.push(number(&name, &value)?),
                        "--response-limit" => args.response_limit = seconds(&name, &value)?,
                        "--path" => args.path = value,
                        "--header" => args.headers.push(value),
                        "--body-bytes" => args.body_bytes = Some(number(&name, &value)?),
                        "--depth" => args.depth = number(&name, &value)?,
                        "--expect-status" => args.expect_status = number(&name, &value)?,
                        "--expect-text" => args.expect_body = Body::Exactly(value.into_bytes()),
                        "--expect-fill" => args.expect_body = Body::Exactly(vec![b'x'; number(&name, &value)?]),
                        "--expect-length" => args.expect_body = Body::Length(number(&name, &value)?),
                        "--message-bytes" => args.message_bytes = number(&name, &value)?,
                        _ => return Err(format!("unknown option {name}; see load --help")),
                    }
                }
            }
        }
        args.address = address.ok_or("--address 127.0.0.1:PORT is missing")?;
        args.check()
    }

    fn check(self) -> Result<Self, String> {
        let positive =
            |name: &str, value: usize| if value == 0 { Err(format!("{name} must be at least 1")) } else { Ok(()) };
        positive("--connections", self.connections)?;
        positive("--depth", self.depth)?;
        if self.close && self.depth > 1 {
            return Err("--close sends one request per connection, so it excludes --depth".into());
        }
        if self.message_bytes < 40 {
            return Err("--message-bytes must be at least 40: a message carries its number".into());
        }
        if !self.path.starts_with('/') || self.path.contains(char::is_whitespace) {
            return Err("--path must start with / and contain no spaces".into());
        }
        if self.headers.iter().any(|line| !line.contains(':') || line.contains(['\r', '\n'])) {
            return Err("--header takes one line 'Name: value'".into());
        }
        Ok(self)
    }

    /// The bytes of one request.
    pub(crate) fn request(&self) -> Vec<u8> {
        let method = if self.body_bytes.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.address);
        for line in &self.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        if let Some(length) = self.body_bytes {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + self.body_bytes.unwrap_or(0), b'x');
        request
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} cannot be {value:?}"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    let seconds: f64 = number(name, value)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{name} cannot be {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split(' ').map(String::from))
    }

    #[test]
    fn builds_a_post() {
        let args = parse("http --address 127.0.0.1:80 --path /e --body-bytes 3 --header A:b --close").unwrap();
        let wanted =
            "POST /e HTTP/1.1\r\nHost: 127.0.0.1:80\r\nA:b\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxxx";
        assert_eq!(String::from_utf8(args.request()).unwrap(), wanted);
    }

    #[test]
    fn names_what_is_wrong() {
        for (line, word) in [
            ("ftp", "mode"),
            ("http", "--address"),
            ("http --address 127.0.0.1:80 --depth 0", "--depth"),
            ("http --address 127.0.0.1:80 --close --depth 2", "--close"),
            ("http --address 127.0.0.1:80 --nonsense 1", "--nonsense"),
            ("http --address 127.0.0.1:80 --seconds -1", "--seconds"),
            ("http --address localhost", "--address"),
        ] {
            assert!(parse(line).unwrap_err().contains(word), "{line}");
        }
    }
}
