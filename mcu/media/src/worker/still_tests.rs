//! Stills of a room whose terminal sends and is shown nothing, from its RTP to the controller's socket.

use std::io::Read;
use std::os::unix::net::UnixStream;

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_api::frame::Decoder;
use mcu_api::plan::{
    Composition, Feedback, HeaderExtensions, LegPlan, Transport, UdpTransport, VideoPayload,
    VideoReceive,
};
use mcu_api::still::Still;
use mcu_rtp::h264::Packetizer;
use tempfile::TempDir;

use super::*;
use crate::video::tests::ffmpeg;
use crate::video::{Colour, Encoder, Frame, Pool, Rect, scale};

const LEG: LegId = LegId(1);
const ROOM: RoomId = RoomId(1);
const FRAME_TIME: Duration = Duration::from_millis(33);
const PATIENCE: Duration = Duration::from_secs(20);
/// Width and height of the camera's picture, which is narrower than a still.
const CAMERA: (u16, u16) = (640, 480);

/// A worker, its controller, and a camera that answers it.
struct Bench {
    poll: Poll,
    worker: Worker,
    controller: UnixStream,
    decoder: Decoder,
    encoder: Encoder,
    picture: Frame,
    next_frame: Instant,
    sent: u16,
    /// Key frames that were asked for.
    asked: usize,
    generation: u64,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::of_a_test(dir.path());
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
        let worker = Worker::new(&config, &poll, waker).unwrap();
        let controller = UnixStream::connect(&config.socket).unwrap();
        controller.set_nonblocking(true).unwrap();
        let class = VideoClass {
            codec: VideoCodec::H264,
            width: CAMERA.0,
            height: CAMERA.1,
            frame_rate: 30,
            bitrate_bps: 1_000_000,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: 31,
            packetization: PacketizationMode::NonInterleaved,
        };
        let mut bench = Self {
            poll,
            worker,
            controller,
            decoder: Decoder::default(),
            encoder: Encoder::new(&class, Colour::BT601).unwrap(),
            picture: red_and_white(),
            next_frame: Instant::now(),
            sent: 0,
            asked: 0,
            generation: 0,
            _dir: dir,
        };
        while bench.worker.outbox.is_none() {
            bench.turn();
        }
        bench.hello(true);
        bench
    }

    fn hello(&mut self, takes_stills: bool) {
        self.worker.handle_message(ToMedia::Hello {
            takes_held: false,
            takes_stills,
        });
    }

    fn plan(&mut self, tiles: &[LegId], still: bool) {
        self.generation += 1;
        let plan = RoomPlan {
            room: ROOM,
            generation: self.generation,
            cname: "room".into(),
            composition: Composition {
                tiles: tiles.to_vec(),
                ..Composition::default()
            },
            views: Vec::new(),
            legs: vec![leg()],
            still,
        };
        self.worker.apply(Instant::now(), plan);
    }

    /// One turn of the worker, the camera's next frame if it is due, and what the controller hears.
    fn turn(&mut self) -> Vec<MediaEvent> {
        let mut events = Events::with_capacity(16);
        let pause = self.worker.pause();
        self.poll.poll(&mut events, Some(pause)).unwrap();
        self.worker.turn();
        if Instant::now() >= self.next_frame && self.worker.rooms.contains_key(&ROOM) {
            self.next_frame += FRAME_TIME;
            self.send_frame();
        }
        let mut heard = self.hear();
        let before = heard.len();
        heard.retain(|event| !matches!(event, MediaEvent::KeyFrameNeeded { .. }));
        if heard.len() < before {
            self.asked += before - heard.len();
            self.encoder.force_key_frame();
        }
        heard
    }

    fn send_frame(&mut self) {
        let pts = i64::from(self.sent) * 3_000;
        let Some(unit) = self.encoder.encode(&self.picture.at(pts)).unwrap() else {
            return;
        };
        let mut packets = Vec::new();
        let mut packetizer = Packetizer::new(PacketizationMode::NonInterleaved);
        let emit = |payload: &[u8], marker: bool| packets.push((payload.to_vec(), marker));
        packetizer.packetize(unit.bytes, emit).unwrap();
        for (payload, marker) in packets {
            self.sent += 1;
            let sequence = self.sent.to_be_bytes();
            let timestamp = (pts as u32).to_be_bytes();
            let head = [0x80, 97 | u8::from(marker) << 7];
            let packet = [&head[..], &sequence, &timestamp, &[0, 0, 0, 7], &payload].concat();
            let from = "127.0.0.1:4000".parse().unwrap();
            self.worker.give((ROOM, LEG), 0, (from, false, &packet));
        }
    }

    fn hear(&mut self) -> Vec<MediaEvent> {
        let mut buffer = [0; 65_536];
        while let Ok(len) = self.controller.read(&mut buffer) {
            assert_ne!(len, 0, "the worker is there");
            self.decoder.push(&buffer[..len]);
        }
        let messages = std::iter::from_fn(|| self.decoder.next_message().unwrap());
        let events = messages.filter_map(|message| match message {
            FromMedia::Event { event, .. } => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// What is told of stills in this time.
    fn stills_in(&mut self, time: Duration) -> Vec<Option<Still>> {
        let end = Instant::now() + time;
        let mut stills = Vec::new();
        while Instant::now() < end {
            stills.extend(self.turn().into_iter().filter_map(still));
        }
        stills
    }

    /// The next that is told.
    fn next_still(&mut self) -> Option<Still> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(still) = self.turn().into_iter().find_map(still) {
                return still;
            }
        }
        panic!("no still comes");
    }

    fn decoders(&mut self) -> u32 {
        let room = self.worker.rooms.get_mut(&ROOM).unwrap();
        let inventory = room.inventory(Instant::now(), false);
        assert_eq!(inventory.encoders, 0, "nobody is shown the composition");
        inventory.decoders
    }
}

fn still(event: MediaEvent) -> Option<Option<Still>> {
    match event {
        MediaEvent::Still { still } => Some(still),
        _ => None,
    }
}

/// A terminal that sends and takes nothing, and is asked for key frames by signalling.
fn leg() -> LegPlan {
    let transport = UdpTransport {
        local_ip: Ipv4Addr::LOCALHOST.into(),
        rtp_port: 0,
        rtcp_port: None,
        remote_rtp: None,
        remote_rtcp: None,
        sdes: None,
        dtls: None,
        ice: None,
        srtp_sources: Vec::new(),
        srtcp_sources: Vec::new(),
        dscp: 46,
    };
    let payload = VideoPayload {
        payload_type: 97,
        codec: VideoCodec::H264,
        rtx: None,
    };
    LegPlan {
        id: LEG,
        confirmed: true,
        waiting: None,
        transports: vec![Transport::Udp(transport)],
        audio: None,
        video_receive: Some(VideoReceive {
            transport: 0,
            mid: None,
            payloads: vec![payload],
            rids: Vec::new(),
            feedback: Feedback::default(),
            extensions: HeaderExtensions::default(),
            feedback_ssrc: 1,
            muted: false,
        }),
        video_send: Vec::new(),
    }
}

/// Red on the left, white on the right, in BT.601 of limited range (ITU-T H.273).
fn red_and_white() -> Frame {
    let (width, height) = (u32::from(CAMERA.0), u32::from(CAMERA.1));
    let mut frame = Pool::new(width, height, Colour::BT601, 0).take();
    for (x, samples) in [(0, [81, 90, 240]), (width / 2, [235, 128, 128])] {
        let half = Rect {
            x,
            y: 0,
            width: width / 2,
            height,
        };
        scale::fill(&mut frame, half, samples).unwrap();
    }
    frame.freeze()
}

/// Red, green and blue of a file at places of its middle row, as another program reads them.
fn pixels<const N: usize>(still: Still, xs: [usize; N]) -> [[u8; 3]; N] {
    let (width, height) = (320, 180);
    let arguments = ["-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let samples = ffmpeg(&arguments, &still.into_jpeg());
    assert_eq!(samples.len(), width * height * 3);
    xs.map(|x| {
        let start = (height / 2 * width + x) * 3;
        samples[start..start + 3].try_into().unwrap()
    })
}

#[test]
fn a_room_that_is_watched_tells_what_it_shows_and_decodes_nothing_after() {
    let mut bench = Bench::new();
    bench.plan(&[LEG], false);
    assert!(bench.stills_in(Duration::from_millis(700)).is_empty());
    assert_eq!((bench.decoders(), bench.asked), (0, 0), "nobody looks on");

    bench.plan(&[LEG], true);
    let first = bench.next_still().expect("somebody is to be seen");
    let told = Instant::now();
    assert_eq!(bench.decoders(), 1);
    let wanted = [[0, 0, 0], [255, 0, 0], [255, 255, 255], [0, 0, 0]];
    let seen = pixels(first, [10, 100, 220, 310]);
    for (seen, wanted) in seen.into_iter().flatten().zip(wanted.into_iter().flatten()) {
        assert!(seen.abs_diff(wanted) <= 6, "{seen} for {wanted}");
    }
    assert!(bench.next_still().is_some());
    assert!(told.elapsed() > Duration::from_secs(2), "not more often");
    assert_eq!(bench.asked, 1, "key frames in all that time");

    bench.plan(&[], true);
    assert_eq!(bench.next_still(), None, "the camera is off");
    assert_eq!(bench.decoders(), 0);
    bench.plan(&[LEG], true);
    assert!(bench.next_still().is_some());

    bench.plan(&[LEG], false);
    assert_eq!(bench.decoders(), 0, "at once");
    assert!(bench.stills_in(Duration::from_secs(4)).is_empty());
    assert_eq!(bench.decoders(), 0);
}

/// Defects that these guard against: after a loss broken pictures were shown until somebody else asked for
/// a key frame, and the last picture of a camera that was gone stayed.
#[test]
fn a_loss_is_mended_by_one_key_frame_and_a_camera_that_sends_nothing_is_left_out() {
    let mut bench = Bench::new();
    bench.plan(&[LEG], true);
    assert!(bench.next_still().is_some());
    assert_eq!(bench.asked, 1);
    for _ in 0..3 {
        // Lost on the way.
        bench.sent += 3;
        bench.stills_in(Duration::from_millis(300));
    }
    let shown = bench.next_still().expect("it is shown again");
    let [black, red] = pixels(shown, [10, 100]);
    assert!(
        red[0] > 240 && red[1] < 15 && black[0] < 15,
        "{black:?} {red:?}"
    );
    assert_eq!(bench.asked, 2, "once for all of the losses");

    // A sender that sends no key frame is shown as it comes.
    assert!(!bench.stills_in(Duration::from_secs(8)).is_empty());
    assert_eq!(bench.asked, 2);
    bench.next_frame += Duration::from_secs(3600);
    let last = Instant::now();
    let mut next = bench.next_still();
    while next.is_some() {
        next = bench.next_still();
    }
    let after = last.elapsed();
    assert!((7..14).contains(&after.as_secs()), "{after:?}");
}

/// An older controller that comes after a newer one does not know that stills were wanted, nor what
/// they are.
#[test]
fn a_controller_that_takes_no_stills_is_told_none_and_none_are_made() {
    let mut bench = Bench::new();
    bench.plan(&[LEG], true);
    assert!(bench.next_still().is_some());
    bench.hello(false);
    assert!(bench.stills_in(Duration::from_secs(4)).is_empty());
    assert_eq!(bench.decoders(), 0);
}
