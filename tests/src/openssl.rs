//! OpenSSL's client, as a peer of listeners with TLS.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// OPTIONS to room 3000 at this place, under `sip` or `sips`.
pub fn options(scheme: &str, transport: &str, at: &str) -> String {
    format!(
        "OPTIONS {scheme}:3000@{at} SIP/2.0\r\nVia: SIP/2.0/{transport} {at};branch=z9hG4bKa;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{at}>;tag=1\r\nTo: <sip:3000@{at}>\r\nCall-ID: {transport}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What `openssl s_client` says of the connection, with further flags, up to the first line that the
/// server answers to OPTIONS, or up to the end of the connection.
pub fn s_client(at: &str, flags: &[&str], scheme: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", at, "-ign_eof"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run openssl");
    let mut requests = client.stdin.take().expect("stdin");
    // It has ended already if there is no TLS.
    let _ = requests.write_all(options(scheme, "TLS", at).as_bytes());
    let mut output = BufReader::new(client.stdout.take().expect("stdout"));
    let mut said = String::new();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).expect("read") > 0 {
        said += &String::from_utf8_lossy(&line);
        if line.starts_with(b"SIP/2.0") {
            break;
        }
        line.clear();
    }
    let _ = client.kill();
    let _ = client.wait();
    said.trim_end().to_owned()
}
