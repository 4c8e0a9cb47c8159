//! Recorded packets of a terminal, said again to a media process that took another's place (RFC 3711
//! §3.3.2, MCU-23).

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mcu_api::inventory::LegState;
use mcu_api::manager::LegView;
use mcu_api::plan::{SdesKeys, SrtpSuite};
use mcu_api::secret::Redacted;
use mcu_rtp::srtp::Srtp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::caller::{Caller, described};
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);
/// Key and salt of the terminal, as they stand in its offer and as bytes.
const INLINE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const KEY: [u8; 30] = [0; 30];

fn leg(server: &Server) -> Option<LegView> {
    server.room()?.legs.pop()
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(7u32.to_be_bytes());
    packet.extend([0xff; 160]);
    packet
}

/// Defect: what had come after the last word of the process that was replaced was taken again.
#[test]
fn a_process_that_is_told_to_end_leaves_nothing_to_be_said_again() {
    let server = Server::demo();
    let caller = Caller::new(&server, 1);
    let media = UdpSocket::bind((server.host, 0)).unwrap();
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}\r\n");
    let offer = described(media.local_addr().unwrap(), "RTP/SAVP", &crypto);
    caller.send("INVITE", 1, "", &offer);
    let answer = caller.success();
    caller.send("ACK", 1, &answer.tag, "");
    media
        .connect(SocketAddr::new(server.host, answer.audio_port))
        .unwrap();
    let mut srtp = Srtp::from_sdes(&SdesKeys {
        suite: SrtpSuite::AesCm128HmacSha1_80,
        local: Redacted(KEY.to_vec()),
        remote: Redacted(KEY.to_vec()),
    })
    .unwrap();
    // The first report on the leg has come, and the next is a second away.
    wait_for("the leg is known", PATIENCE, || {
        leg(&server).filter(|leg| leg.sent.packets > 0)
    });
    let recorded = srtp.protect_rtp(&packet(1)).unwrap();
    media.send(&recorded).unwrap();
    wait_for("the packet is taken", PATIENCE, || {
        leg(&server).filter(|leg| leg.state == LegState::Connected)
    });
    let before = server.pid_of("media");
    kill(Pid::from_raw(before), Signal::SIGTERM).unwrap();
    // Nothing has come to the one that has it now.
    wait_for("another process has the leg", PATIENCE, || {
        let leg = leg(&server)?;
        (leg.state == LegState::Connecting && leg.sent.packets > 0).then_some(())
    });
    assert_ne!(server.pid_of("media"), before);
    media.send(&recorded).unwrap();
    let next = srtp.protect_rtp(&packet(2)).unwrap();
    media.send(&next).unwrap();
    let leg = wait_for("the next packet is taken", PATIENCE, || {
        leg(&server).filter(|leg| leg.received.packets > 0)
    });
    assert_eq!(leg.received.packets, 1, "{}", server.log());
}
