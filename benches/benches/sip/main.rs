//! What SIP costs: calls and registrations per CPU-second of our controller, of Kamailio and of
//! sipp's own UAS, on the same load in the same run; then 10,000 registered accounts that keep alive.
//!
//! `cargo bench --bench sip`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_CALLS` (2000), `CONSILIUM_BENCH_ACCOUNTS` (10000),
//! `CONSILIUM_BENCH_SECONDS` (30, of keep-alives), `CONSILIUM_BENCH_ROUNDS` (3).
//!
//! sipp sends the load and its own CPU time is not counted. What each server does for a call:
//! * **Consilium** terminates it: dialog, answer to the offer, ports, a place in a room, what it keeps
//!   over its death. Counted is the controller alone, and beside it the controller with the media
//!   process, which opens sockets and sends sound for as long as the call is up.
//! * **Kamailio relay** passes it on as a stateful proxy with Record-Route to a sipp UAS, whose time is
//!   not counted; it reads no SDP. That is what Kamailio is made for.
//! * **Kamailio answer** answers it without any state, the least that can be done.
//! * **sipp UAS** answers it from a scenario with one fixed SDP.
//!
//! A registration is REGISTER, 401, REGISTER with the proof (MD5), 200. Figures are printed, never
//! asserted.

mod kamailio;
mod sipp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::process::{cpu_of, cpu_of_tree, resident_kb};
use benches::server::{Server, binary, end};
use sipp::{Outcome, Scenario};

/// Ports for as many calls in a row as are made before the first port has rested.
const MEDIA_PORTS: (u16, u16) = (12_000, 31_999);
const CALL_RATE: u32 = 200;
const REGISTER_RATE: u32 = 500;
/// Every account keeps alive once in this time.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// sipp ends it at a blank.
const PASSWORD: &str = "long-and-secret";

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let bench = Bench {
        binary: binary()?,
        calls: setting("CONSILIUM_BENCH_CALLS", 2_000)?,
        accounts: setting("CONSILIUM_BENCH_ACCOUNTS", 10_000)?,
        span: Duration::from_secs(setting("CONSILIUM_BENCH_SECONDS", 30)?.into()),
        dir: std::env::temp_dir().join(format!("consilium-sip-{}", std::process::id())),
    };
    std::fs::create_dir_all(&bench.dir)?;
    sipp::write_users(&bench.dir, bench.accounts, PASSWORD)?;
    let rounds = setting("CONSILIUM_BENCH_ROUNDS", 3)?;
    bench.compare_calls(rounds)?;
    bench.compare_registrations(rounds)?;
    bench.keep_alive()?;
    std::fs::remove_dir_all(&bench.dir)?;
    Ok(())
}

fn setting(name: &str, default: u32) -> Result<u32> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

struct Bench {
    binary: PathBuf,
    calls: u32,
    accounts: u32,
    span: Duration,
    dir: PathBuf,
}

/// What one server did with one load.
struct Cost {
    name: &'static str,
    outcome: Outcome,
    cpu: Duration,
}

impl Cost {
    fn per_second(&self) -> f64 {
        f64::from(self.outcome.done) / self.cpu.as_secs_f64()
    }
}

impl Bench {
    fn compare_calls(&self, rounds: u32) -> Result<()> {
        println!("Calls (INVITE, 200, ACK, BYE, 200), {CALL_RATE} a second over UDP:");
        let mut all = Vec::new();
        for _ in 0..rounds {
            let mut costs = self.calls_of_consilium()?;
            costs.extend(self.calls_of_kamailio()?);
            costs.push(self.calls_of_sipp()?);
            all.push(costs);
        }
        print_median(all, "calls");
        Ok(())
    }

    fn calls_of_consilium(&self) -> Result<Vec<Cost>> {
        let server = Server::configured(&self.binary, MEDIA_PORTS, &self.config(0))?;
        let (control, media) = (server.pid_of("control")?, server.pid_of("media")?);
        self.load(Scenario::Call, server.sip, CALL_RATE, 100)?;
        let cpu = || (cpu_of(control), cpu_of(media));
        let before = cpu();
        let outcome = self.load(Scenario::Call, server.sip, CALL_RATE, self.calls)?;
        let after = cpu();
        let of_control = after.0.saturating_sub(before.0);
        let of_media = after.1.saturating_sub(before.1);
        server.end_well();
        let cost = |name, cpu| Cost { name, outcome, cpu };
        Ok(vec![
            cost("Consilium, control", of_control),
            cost("Consilium, control and media", of_control + of_media),
        ])
    }

    fn calls_of_kamailio(&self) -> Result<Vec<Cost>> {
        let uas = sipp::answering(&self.dir)?;
        let relay = kamailio::start(&self.dir, Some(uas.at), PASSWORD)?;
        let relayed = self.measure(
            "Kamailio, relay",
            &relay,
            Scenario::Call,
            CALL_RATE,
            self.calls,
        )?;
        let answer = kamailio::start(&self.dir, None, PASSWORD)?;
        let answered = self.measure(
            "Kamailio, answer",
            &answer,
            Scenario::Call,
            CALL_RATE,
            self.calls,
        )?;
        Ok(vec![relayed, answered])
    }

    fn calls_of_sipp(&self) -> Result<Cost> {
        let uas = sipp::answering(&self.dir)?;
        self.measure("sipp UAS", &uas, Scenario::Call, CALL_RATE, self.calls)
    }

    fn compare_registrations(&self, rounds: u32) -> Result<()> {
        println!(
            "Registrations (REGISTER, 401, REGISTER, 200), {REGISTER_RATE} a second over UDP:"
        );
        let count = self.accounts.min(5_000);
        let mut all = Vec::new();
        for _ in 0..rounds {
            let server =
                Server::configured(&self.binary, MEDIA_PORTS, &self.config(self.accounts))?;
            let control = server.pid_of("control")?;
            self.load(Scenario::Register, server.sip, REGISTER_RATE, 100)?;
            let before = cpu_of(control);
            let outcome = self.load(Scenario::Register, server.sip, REGISTER_RATE, count)?;
            let cpu = cpu_of(control).saturating_sub(before);
            server.end_well();
            let name = "Consilium, control";
            let mut costs = vec![Cost { name, outcome, cpu }];
            let kamailio = kamailio::start(&self.dir, None, PASSWORD)?;
            costs.push(self.measure(
                "Kamailio",
                &kamailio,
                Scenario::Register,
                REGISTER_RATE,
                count,
            )?);
            all.push(costs);
        }
        print_median(all, "registrations");
        Ok(())
    }

    fn measure(
        &self,
        name: &'static str,
        peer: &Peer,
        what: Scenario,
        rate: u32,
        count: u32,
    ) -> Result<Cost> {
        self.load(what, peer.at, rate, 100)?;
        let before = cpu_of_tree(peer.process.id());
        let outcome = self.load(what, peer.at, rate, count)?;
        let cpu = cpu_of_tree(peer.process.id()).saturating_sub(before);
        Ok(Cost { name, outcome, cpu })
    }

    /// All accounts register, then keep alive: by registering anew, and by OPTIONS.
    fn keep_alive(&self) -> Result<()> {
        let accounts = self.accounts;
        println!(
            "{accounts} accounts that keep alive every {} s:",
            KEEP_ALIVE.as_secs()
        );
        let server = Server::configured(&self.binary, MEDIA_PORTS, &self.config(accounts))?;
        let control = server.pid_of("control")?;
        let start_ms = server.start_time.as_millis();
        let empty_kb = resident_kb(control);
        println!("  started within {start_ms} ms, {} MB", empty_kb / 1024);
        let rate = (f64::from(accounts) / KEEP_ALIVE.as_secs_f64()).ceil() as u32;
        let count = rate * self.span.as_secs() as u32;
        let steps = [
            ("all register", Scenario::Register, REGISTER_RATE, accounts),
            ("register anew", Scenario::Register, rate, count),
            ("OPTIONS", Scenario::Options, rate, count),
        ];
        for (what, scenario, rate, count) in steps {
            let (start, before) = (Instant::now(), cpu_of(control));
            let outcome = self.load(scenario, server.sip, rate, count)?;
            let cpu = cpu_of(control).saturating_sub(before);
            let cores = cpu.as_secs_f64() / start.elapsed().as_secs_f64();
            println!(
                "  {what:14} {rate:>4} a second: {} done, {} failed, {:.1} % of a core, {} MB",
                outcome.done,
                outcome.failed,
                100.0 * cores,
                resident_kb(control) / 1024
            );
        }
        self.restart(&server, control)
    }

    /// Kills the controller; the next one reads all contacts.
    fn restart(&self, server: &Server, control: u32) -> Result<()> {
        let start = Instant::now();
        // SAFETY: signals a child of the server that this bench started.
        unsafe { libc::kill(control as i32, libc::SIGKILL) };
        let probe = std::net::UdpSocket::bind("127.0.0.1:0")?;
        probe.set_read_timeout(Some(Duration::from_millis(20)))?;
        let here = probe.local_addr()?;
        while start.elapsed() < Duration::from_secs(30) {
            let request = sipp::options(server.sip, here);
            // A closed port is told as an error of the next call: it is asked again.
            let _ = probe.send_to(request.as_bytes(), server.sip);
            let answered = probe.recv(&mut [0; 2_048]).is_ok();
            if answered && server.pid_of("control").is_ok_and(|pid| pid != control) {
                let ms = start.elapsed().as_millis();
                println!("  killed: the next controller answers after {ms} ms");
                return Ok(());
            }
        }
        anyhow::bail!(
            "the controller does not come back, see {}",
            server.dir().display()
        )
    }

    fn load(&self, what: Scenario, to: SocketAddr, rate: u32, count: u32) -> Result<Outcome> {
        sipp::run(&self.dir, what, to, rate, count)
    }

    /// Room 3000 for everybody, and so many accounts.
    fn config(&self, accounts: u32) -> String {
        let mut text = String::from(
            "[limits]\nnew_calls_per_source_per_s = 10000\nnew_calls_per_s = 10000\n[[rooms]]\nnumber = \"3000\"\nguests = true\n",
        );
        for n in 0..accounts {
            text += &format!("[[sip.accounts]]\nuser = \"t{n}\"\npassword = \"{PASSWORD}\"\n");
        }
        text
    }
}

/// A server to compare with; dropping it ends it.
struct Peer {
    process: Child,
    at: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// The round in the middle by its first server's figure, so that a ratio is of one round.
fn print_median(mut all: Vec<Vec<Cost>>, what: &str) {
    all.sort_by(|a, b| a[0].per_second().total_cmp(&b[0].per_second()));
    let middle = all.swap_remove(all.len() / 2);
    let ours = middle[0].per_second();
    for cost in &middle {
        println!(
            "  {:30} {:>7.0} {what} per CPU-second ({:>5.2}), {} done, {} failed",
            cost.name,
            cost.per_second(),
            cost.per_second() / ours,
            cost.outcome.done,
            cost.outcome.failed
        );
    }
}

/// Path of a file in the bench's folder, as a word of a command line.
fn word(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
