//! The load generator of the measuring rig: one thread, one epoll, a closed loop over N connections.
//!
//! It counts only complete exchanges whose status, length and content are the expected ones, and reports every other
//! one as a fault. It is bounded by time and by count, prints one line of JSON, and exits with 1 when anything failed.

mod args;
mod cpu;
mod driver;
mod fault;
mod frame;
mod histogram;
mod http;
mod report;
mod response;
mod run;
mod websocket;

use std::process::ExitCode;

use args::{Args, Mode};
use websocket::WebSocket;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "--help") {
        print!("{}", args::HELP);
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse(arguments) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("load: {message}");
            return ExitCode::from(2);
        }
    };
    match measure(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(1)
        }
    }
}

fn measure(args: &Args) -> std::io::Result<bool> {
    let host = args.address.to_string();
    match args.mode {
        Mode::Http => run::window(args, http::Http::new(run::plan(args, false))),
        Mode::Idle => run::idle(args),
        Mode::WebSocketEcho => {
            run::window(args, WebSocket::new(&host, &args.path, args.message_bytes, websocket::Mode::Echo))
        }
        Mode::WebSocketBroadcast => {
            let mode = websocket::Mode::Broadcast { clients: args.connections };
            run::window(args, WebSocket::new(&host, &args.path, args.message_bytes, mode))
        }
    }
}
