//! Where to go, said once there is somebody.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::keeper::Ready;
use crate::config::Settings;

/// Says it when our own manager has said that calls can be taken.
pub async fn announce(settings: &Settings, mut opened: watch::Receiver<Ready>) -> Infallible {
    let page = match opened.wait_for(|ready| ready.address.is_some()).await {
        Ok(ready) => ready.address,
        Err(_) => None,
    };
    if let Some(page) = page {
        let mut out = io::stdout();
        // Nobody may be listening.
        let _ = say(&mut out, settings, page).and_then(|()| out.flush());
        say_link(settings).await;
    }
    std::future::pending().await
}

/// Says where the first administrator's link is, if the manager writes one: as soon as its database is
/// ready, which calls do not wait for.
async fn say_link(settings: &Settings) {
    let link = settings.data_dir.join(manager_ui_server::SETUP_FILE);
    for _ in 0..50 {
        if link.exists() {
            let link = link.display();
            let _ = writeln!(
                io::stdout(),
                "There is no administrator yet: open the link in {link}"
            );
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn say(out: &mut impl Write, settings: &Settings, page: SocketAddr) -> io::Result<()> {
    let ours = settings.told_addresses();
    let page = reachable(page, &ours);
    if !settings.demo {
        return writeln!(out, "Consilium serves https://{page}/");
    }
    let sip = reachable(settings.sip.listen(), &ours);
    let sip = match (sip.port(), sip.ip()) {
        (5060, IpAddr::V4(host)) => host.to_string(),
        (5060, IpAddr::V6(host)) => format!("[{host}]"),
        _ => sip.to_string(),
    };
    writeln!(out, "Room 3000 is open to anybody.")?;
    writeln!(out, "  Browser:  https://{page}/room/3000")?;
    writeln!(out, "  Dial:     sip:3000@{sip}")
}

/// Where peers find what listens there: of all addresses, the first that is among `ours` and of a
/// family that is listened on. `[::]` takes both.
fn reachable(listen: SocketAddr, ours: &[IpAddr]) -> SocketAddr {
    let mut address = listen;
    let served = |ip: &&IpAddr| listen.is_ipv6() || ip.is_ipv4();
    if listen.ip().is_unspecified()
        && let Some(ip) = ours.iter().find(served)
    {
        address.set_ip(*ip);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_peers_reach() {
        let settings: Settings = toml::from_str(
            "demo = true\n[sip]\nlisten = \"[::]:5060\"\n[media]\naddresses = [\"2001:db8::7\", \"192.0.2.9\"]\n",
        )
        .unwrap();
        let mut said = Vec::new();
        say(&mut said, &settings, "0.0.0.0:8443".parse().unwrap()).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(" https://192.0.2.9:8443/room/3000\n"));
        assert!(said.contains(" sip:3000@[2001:db8::7]\n"));
        let only_here: Settings =
            toml::from_str("demo = true\n[sip]\nlisten = \"127.0.0.1:7001\"\n").unwrap();
        let mut said = Vec::new();
        say(&mut said, &only_here, "192.0.2.3:443".parse().unwrap()).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(" https://192.0.2.3:443/room/3000\n"));
        assert!(said.contains(" sip:3000@127.0.0.1:7001\n"));
    }
}
