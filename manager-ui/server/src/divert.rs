//! Media on the page's own port, for browsers that reach no other: a connection that begins with an
//! ICE check (RFC 6544) instead of TLS goes to the media process as it is, and is ours no more.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Bytes that tell a check from all else.
const ENOUGH: usize = 10;
/// Two bytes of length (RFC 4571), a STUN binding request, its length, its cookie (RFC 8489 §5).
const CHECK: [Option<u8>; ENOUGH] = [
    None,
    None,
    Some(0x00),
    Some(0x01),
    None,
    None,
    Some(0x21),
    Some(0x12),
    Some(0xA4),
    Some(0x42),
];
/// The rest of a check that came in pieces is looked for this often. Nearly all come whole.
const PIECES: Duration = Duration::from_millis(50);

/// Whether a connection begins with an ICE check, looked at without taking anything from it. Returns
/// once its first bytes tell; TLS is to judge all that is no check.
///
/// # Errors
/// When the connection ends before.
pub(crate) async fn is_media(tcp: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; ENOUGH];
    loop {
        let len = tcp.peek(&mut bytes).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match is_check(&bytes[..len]) {
            Some(told) => return Ok(told),
            None => sleep(PIECES).await,
        }
    }
}

/// `None`: it may become one. A check takes 20 to 511 bytes, so that no TLS record (22 and up) and no
/// HTTP begins alike.
fn is_check(bytes: &[u8]) -> Option<bool> {
    let fits = |(byte, wanted): (&u8, &Option<u8>)| wanted.is_none_or(|wanted| wanted == *byte);
    let first_is_length = bytes.first().is_none_or(|high| *high <= 1);
    if !first_is_length || !bytes.iter().zip(&CHECK).all(fits) {
        return Some(false);
    }
    (bytes.len() >= ENOUGH).then_some(true)
}

/// Hands a connection over to the media process, which listens on `socket`.
///
/// # Errors
/// When nobody listens, or more wait there than the kernel queues. Then the connection is closed: the
/// browser comes back by itself.
pub(crate) fn hand_over(tcp: TcpStream, socket: &Path) -> io::Result<()> {
    let tcp = tcp.into_std()?;
    let (from, to) = (UnixDatagram::unbound()?, UnixAddr::new(socket)?);
    sendmsg(
        from.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&[tcp.as_raw_fd()])],
        MsgFlags::MSG_DONTWAIT,
        Some(&to),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_from_tls_and_http_by_its_first_bytes() {
        let check = [0, 108, 0, 1, 0, 88, 0x21, 0x12, 0xA4, 0x42, 7];
        assert_eq!(is_check(&check), Some(true));
        for len in 0..ENOUGH {
            assert_eq!(is_check(&check[..len]), None, "{len}");
        }
        let others: [&[u8]; 5] = [
            &[0x16, 3, 1, 2, 0],
            b"GET / HTTP/1.1",
            &[0, 108, 0, 3, 0, 88],
            &[0, 108, 0, 1, 0, 88, 1, 2, 3, 4],
            &[2],
        ];
        for other in others {
            assert_eq!(is_check(other), Some(false), "{other:?}");
        }
    }
}
