//! Calls and registrations over the death of the controller, by real sockets.

use mcu_api::directory::Home;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::shell::keeping::{Kept, KeptRegistrations};
use crate::shell::state_file::{REGISTRATIONS, ROOMS, StateFile};
use crate::shell::streams::Limits;
use crate::shell::written::Written;
use crate::shell::{Owner, endpoint_config};

/// The request that acknowledges or follows a call's INVITE, by the answer to it.
pub fn within(method: &str, cseq: u32, invite: &str, ok: &str) -> String {
    // A 100 without our tag may stand before it.
    let ok = ok.split_once("SIP/2.0 200").map_or(ok, |(_, ok)| ok);
    let header = |message: &str, name: &str| {
        let (_, rest) = message.split_once(&format!("\r\n{name}: ")).unwrap();
        let (value, _) = rest.split_once("\r\n").unwrap();
        value.to_owned()
    };
    let (_, rest) = invite.split_once(' ').unwrap();
    let (uri, _) = rest.split_once(' ').unwrap();
    let via = header(invite, "Via").replace("z9hG4bK", &format!("z9hG4bK{method}{cseq}"));
    format!(
        "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Content-Length: 0\r\n\r\n",
        header(invite, "From"),
        header(ok, "To"),
        header(invite, "Call-ID"),
    )
}

/// Calls in it that go on in another life.
pub fn calls_up(kept: &Kept) -> usize {
    let calls = kept.sip.iter().flat_map(|sip| &sip.calls);
    calls.filter(|call| call.up).count()
}

/// What is in the state file.
pub fn kept(dir: &Path) -> Kept {
    StateFile::new(dir, ROOMS).load().unwrap_or_default()
}

/// Waits until the state file is as wanted.
pub async fn until_kept(dir: &Path, wanted: impl Fn(&Kept) -> bool) {
    let written = async {
        while !wanted(&kept(dir)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, written).await.expect("the state is kept");
}

/// Ends the controller as SIGKILL does: its sockets go with it, its state file stays.
pub async fn kill(controller: JoinHandle<anyhow::Result<()>>, server: SocketAddr) {
    controller.abort();
    assert!(controller.await.unwrap_err().is_cancelled());
    let closed = async {
        while UdpSocket::bind(server).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, closed)
        .await
        .expect("the sockets are closed");
}

/// A terminal with an established call over UDP.
struct Caller {
    udp: UdpSocket,
    invite: String,
    ok: String,
}

impl Caller {
    async fn call(server: SocketAddr) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(server).await.unwrap();
        let invite = invite("UDP", udp.local_addr().unwrap(), server);
        udp.send(invite.as_bytes()).await.unwrap();
        let ok = udp_response(&udp).await;
        let caller = Self { udp, invite, ok };
        caller.say("ACK", 1).await;
        caller
    }

    async fn say(&self, method: &str, cseq: u32) {
        let text = within(method, cseq, &self.invite, &self.ok);
        self.udp.send(text.as_bytes()).await.unwrap();
    }

    /// The next message that begins like this; others are those of before, sent again.
    async fn hears(&self, start: &str) -> String {
        loop {
            let text = udp_response(&self.udp).await;
            if text.starts_with(start) {
                return text;
            }
        }
    }
}

/// The next plan with this many legs, all of which are known to be where they say.
async fn settled(link: &mut Link, legs: usize) -> RoomPlan {
    loop {
        let plan = link.plan().await;
        if plan.legs.len() == legs && plan.legs.iter().all(|leg| leg.confirmed) {
            return plan;
        }
    }
}

/// Waits until the room of this plan is removed.
async fn removed(link: &mut Link, plan: &RoomPlan) {
    let removal = ToMedia::RemoveRoom { room: plan.room };
    while link.receive::<ToMedia>().await != removal {}
}

/// MCU-20: the terminal's hang-up while nobody was here is sent again until somebody is.
#[tokio::test]
async fn a_bye_after_the_controllers_death_is_answered_and_the_leg_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(10);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, &[]).await;
    let caller = Caller::call(server).await;
    let plan = settled(&mut link, 1).await;
    until_kept(dir.path(), |kept| calls_up(kept) == 1).await;
    kill(first, server).await;
    drop(link);

    let second = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, std::slice::from_ref(&plan)).await;
    assert_eq!(view(dir.path()).await.legs.len(), 1);
    caller.say("BYE", 2).await;
    let ok = caller.hears("SIP/2.0 200").await;
    assert!(ok.contains("CSeq: 2 BYE"), "{ok}");
    removed(&mut link, &plan).await;
    assert!(view(dir.path()).await.legs.is_empty());
    until_kept(dir.path(), |kept| kept.rooms.rooms.is_empty()).await;
    second.abort();
}

/// MCU-20.
#[tokio::test]
async fn our_bye_reaches_a_terminal_of_the_life_before() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(11);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, &[]).await;
    let caller = Caller::call(server).await;
    let plan = settled(&mut link, 1).await;
    until_kept(dir.path(), |kept| calls_up(kept) == 1).await;
    kill(first, server).await;
    drop(link);

    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let second = tokio::spawn(run_until(config(dir.path(), server), stopped));
    let _link = accept_media(&media, std::slice::from_ref(&plan)).await;
    assert_eq!(view(dir.path()).await.legs.len(), 1);
    stop.send(()).unwrap();
    let bye = caller.hears("BYE ").await;
    let (_, headers) = bye.split_once("\r\n").unwrap();
    let answer = format!("SIP/2.0 200 OK\r\n{headers}");
    caller.udp.send(answer.as_bytes()).await.unwrap();
    timeout(LIMIT, second).await.unwrap().unwrap().unwrap();
}

/// MCU-20: over TCP the terminal comes by a new connection, and we open one to its Contact.
#[tokio::test]
async fn a_call_over_tcp_outlives_the_controller_and_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(12);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let contact = listener.local_addr().unwrap();
    let mut tcp = TcpStream::connect(server).await.unwrap();
    let request = invite("TCP", contact, server);
    tcp.write_all(request.as_bytes()).await.unwrap();
    let ok = tcp_response(&mut tcp).await;
    let ack = within("ACK", 1, &request, &ok);
    tcp.write_all(ack.as_bytes()).await.unwrap();
    let plan = settled(&mut link, 1).await;
    until_kept(dir.path(), |kept| calls_up(kept) == 1).await;
    kill(first, server).await;
    drop(link);
    drop(tcp);

    let second = tokio::spawn(run(config(dir.path(), server)));
    let link = accept_media(&media, std::slice::from_ref(&plan)).await;
    let mut tcp = TcpStream::connect(server).await.unwrap();
    let update = within("UPDATE", 2, &request, &ok);
    tcp.write_all(update.as_bytes()).await.unwrap();
    tcp_read_until(&mut tcp, "CSeq: 2 UPDATE").await;
    until_kept(dir.path(), |kept| {
        let calls = kept.sip.iter().flat_map(|sip| &sip.calls);
        calls.map(|call| call.dialog.remote_cseq).eq([2])
    })
    .await;
    kill(second, server).await;
    drop(link);
    drop(tcp);

    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let third = tokio::spawn(run_until(config(dir.path(), server), stopped));
    let _link = accept_media(&media, std::slice::from_ref(&plan)).await;
    assert_eq!(view(dir.path()).await.legs.len(), 1);
    stop.send(()).unwrap();
    let (mut opened, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut bye = [0; 4];
    timeout(LIMIT, opened.read_exact(&mut bye))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&bye, b"BYE ");
    drop(opened);
    timeout(LIMIT, third).await.unwrap().unwrap().unwrap();
}

/// A call that nobody acknowledged before the death is answered once more, and goes on (MCU-20).
#[tokio::test]
async fn a_call_that_was_not_established_is_after_the_death() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(13);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, &[]).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(server).await.unwrap();
    let request = invite("UDP", udp.local_addr().unwrap(), server);
    udp.send(request.as_bytes()).await.unwrap();
    let ok = udp_response(&udp).await;
    // It was kept before it was sent.
    let sip = kept(dir.path()).sip.unwrap();
    assert!(matches!(&sip.calls[..], [call] if call.answer.is_some()));
    let plan = link.plan().await;
    kill(first, server).await;
    drop(link);

    let second = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, std::slice::from_ref(&plan)).await;
    assert_eq!(udp_response(&udp).await, ok);
    udp.send(within("ACK", 1, &request, &ok).as_bytes())
        .await
        .unwrap();
    let again = settled(&mut link, 1).await;
    assert_eq!(again.legs[0].id, plan.legs[0].id);
    second.abort();
}

/// As it is written where the calendar alone is known.
fn a_minute_ago() -> Written {
    Written {
        unix_ms: Written::now().unix_ms - 60_000,
        uptime: None,
    }
}

/// MCU-20.
#[tokio::test]
async fn registrations_outlive_the_controller() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::new(dir.path(), REGISTRATIONS);
    let registration = sip::SavedRegistration {
        account: "ward".into(),
        contact: "sip:ward@10.1.0.50:5060".into(),
        remote: SocketAddr::from(([10, 1, 0, 50], 5060)),
        flow: None,
        instance: None,
        reg_id: None,
        registered_at: 1,
        user_agent: Some("Test/1".into()),
        expires_in: Duration::from_secs(3_000),
        call_id: "r".into(),
        cseq: 4,
    };
    let written = KeptRegistrations {
        written: a_minute_ago(),
        registrations: vec![registration],
    };
    file.save(&written).unwrap();
    let account = Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    };
    let config = Config {
        accounts: vec![account],
        ..config(dir.path(), own_address(14))
    };
    let (events, _) = mpsc::channel(1);
    let mut owner = Owner::new(config.clone(), Limits::default(), Vec::new(), events);
    let now = Instant::now();
    let left: Vec<Duration> = owner
        .endpoint
        .registrations(now)
        .map(|contact| contact.expires_in)
        .collect();
    assert!(
        matches!(left[..], [left] if left <= Duration::from_secs(2_940)),
        "{left:?}"
    );
    // Any change writes them anew, with what is left then.
    owner
        .endpoint
        .set_accounts(endpoint_config(&config).accounts, false);
    owner.keep(now);
    let again: KeptRegistrations = file.load().unwrap();
    assert!(again.written.unix_ms > written.written.unix_ms);
    assert_eq!(again.registrations.len(), 1);
    assert!(again.registrations[0].expires_in <= Duration::from_secs(2_940));
}
