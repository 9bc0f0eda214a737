//! As much of DER (X.690) as private keys in a password's protection and names in certificates need: elements of definite
//! length, one after the other. Malformed input ends the reading, nothing else.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and contents.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            length = rest[..count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = &rest[count..];
        }
        if rest.len() < length {
            return None;
        }
        let (contents, rest) = rest.split_at(length);
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, contents) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            contents
        })
    }

    /// A reader of the next element's contents.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.expect(tag).map(Reader)
    }

    /// A small number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let bytes = self.expect(INTEGER)?;
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        (!bytes.is_empty() && bytes.len() <= 8 && !negative)
            .then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An object identifier in its dotted form.
pub(super) fn dotted(object: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number: u64 = 0;
    for byte in object {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_and_cut_off_ones_are_not() {
        let bytes = [SEQUENCE, 7, INTEGER, 2, 1, 0, OCTET_STRING, 1, 9];
        let mut inside = Reader(&bytes).enter(SEQUENCE).unwrap();
        assert_eq!(inside.number(), Some(256));
        assert_eq!(inside.expect(OBJECT), None);
        assert_eq!(inside.expect(OCTET_STRING), Some(&[9][..]));
        assert!(inside.is_empty());
        for end in 0..bytes.len() {
            assert!(Reader(&bytes[..end]).next().is_none());
        }
    }

    #[test]
    fn long_lengths_are_read() {
        let mut bytes = vec![OCTET_STRING, 0x82, 1, 0];
        bytes.extend([7; 256]);
        assert_eq!(Reader(&bytes).expect(OCTET_STRING).map(<[u8]>::len), Some(256));
        assert!(Reader(&[OCTET_STRING, 0x80, 0, 0]).next().is_none());
        assert!(Reader(&[OCTET_STRING, 0x85, 0, 0, 0, 0, 0]).next().is_none());
    }

    #[test]
    fn object_identifiers_are_dotted() {
        assert_eq!(dotted(&[0x55, 4, 3]), "2.5.4.3");
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
    }
}
