//! Comma-separated lists of tokens, RFC 9110 §5.6.1, read without allocating.
//!
//! Deliberately unknown here: quoted strings and parameters; fields with those bring their own reader. Called by
//! `h1::facts` for `Connection`, `Upgrade`, `Expect` and `Transfer-Encoding`.

use memchr::memchr;

use super::token::trim_ows;

/// The members of a list value, trimmed of optional whitespace; empty members are handed out too.
#[derive(Debug, Clone)]
pub struct Members<'v> {
    rest: Option<&'v [u8]>,
}

/// The members of a list value from left to right.
#[inline]
#[must_use]
pub fn members(value: &[u8]) -> Members<'_> {
    Members { rest: Some(value) }
}

impl<'v> Iterator for Members<'v> {
    type Item = &'v [u8];

    #[inline]
    fn next(&mut self) -> Option<&'v [u8]> {
        let rest = self.rest?;
        match memchr(b',', rest) {
            Some(comma) => {
                self.rest = Some(&rest[comma + 1..]);
                Some(trim_ows(&rest[..comma]))
            }
            None => {
                self.rest = None;
                Some(trim_ows(rest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn rfc9110_5_6_1_members_keep_order_and_empties() {
        let found: Vec<&[u8]> = members(b"a , b,,\tc").collect();
        assert_eq!(found, [&b"a"[..], b"b", b"", b"c"]);
        assert_eq!(members(b"").collect::<Vec<_>>(), [&b""[..]]);
    }
}
