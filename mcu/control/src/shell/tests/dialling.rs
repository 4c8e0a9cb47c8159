//! Calls of a room to an account, by the listeners that its contacts were registered by.

use mcu_api::call::{DialTarget, OutgoingCall, SrtpPolicy};
use mcu_api::directory::Home;
use mcu_api::ids::CallId;
use mcu_api::manager::Beyond;
use sip::{Flow, FlowId, SavedRegistration, Transport};

use super::*;
use crate::config::SipListener;
use crate::shell::Owner;
use crate::shell::keeping::KeptRegistrations;
use crate::shell::state_file::{REGISTRATIONS, StateFile};
use crate::shell::udp::{FIRST, Udp};
use crate::shell::written::Written;

const ACCOUNT: &str = "ward";

/// A terminal, and its contact as it was kept, registered by this socket of ours.
async fn terminal(number: u64, ours: (FlowId, SocketAddr)) -> (UdpSocket, SavedRegistration) {
    let socket = UdpSocket::bind((ours.1.ip(), 0)).await.unwrap();
    let remote = socket.local_addr().unwrap();
    let kept = SavedRegistration {
        account: ACCOUNT.into(),
        contact: format!("sip:{ACCOUNT}@{remote}"),
        remote,
        flow: Some(Flow {
            id: ours.0,
            transport: Transport::Udp,
            local: ours.1,
            remote,
            advertised: None,
        }),
        instance: None,
        reg_id: None,
        registered_at: number,
        user_agent: None,
        expires_in: Duration::from_secs(3_000),
        call_id: format!("r{number}"),
        cseq: 1,
    };
    (socket, kept)
}

fn account() -> Account {
    Account {
        user: ACCOUNT.into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    }
}

/// The descriptions that two contacts are called with, when the listener of one demands this.
async fn offers(own: u8, srtp: SrtpPolicy) -> [String; 2] {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(own);
    let further = SocketAddr::new(server.ip(), 25_084);
    let id = Udp::bind_further(further).unwrap().id();
    let (first, kept_first) = terminal(1, (id, further)).await;
    // Registered last, thus called first, by the listener that demands nothing.
    let (last, kept_last) = terminal(2, (FIRST, server)).await;
    let written = KeptRegistrations {
        written: Written::now(),
        registrations: vec![kept_first, kept_last],
    };
    let file = StateFile::new(dir.path(), REGISTRATIONS);
    file.save(&written).unwrap();
    let config = Config {
        sip_listeners: vec![SipListener {
            transport: Transport::Udp,
            listen: further,
            srtp,
            legacy_tls: false,
            clients: None,
            origins: None,
        }],
        accounts: vec![account()],
        rooms: vec![RoomConfig {
            number: "77".into(),
            ..RoomConfig::default()
        }],
        ..config(dir.path(), server)
    };
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config));
    let _link = accept_media(&media, &[]).await;
    let control = dir.path().join("control.sock");
    let mut manager = Link::new(UnixStream::connect(control).await.unwrap());
    manager
        .send(&ToControl::Dial {
            request: 1,
            room: "77".into(),
            target: ACCOUNT.into(),
            beyond: Beyond::Nobody,
        })
        .await;
    let offers = [udp_response(&first).await, udp_response(&last).await];
    controller.abort();
    offers
}

#[tokio::test]
async fn a_call_to_several_contacts_obeys_the_listeners_of_all() {
    for (own, srtp, profile) in [
        (36, SrtpPolicy::Allowed, " RTP/AVP "),
        (37, SrtpPolicy::Required, " RTP/SAVP "),
    ] {
        for offer in offers(own, srtp).await {
            assert!(offer.starts_with("INVITE sip:ward@"), "{offer}");
            let lines: Vec<&str> = offer.lines().filter(|l| l.starts_with("m=")).collect();
            assert!(!lines.is_empty(), "{offer}");
            let obeyed = lines.iter().all(|line| line.contains(profile));
            assert!(obeyed, "{srtp:?}: {lines:?}");
        }
    }
}

/// A contact may come after the offer was made, while the call waits for the media process.
#[tokio::test]
async fn a_contact_whose_listener_demands_more_than_the_offer_obeys_is_not_called() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(38);
    let strict = SocketAddr::new(server.ip(), 25_085);
    let sockets = vec![
        Udp::bind(server).await.unwrap(),
        Udp::bind_further(strict).unwrap(),
    ];
    let (first, kept_first) = terminal(1, (FIRST, server)).await;
    let (_last, kept_last) = terminal(2, (sockets[1].id(), strict)).await;
    let config = Config {
        sip_listeners: vec![SipListener {
            transport: Transport::Udp,
            listen: strict,
            srtp: SrtpPolicy::Required,
            legacy_tls: false,
            clients: None,
            origins: None,
        }],
        accounts: vec![account()],
        ..config(dir.path(), server)
    };
    let mut owner = Owner::new(config, Limits::default(), sockets, mpsc::channel(1).0);
    let contacts = vec![kept_first, kept_last];
    owner
        .endpoint
        .restore_registrations(Instant::now(), contacts, Duration::ZERO);
    for (number, srtp, called) in [(1, SrtpPolicy::Allowed, 1), (2, SrtpPolicy::Required, 2)] {
        owner.dial(OutgoingCall {
            call: CallId(CallId::FIRST_DIALLED.0 + number),
            target: DialTarget::Account(ACCOUNT.into()),
            number: "77".into(),
            name: Redacted("77".into()),
            from: None,
            credentials: None,
            sdp: Redacted("v=0\r\n".into()),
            srtp,
        });
        owner.drain();
        let to = owner.datagrams.drain(..).map(|(flow, _)| flow.remote);
        let to: Vec<SocketAddr> = to.collect();
        assert_eq!(to.len(), called, "{srtp:?}");
        assert!(to.contains(&first.local_addr().unwrap()));
    }
}
