//! The PROXY protocol, versions 1 and 2: what a proxy that hands on connections writes before the first byte, to say
//! whose connection it is (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>). Nothing behind the header is
//! read, so that whatever follows, TLS as well, finds its own beginning. It does not know who is trusted.
//!
//! A parser of our own: what is needed of it is an address, and `ppp`, the known crate, takes text by byte positions,
//! where a line that is no ASCII panics, and refuses the LOCAL connections of a sender that adds no addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins, and also what is read at first: no header is shorter.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// The longest block of addresses and extensions of version 2 that is read.
const BLOCK_BYTES_MAX: usize = 4 * 1024;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the connection ended in its PROXY header")]
    Read(#[from] io::Error),
    #[error("the PROXY header {0}")]
    Malformed(&'static str),
}

/// Reads the header and nothing more. `None`: the connection is the proxy's own, or it cannot say whose.
pub(crate) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    match start.starts_with(b"PROXY ") {
        _ if start == SIGNATURE => read_block(socket).await,
        true => read_line(socket, &start).await,
        false => Err(HeaderError::Malformed("is of no known version")),
    }
}

/// The rest of version 1, byte by byte: it is short, and comes once.
async fn read_line(socket: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    line.extend_from_slice(start);
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(HeaderError::Malformed("is too long"));
        }
        line.push(socket.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let mut parts = line.unwrap_or_default().split(' ').skip(1);
    let family = parts.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Whatever else the line has is not to be looked at.
        return Ok(None);
    }
    let wrong = HeaderError::Malformed("is not PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT");
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    match (address(source), address(destination), port(source_port), port(destination_port)) {
        (Some(source), Some(_), Some(port), Some(_)) => Ok(Some(SocketAddr::new(source, port))),
        _ => Err(wrong),
    }
}

/// A port in digits alone.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// The rest of version 2.
async fn read_block(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let (command, family, length) = (socket.read_u8().await?, socket.read_u8().await?, socket.read_u16().await?);
    if usize::from(length) > BLOCK_BYTES_MAX {
        return Err(HeaderError::Malformed("is too long"));
    }
    let mut block = vec![0; length.into()];
    socket.read_exact(&mut block).await?;
    // Extensions behind the addresses are not looked at.
    let source = match (command, family) {
        (0x20, _) => return Ok(None),
        (0x21, 0x00) => return Ok(None),
        (0x21, 0x11) => address::<4, 12>(&block).map(|(source, port)| (Ipv4Addr::from(source).into(), port)),
        (0x21, 0x21) => address::<16, 36>(&block).map(|(source, port)| (Ipv6Addr::from(source).into(), port)),
        (0x21, _) => return Err(HeaderError::Malformed("speaks for something else than TCP")),
        _ => return Err(HeaderError::Malformed("has an unknown version or command")),
    };
    source
        .map(|(ip, port): (IpAddr, u16)| Some(SocketAddr::new(ip, port)))
        .ok_or(HeaderError::Malformed("is too short"))
}

/// Source address and port out of a block of two addresses of `BYTES` bytes and two ports, `ALL` bytes together.
fn address<const BYTES: usize, const ALL: usize>(block: &[u8]) -> Option<([u8; BYTES], u16)> {
    let all = block.first_chunk::<ALL>()?;
    let port = all.get(2 * BYTES..)?.first_chunk()?;
    Some((*all.first_chunk()?, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a header says, and what is left behind it.
    async fn said(header: &[u8]) -> Result<String, String> {
        let bytes = [header, b"GET"].concat();
        let mut rest = &bytes[..];
        let source = read(&mut rest).await.map_err(|error| error.to_string())?;
        assert_eq!(rest, b"GET");
        Ok(source.map_or("-".into(), |source| source.to_string()))
    }

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    #[tokio::test]
    async fn version_1_is_read() {
        for (line, source) in [
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 80", "203.0.113.7:4711"),
            ("PROXY TCP6 2001:db8::7 ::1 4711 80", "[2001:db8::7]:4711"),
            ("PROXY UNKNOWN", "-"),
            ("PROXY UNKNOWN anything at all", "-"),
        ] {
            assert_eq!(said(format!("{line}\r\n").as_bytes()).await.unwrap(), source, "{line}");
        }
        for line in [
            "PROXY TCP4 203.0.113.7 192.0.2.1 4711",
            "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80 1",
            "PROXY TCP4 2001:db8::7 ::1 4711 80",
            "PROXY TCP4 203.0.113.7 192.0.2.1 +4711 80",
            "PROXY TCP4 203.0.113.7 192.0.2.1 70000 80",
            "PROXY TCP4  203.0.113.7 192.0.2.1 1 80",
            "PROXY UDP4 203.0.113.7 192.0.2.1 1 80",
            "PROXY \r\u{e9} 203.0.113.7 192.0.2.1 1 80",
            "PROXY TCP4 203.0.113.7 192.0.2.1 1 80\n",
            "GET / HTTP/1.1",
        ] {
            said(format!("{line}\r\n").as_bytes()).await.unwrap_err();
        }
        let long = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16));
        assert_eq!(said(long(LINE_BYTES_MAX).as_bytes()).await.unwrap(), "-");
        said(long(LINE_BYTES_MAX + 1).as_bytes()).await.unwrap_err();
    }

    #[tokio::test]
    async fn version_2_is_read() {
        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
        let v6 =
            [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[0; 16][..], &[0x12, 0x67, 0, 80]].concat();
        let with_extension = [&v4[..], &[0x04, 0, 2, 0, 0]].concat();
        for (header, source) in [
            (version_2(0x21, 0x11, &v4), "203.0.113.7:4711"),
            (version_2(0x21, 0x21, &v6), "[2001:db8::7]:4711"),
            (version_2(0x21, 0x11, &with_extension), "203.0.113.7:4711"),
            (version_2(0x20, 0x00, &[]), "-"),
            (version_2(0x20, 0x11, &[]), "-"),
            (version_2(0x20, 0x11, &v4), "-"),
            (version_2(0x21, 0x00, &[1, 2, 3]), "-"),
            (version_2(0x20, 0x00, &[0; BLOCK_BYTES_MAX]), "-"),
        ] {
            assert_eq!(said(&header).await.unwrap(), source);
        }
        for header in [
            version_2(0x21, 0x11, &v4[..11]),
            version_2(0x21, 0x21, &v4),
            version_2(0x21, 0x12, &v4),
            version_2(0x21, 0x31, &[0; 216]),
            version_2(0x22, 0x11, &v4),
            version_2(0x11, 0x11, &v4),
            version_2(0x20, 0x00, &[0; BLOCK_BYTES_MAX + 1]),
        ] {
            said(&header).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_header_with_another_byte_is_read_or_refused() {
        let v4 = version_2(0x21, 0x11, &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80]);
        for header in [&b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"[..], &v4] {
            for (place, byte) in (0..header.len()).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
                let mut changed = header.to_vec();
                changed[place] = byte;
                let mut rest = &changed[..];
                match read(&mut rest).await {
                    // A shorter length of version 2 is the only way to leave something.
                    Ok(_) => assert!(rest.is_empty() || place == 15, "{place} {byte}"),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
    }

    #[tokio::test]
    async fn no_beginning_of_a_header_is_one() {
        let v4 = version_2(0x21, 0x11, &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80]);
        for header in [&b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"[..], &v4] {
            for end in 0..header.len() {
                assert!(matches!(read(&mut &header[..end]).await, Err(HeaderError::Read(_))), "{end}");
            }
        }
    }
}
