//! The fields that every response ends with: `server`, `date`, and what the options add (RFC 9110 §6.6.1, §10.2.4).

use crate::io::clock;
use crate::settings::Settings;

/// Rendered once a second.
pub(crate) struct FixedFields {
    second: u64,
    server: bool,
    date: bool,
    extra: Vec<u8>,
    /// On TLS connections, behind the others.
    pub(crate) secure: Vec<u8>,
    pub(crate) rendered: Vec<u8>,
    date_line: String,
}

impl FixedFields {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            second: 0,
            server: settings.server_header,
            date: settings.date_header,
            extra: settings.default_headers.clone(),
            secure: settings.hsts.clone(),
            rendered: Vec::new(),
            date_line: String::new(),
        }
    }

    #[inline]
    pub(crate) fn refresh(&mut self) {
        let second = clock::unix_seconds();
        if second != self.second {
            self.second = second;
            self.date_line = format!("date: {}\r\n", clock::http_date(second));
            self.rendered.clear();
            let (server, date) = (self.server, self.date);
            let mut rendered = std::mem::take(&mut self.rendered);
            self.render(&mut rendered, server, date);
            self.rendered = rendered;
        }
    }

    fn render(&self, out: &mut Vec<u8>, server: bool, date: bool) {
        if server {
            out.extend_from_slice(b"server: swell\r\n");
        }
        if date {
            out.extend_from_slice(self.date_line.as_bytes());
        }
        out.extend_from_slice(&self.extra);
    }

    /// Appends the fields, without those that the application gave itself.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>, has_server: bool, has_date: bool) {
        if has_server || has_date {
            self.render(out, self.server && !has_server, self.date && !has_date);
        } else {
            out.extend_from_slice(&self.rendered);
        }
    }
}
