//! H.261, H.263 and VP8 over RTP, to and from GStreamer's payloaders, which share nothing with ours.
//! Packets pass in the framing of RFC 4571, so that none is lost and nobody waits (TER-08, MCU-12).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io::Write, thread};

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_rtp::header::RtpPacket;
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::video::{AccessUnit, Depacketizer, Packetizer};

use super::tests::{from_raw, psnr, raw, scene};
use super::*;

/// Pictures of each clip.
const PICTURES: u32 = 24;
const PAYLOAD_TYPE: u8 = 96;

/// A codec as GStreamer has it: caps' name, payloader, depayloader, encoder, decoder.
struct Peer {
    codec: VideoCodec,
    name: &'static str,
    size: (u16, u16),
    bitrate_bps: u32,
    encode: &'static str,
    decode: &'static str,
    /// Least PSNR in dB of the luma of a decoded picture.
    floor_db: f64,
}

const PEERS: [Peer; 7] = [
    Peer {
        codec: VideoCodec::H261,
        name: "H261",
        size: (352, 288),
        bitrate_bps: 1_500_000,
        encode: "avenc_h261 bitrate=1500000 ! rtph261pay",
        decode: "rtph261depay ! avdec_h261",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::H261,
        name: "H261",
        size: (176, 144),
        bitrate_bps: 400_000,
        encode: "avenc_h261 bitrate=400000 ! rtph261pay",
        decode: "rtph261depay ! avdec_h261",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::H263,
        name: "H263",
        size: (352, 288),
        bitrate_bps: 1_500_000,
        encode: "avenc_h263 bitrate=1500000 ! rtph263pay",
        decode: "rtph263depay ! avdec_h263",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::H263,
        name: "H263",
        size: (704, 576),
        bitrate_bps: 6_000_000,
        encode: "avenc_h263 bitrate=6000000 ! rtph263pay",
        decode: "rtph263depay ! avdec_h263",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::H263Plus,
        name: "H263-1998",
        size: (352, 288),
        bitrate_bps: 1_500_000,
        encode: "avenc_h263p bitrate=1500000 ! rtph263ppay",
        decode: "rtph263pdepay ! avdec_h263",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::H263Plus,
        name: "H263-2000",
        size: (704, 576),
        bitrate_bps: 6_000_000,
        encode: "avenc_h263p bitrate=6000000 ! rtph263ppay",
        decode: "rtph263pdepay ! avdec_h263",
        floor_db: 30.0,
    },
    Peer {
        codec: VideoCodec::Vp8,
        name: "VP8",
        size: (640, 360),
        bitrate_bps: 3_000_000,
        encode: "vp8enc deadline=1 target-bitrate=3000000 ! rtpvp8pay",
        decode: "rtpvp8depay ! vp8dec",
        floor_db: 28.0,
    },
];

impl Peer {
    fn class(&self) -> VideoClass {
        VideoClass {
            codec: self.codec,
            width: self.size.0,
            height: self.size.1,
            frame_rate: 30,
            bitrate_bps: self.bitrate_bps,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: 31,
            packetization: PacketizationMode::NonInterleaved,
        }
    }

    fn clip(&self) -> (Pool, Vec<Frame>) {
        let (width, height) = (self.size.0.into(), self.size.1.into());
        let pool = Pool::new(width, height, Colour::BT601, 2);
        let frames = (0..PICTURES).map(|n| scene(&pool, n)).collect();
        (pool, frames)
    }

    /// Asserts that decoded pictures are those of the clip, each at its place.
    fn judge(&self, what: &str, frames: &[Frame], decoded: &[Frame]) {
        let same = frames.iter().zip(decoded);
        let worst = same.map(|(a, b)| psnr(a, b)).fold(f64::MAX, f64::min);
        let name = self.name;
        println!("{name} {:?} {what}: worst PSNR {worst:.1} dB", self.size);
        assert_eq!(decoded.len(), frames.len(), "{name} {what}");
        assert!(worst >= self.floor_db, "{name} {what}: {worst} dB");
    }
}

/// Runs a pipeline from standard input to standard output.
fn gstreamer(pipeline: &str, input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new("gst-launch-1.0")
        .arg("--quiet")
        .args(format!("fdsrc fd=0 ! {pipeline} ! fdsink fd=1").split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GStreamer is installed");
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{pipeline}");
    output.stdout
}

/// An RTP packet behind its length.
fn framed(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, PAYLOAD_TYPE | u8::from(marker) << 7];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0, 0, 0, 7]);
    packet.extend(payload);
    let length = packet.len() as u16;
    [&length.to_be_bytes()[..], &packet].concat()
}

#[test]
fn gstreamer_decodes_what_we_send() {
    for peer in &PEERS {
        let (pool, frames) = peer.clip();
        let mut encoder = Encoder::new(&peer.class(), Colour::BT601).unwrap();
        let mut packetizer = Packetizer::new(peer.codec, PacketizationMode::NonInterleaved);
        let (mut stream, mut sequence, mut keys) = (Vec::new(), 0, Vec::new());
        for (n, frame) in frames.iter().enumerate() {
            if n == 12 {
                encoder.force_key_frame();
            }
            let unit = encoder.encode(frame).unwrap().expect("not left out");
            keys.extend(unit.key.then_some(n));
            let cut = packetizer.packetize(unit.bytes, unit.splits, |payload, marker| {
                assert!(payload.len() <= 1_200);
                stream.extend(framed(sequence, n as u32 * 3_000, marker, payload));
                sequence += 1;
            });
            assert_eq!(cut, Ok(()));
        }
        assert_eq!(keys, [0, 12], "{}", peer.name);
        let caps = "application/x-rtp-stream,media=video,clock-rate=90000,payload=96";
        let (name, decode) = (peer.name, peer.decode);
        let decoded = gstreamer(
            &format!(
                "{caps},encoding-name={name} ! rtpstreamdepay ! {decode} ! video/x-raw,format=I420"
            ),
            stream,
        );
        let (width, height) = (usize::from(peer.size.0), usize::from(peer.size.1));
        let pictures = decoded.chunks_exact(width * height * 3 / 2);
        let decoded: Vec<Frame> = pictures.map(|bytes| from_raw(&pool, bytes)).collect();
        peer.judge("sent", &frames, &decoded);
    }
}

#[test]
fn we_decode_what_gstreamer_sends() {
    for peer in &PEERS {
        let (_, frames) = peer.clip();
        let input: Vec<u8> = frames.iter().flat_map(raw).collect();
        let (width, height) = peer.size;
        let encode = peer.encode;
        let stream = gstreamer(
            &format!(
                "rawvideoparse format=i420 width={width} height={height} framerate=30/1 ! {encode} mtu=1200 ! rtpstreampay"
            ),
            input,
        );
        let (mut decoder, mut decoded) = (Decoder::new(peer.codec).unwrap(), Vec::new());
        for unit in units(peer.codec, &stream) {
            assert!(unit.complete, "{}", peer.name);
            decoded.extend(decoder.decode(&unit.data, 0).unwrap());
        }
        peer.judge("received", &frames, &decoded);
    }
}

/// The pictures of a stream in RFC 4571 framing.
fn units(codec: VideoCodec, mut stream: &[u8]) -> Vec<AccessUnit> {
    let now = Instant::now();
    let mut depacketizer = Depacketizer::new(codec);
    let mut receive = ReceiveStream::new(receive::Config {
        clock_hz: 90_000,
        nack: false,
    });
    let mut units = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(u16::from_be_bytes(*length).into());
        stream = rest;
        let packet = RtpPacket::parse(bytes).unwrap();
        let len = packet.payload.len();
        let Verdict::Fresh(accepted) = receive.handle_packet(now, &packet.header, len) else {
            panic!("a packet of GStreamer's refused");
        };
        depacketizer.insert(now, &accepted, packet.header.marker, packet.payload);
        units.extend(depacketizer.poll(now, Duration::ZERO));
    }
    units
}
