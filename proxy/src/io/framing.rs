//! Where the body of an HTTP/1 request ends, byte by byte. Strict where parsers are known to differ, so that no two
//! of them, pingora's and ours included, can disagree about where the next request begins. It copies nothing.

/// Bytes of chunk extensions that one body may have.
const EXTENSION_BYTES_MAX: usize = 4096;
/// Bytes of trailers that one body may have.
const TRAILER_BYTES_MAX: usize = 8192;
/// Hexadecimal digits of a chunk size: 60 bits, so that it cannot overflow.
const SIZE_DIGITS_MAX: u8 = 15;

/// The body breaks the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// How far a request's body reaches.
#[derive(Debug)]
pub(crate) enum Framing {
    /// This many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
}

impl Framing {
    /// A request without a body.
    pub(crate) const NONE: Self = Self::Length(0);

    /// How many of `bytes`, from their beginning, belong to the body.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
        }
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks { state: State::Done, .. }))
    }
}

/// A chunked body under way.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, value: u64 },
    Extension { value: u64 },
    SizeLineFeed { value: u64 },
    Data { left: u64 },
    DataReturn,
    DataLineFeed,
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, value: 0 }
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some((&byte, _)) = bytes.get(taken..).and_then(<[u8]>::split_first) {
            self.state = match self.state {
                State::Done => return Ok(taken),
                State::Data { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                    taken += here;
                    match left - here as u64 {
                        0 => State::DataReturn,
                        left => State::Data { left },
                    }
                }
                state => {
                    taken += 1;
                    self.step(state, byte)?
                }
            };
        }
        Ok(taken)
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, Malformed> {
        Ok(match (state, byte) {
            (State::Size { digits, value }, _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                State::Size { digits: digits + 1, value: value << 4 | u64::from(digit) }
            }
            (State::Size { digits: 1.., value }, b';') => State::Extension { value },
            (State::Size { digits: 1.., value } | State::Extension { value }, b'\r') => State::SizeLineFeed { value },
            (State::Extension { value }, _) if is_text(byte) && self.extension_bytes < EXTENSION_BYTES_MAX => {
                self.extension_bytes += 1;
                State::Extension { value }
            }
            (State::SizeLineFeed { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLineFeed { value }, b'\n') => State::Data { left: value },
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::default(),
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::LastLineFeed, b'\n') => State::Done,
            // A trailer never folds: its line begins with a name.
            (State::TrailerStart, b' ' | b'\t') => return Err(Malformed),
            (State::TrailerStart | State::Trailer, _) if is_text(byte) && self.trailer_bytes < TRAILER_BYTES_MAX => {
                self.trailer_bytes += 1;
                State::Trailer
            }
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            _ => return Err(Malformed),
        })
    }
}

/// A byte of a field value: visible, space, tab, or beyond ASCII.
pub(crate) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(body: &str, piece: usize) -> Result<Option<usize>, Malformed> {
        let mut framing = Framing::Chunked(Chunks::default());
        let mut taken = 0;
        for part in body.as_bytes().chunks(piece) {
            let here = framing.take(part)?;
            taken += here;
            if here < part.len() {
                break;
            }
        }
        Ok(framing.is_done().then_some(taken))
    }

    #[test]
    fn chunked_bodies_end_where_they_should() {
        let body = "5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(end_of(&format!("{body}GET / HTTP/1.1\r\n"), piece), Ok(Some(body.len())), "{piece}");
            assert_eq!(end_of("5\r\nhel", piece), Ok(None));
        }
    }

    #[test]
    fn what_parsers_differ_about_is_refused() {
        for bad in [
            "\r\n",
            "5\nhello\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "5 \r\nhello\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "5;\n\r\n",
            "1000000000000000\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\na: b\nc: d\r\n\r\n",
        ] {
            assert_eq!(end_of(bad, 1), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_length_takes_no_byte_more() {
        let mut framing = Framing::Length(3);
        assert_eq!((framing.take(b"ab"), framing.is_done()), (Ok(2), false));
        assert_eq!((framing.take(b"cdef"), framing.is_done()), (Ok(1), true));
        assert_eq!(framing.take(b"x"), Ok(0));
    }

    #[test]
    fn what_a_chunked_body_has_beside_its_data_is_bounded() {
        let digits = |count: u8| end_of(&format!("{}\r\n\r\n", "0".repeat(count.into())), 100).is_ok();
        assert!(digits(SIZE_DIGITS_MAX) && !digits(SIZE_DIGITS_MAX + 1));
        let extensions = |bytes: usize| {
            let (one, other) = ("x".repeat(bytes - 1), "x");
            end_of(&format!("1;{one}\r\nA\r\n0;{other}\r\n\r\n"), 100).is_ok()
        };
        assert!(extensions(EXTENSION_BYTES_MAX) && !extensions(EXTENSION_BYTES_MAX + 1));
        let trailers = |bytes: usize| end_of(&format!("0\r\na: b\r\n{}\r\n\r\n", "x".repeat(bytes - 4)), 100).is_ok();
        assert!(trailers(TRAILER_BYTES_MAX) && !trailers(TRAILER_BYTES_MAX + 1));
    }
}
