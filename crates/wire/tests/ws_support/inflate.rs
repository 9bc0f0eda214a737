//! A second inflater, RFC 1951, slow and plain: what a compressor made, and how far back it referred. Inflaters of the
//! usual libraries read references beyond the agreed window without a word.

/// The stream as bits, lowest first (RFC 1951 §3.1.1).
struct Bits<'s> {
    stream: &'s [u8],
    position: usize,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        self.stream.len() * 8 - self.position
    }

    fn take(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.stream[at / 8] >> (at % 8) & 1);
        let value = (0..count).fold(0, |sum, index| sum | bit(self.position + index) << index);
        self.position += count;
        value
    }
}

/// The canonical code of some lengths: for each length its first code, and its symbols (RFC 1951 §3.2.2).
struct Code(Vec<(usize, Vec<usize>)>);

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut rows = vec![(0, Vec::new())];
        let mut next = 0;
        for length in 1..=15 {
            next <<= 1;
            let symbols: Vec<usize> = (0..lengths.len()).filter(|it| lengths[*it] == length).collect();
            let first = next;
            next += symbols.len();
            rows.push((first, symbols));
        }
        Self(rows)
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let mut code = 0;
        for (first, symbols) in &self.0[1..] {
            code = code << 1 | bits.take(1);
            if let Some(symbol) = code.checked_sub(*first).and_then(|place| symbols.get(place)) {
                return *symbol;
            }
        }
        panic!("no symbol has this code");
    }
}

/// The bytes of a stream that ends in a sync flush, and the longest distance in it.
pub fn inflate(stream: &[u8]) -> (Vec<u8>, usize) {
    let mut bits = Bits { stream, position: 0 };
    let (mut out, mut furthest) = (Vec::new(), 0);
    while bits.left() >= 8 {
        assert_eq!(bits.take(1), 0, "a sync flush leaves no final block");
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.position = bits.position.next_multiple_of(8);
                let length = bits.take(16);
                assert_eq!(length ^ 0xFFFF, bits.take(16));
                out.extend((0..length).map(|_| bits.take(8) as u8));
                continue;
            }
            1 => {
                let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
                (Code::new(&lengths), Code::new(&[5; 30]))
            }
            2 => dynamic(&mut bits),
            _ => panic!("block type 3"),
        };
        loop {
            match literals.read(&mut bits) {
                256 => break,
                literal @ 0..256 => out.push(literal as u8),
                symbol => {
                    let length = match symbol - 257 {
                        short @ 0..8 => 3 + short,
                        28 => 258,
                        long => 3 + ((4 + long % 4) << (long / 4 - 1)) + bits.take(long / 4 - 1),
                    };
                    let distance = match distances.read(&mut bits) {
                        short @ 0..4 => 1 + short,
                        long => 1 + ((2 + long % 2) << (long / 2 - 1)) + bits.take(long / 2 - 1),
                    };
                    furthest = furthest.max(distance);
                    for _ in 0..length {
                        out.push(out[out.len() - distance]);
                    }
                }
            }
        }
    }
    (out, furthest)
}

/// The codes that a block brings along (RFC 1951 §3.2.7).
fn dynamic(bits: &mut Bits<'_>) -> (Code, Code) {
    let (literals, distances, given) = (257 + bits.take(5), 1 + bits.take(5), 4 + bits.take(4));
    let mut lengths = [0; 19];
    for place in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].iter().take(given) {
        lengths[*place] = bits.take(3) as u8;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits) {
            16 => (lengths[lengths.len() - 1], 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length as u8, 1),
        };
        lengths.resize(lengths.len() + times, value);
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}
