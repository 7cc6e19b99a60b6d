//! The header of numpy's `.npy` arrays, and the integers in them. Versions 1 and 2 are read
//! strictly as described at
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use std::io::{Error, ErrorKind, Read};

const MAGIC: &[u8] = b"\x93NUMPY";
/// numpy's limit (`max_header_size`). A longer header is damaged.
const LONGEST_HEADER: usize = 10_000;

/// The header of an array.
pub(super) struct Header {
    /// The bytes of the header.
    pub raw: Vec<u8>,
    /// numpy's name of the element type, such as `|u1` or `<i8`.
    pub element: String,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
}

/// How numpy stores an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Integer {
    big_endian: bool,
    signed: bool,
    /// Bytes per integer.
    pub size: usize,
}

impl Integer {
    /// From numpy's name of the element type; `None` if it is not an integer type.
    pub fn parse(element: &str) -> Option<Integer> {
        let (order, signed, size) = match *element.as_bytes() {
            [order, b'u', size] => (order, false, size),
            [order, b'i', size] => (order, true, size),
            _ => return None,
        };
        // A single byte has no order, and is written with a bar.
        match (order, size) {
            (b'|', b'1') | (b'<' | b'>', b'2' | b'4' | b'8') => {
                Some(Integer { big_endian: order == b'>', signed, size: usize::from(size - b'0') })
            }
            _ => None,
        }
    }

    /// The number in `size` bytes.
    pub fn decode(self, bytes: &[u8]) -> i128 {
        match (self.signed, self.big_endian) {
            (false, false) => i128::from(LittleEndian::read_uint(bytes, self.size)),
            (false, true) => i128::from(BigEndian::read_uint(bytes, self.size)),
            (true, false) => i128::from(LittleEndian::read_int(bytes, self.size)),
            (true, true) => i128::from(BigEndian::read_int(bytes, self.size)),
        }
    }
}

/// The error message for an array whose stream ends early or fails.
pub(super) fn unreadable(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "ends early: download it again".to_string(),
        _ => format!("is damaged ({error}): download it again"),
    }
}

/// Reads the header, and leaves the stream at the first element.
pub(super) fn read_header(stream: &mut impl Read) -> Result<Header, String> {
    let mut raw = Vec::new();
    let mut more = |raw: &mut Vec<u8>, count: usize| {
        let start = raw.len();
        raw.resize(start + count, 0);
        stream.read_exact(&mut raw[start..]).map_err(|error| unreadable(&error))
    };
    more(&mut raw, MAGIC.len() + 2)?;
    if !raw.starts_with(MAGIC) {
        return Err("is not a .npy file".to_string());
    }
    let (major, minor) = (raw[MAGIC.len()], raw[MAGIC.len() + 1]);
    let length = match (major, minor) {
        (1, 0) => {
            more(&mut raw, 2)?;
            usize::from(LittleEndian::read_u16(&raw[8..]))
        }
        (2, 0) => {
            more(&mut raw, 4)?;
            LittleEndian::read_u32(&raw[8..]) as usize
        }
        _ => return Err(format!("is of version {major}.{minor} of the .npy format, not 1.0 or 2.0")),
    };
    if length > LONGEST_HEADER {
        return Err(format!("promises a header of {length} bytes: it is damaged"));
    }
    let start = raw.len();
    more(&mut raw, length)?;
    let text = String::from_utf8_lossy(&raw[start..]).into_owned();
    let (element, fortran_order, shape) =
        parse(&text).ok_or_else(|| format!("has a header that is not understood: {}", text.trim_end()))?;
    Ok(Header { raw, element, fortran_order, shape })
}

/// Element type, order and shape from the literal of a Python dictionary with exactly these three
/// keys.
fn parse(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let mut rest = Literal(text);
    let (mut element, mut fortran_order, mut shape) = (None, None, None);
    rest.take("{")?;
    while rest.take("}").is_none() {
        let key = rest.quoted()?;
        rest.take(":")?;
        // A key that appears twice is ambiguous.
        let fresh = match key {
            "descr" => element.replace(rest.quoted()?.to_string()).is_none(),
            "fortran_order" => fortran_order.replace(rest.boolean()?).is_none(),
            "shape" => shape.replace(rest.tuple()?).is_none(),
            _ => false,
        };
        if !fresh {
            return None;
        }
        if rest.take(",").is_none() {
            rest.take("}")?;
            break;
        }
    }
    rest.0.trim().is_empty().then_some((element?, fortran_order?, shape?))
}

/// The rest of a Python literal. Each method removes one item from the front, or returns `None` if
/// the front is something else.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn take(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<&'a str> {
        self.take("'")?;
        let (inside, rest) = self.0.split_once('\'')?;
        self.0 = rest;
        Some(inside)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.take("True") {
            Some(()) => Some(true),
            None => self.take("False").map(|()| false),
        }
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        self.take("(")?;
        while self.take(")").is_none() {
            let rest = self.0.trim_start();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            numbers.push(rest[..digits].parse().ok()?);
            // Python 2 wrote long numbers with an L.
            self.0 = rest[digits..].strip_prefix('L').unwrap_or(&rest[digits..]);
            if self.take(",").is_none() {
                self.take(")")?;
                break;
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::{Integer, parse};

    #[test]
    fn npy_header_is_parsed() {
        let of = |element: &str, shape: &[usize]| Some((element.to_string(), false, shape.to_vec()));
        assert_eq!(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (5, 12), }   \n"), of("|u1", &[5, 12]));
        assert_eq!(parse("{'shape': (5L,), 'fortran_order': False, 'descr': '<i8'}"), of("<i8", &[5]));
        assert_eq!(parse("{'descr': '<f8', 'fortran_order': False, 'shape': ()}"), of("<f8", &[]));
        assert!(parse("{'descr': '|u1', 'fortran_order': True, 'shape': (1,)}").is_some_and(|(_, fortran, _)| fortran));
        for wrong in [
            "",
            "{}",
            "{'descr': '|u1', 'fortran_order': False}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1 2)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} and more",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn npy_integers_are_decoded() {
        let decode = |element: &str, bytes: &[u8]| Integer::parse(element).map(|integer| integer.decode(bytes));
        assert_eq!(decode("|u1", &[200]), Some(200));
        assert_eq!(decode("|i1", &[200]), Some(-56));
        assert_eq!(decode("<u2", &[1, 2]), Some(0x0201));
        assert_eq!(decode(">u2", &[1, 2]), Some(0x0102));
        assert_eq!(decode("<i4", &[0xfe, 0xff, 0xff, 0xff]), Some(-2));
        assert_eq!(decode(">i8", &[0, 0, 0, 0, 0, 0, 3, 0xe8]), Some(1000));
        assert_eq!(decode("<u8", &[0xff; 8]), Some(i128::from(u64::MAX)));
        for other in ["<f4", "|b1", "|O", "|u2", "<u1", "<i3", "u1", ""] {
            assert_eq!(Integer::parse(other), None, "{other}");
        }
    }
}
