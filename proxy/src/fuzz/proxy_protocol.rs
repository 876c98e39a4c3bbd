//! A PROXY header and what follows it.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::cut;
use crate::{io::reference::pieces, listen::proxy_protocol::read};

/// A socket from which the bytes come in pieces.
struct Arriving<'a>(Vec<&'a [u8]>);

impl AsyncRead for Arriving<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let Some(piece) = self.0.last_mut() else { return Poll::Ready(Ok(())) };
        let (here, later) = piece.split_at(piece.len().min(buffer.remaining()));
        buffer.put_slice(here);
        *piece = later;
        if later.is_empty() {
            self.0.pop();
        }
        Poll::Ready(Ok(()))
    }
}

/// Three bytes that say where to cut, then what a trusted proxy sends first.
///
/// # Panics
/// When the cuts matter, another client is read than is written, or a byte behind the header is taken.
pub fn proxy_protocol(data: &[u8]) {
    let Some((lengths, bytes)) = cut(data) else { return };
    let mut arriving: Vec<&[u8]> = pieces(bytes, &lengths).collect();
    arriving.reverse();
    let mut arriving = Arriving(arriving);
    let in_pieces = futures::executor::block_on(read(&mut arriving)).ok();
    let left: usize = arriving.0.iter().map(|piece| piece.len()).sum();
    let mut rest = bytes;
    let whole = futures::executor::block_on(read(&mut rest)).ok();
    assert_eq!(whole, in_pieces, "the pieces matter");
    assert_eq!(whole.map(|client| (client, bytes.len() - rest.len())), written(bytes), "{bytes:?}");
    assert!(whole.is_none() || rest.len() == left);
}

/// The client of a header, and the header's length.
fn written(bytes: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    if let Some(block) = bytes.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        let (start, block) = block.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([start[2], start[3]]));
        let block = block.get(..length).filter(|_| length <= 4096)?;
        let client = match (start[0], start[1]) {
            (0x20, _) | (0x21, 0) => None,
            (0x21, 0x11) if length >= 12 => {
                let address: [u8; 4] = block[..4].try_into().unwrap();
                Some(SocketAddr::new(address.into(), u16::from_be_bytes([block[8], block[9]])))
            }
            (0x21, 0x21) if length >= 36 => {
                let address: [u8; 16] = block[..16].try_into().unwrap();
                Some(SocketAddr::new(address.into(), u16::from_be_bytes([block[32], block[33]])))
            }
            _ => return None,
        };
        return Some((client, 16 + length));
    }
    let end = bytes.windows(2).take(106).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let line = line.strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some((None, end + 2));
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] = fields[..] else {
        return None;
    };
    let of_family = |text: &str| text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == (family == "TCP4"));
    let port = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    of_family(destination)?;
    port(destination_port)?;
    Some((Some(SocketAddr::new(of_family(source)?, port(source_port)?)), end + 2))
}
