//! The machine: files, disk, memory, clock.

use std::fs::{self, File};
use std::io::Write;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use super::Finding;

/// Free bytes below which the disk is as good as full, and below which it soon is.
const FULL: u64 = 64 * 1024 * 1024;
const NEARLY_FULL: u64 = 1024 * 1024 * 1024;
/// A disk that takes longer to keep a few bytes makes whoever logs in wait.
const SLOW: Duration = Duration::from_millis(100);
/// Sockets and files of a busy server.
const OPEN_FILES: u64 = 16_384;
const MEMORY_KIB: u64 = 512 * 1024;
/// Most that the clock may be off: certificates, one-time codes and the record go by it.
const CLOCK_OFF: f64 = 2.0;

/// A configuration file that others can read shows them passwords.
pub fn configuration(file: Option<&Path>) -> Option<Finding> {
    let metadata = fs::metadata(file?).ok()?;
    let text = fs::read_to_string(file?).ok()?;
    let secret = ["password", "secret", "pin", "url"];
    let holds = |line: &str| secret.iter().any(|key| line.trim_start().starts_with(key));
    let is_open = metadata.mode() & 0o004 != 0;
    (is_open && text.lines().any(holds)).then(|| {
        Finding::warning(
            "configuration_open",
            format!(
                "everybody on this machine can read {}",
                file.unwrap_or(Path::new("")).display()
            ),
            "It holds passwords: chmod 640, and a group of the server's user alone.",
        )
    })
}

/// The data folder is ours, can be written to, and is closed to others.
pub fn data_folder(dir: &Path) -> Vec<Finding> {
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![unusable(dir, &error.to_string())],
    };
    if !metadata.is_dir() {
        return vec![unusable(dir, "it is no folder")];
    }
    let mut found = Vec::new();
    let probe = dir.join(".doctor");
    let written = File::create(&probe).and_then(|mut file| file.write_all(b"probe"));
    let _ = fs::remove_file(&probe);
    if let Err(error) = written {
        found.push(unusable(dir, &error.to_string()));
    }
    if metadata.uid() != geteuid().as_raw() {
        found.push(Finding::warning(
            "data_folder_owner",
            format!("{} belongs to another user", dir.display()),
            "Run this as the user of the server, or give the folder to that user (chown -R).",
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        found.push(Finding::fault(
            "data_folder_open",
            format!("others can write to {}", dir.display()),
            "Keys and passwords are kept there: chmod 700.",
        ));
    }
    found
}

fn unusable(dir: &Path, reason: &str) -> Finding {
    Finding::fault(
        "data_folder",
        format!("the data folder {} cannot be used: {reason}", dir.display()),
        "Name another by data_dir, or give the server's user the right to write there.",
    )
}

/// Room and speed of the disk.
pub fn disk(dir: &Path) -> Vec<Finding> {
    let there = dir.ancestors().find(|dir| dir.is_dir());
    let Some(there) = there else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Ok(facts) = statvfs(there) {
        let free = facts.blocks_available() * facts.fragment_size();
        let what = format!("{} MiB are free for {}", free / 1024 / 1024, dir.display());
        let advice = "Remove what is not needed, or move data_dir to a larger disk.";
        if free < FULL {
            found.push(Finding::fault("disk_full", what, advice));
        } else if free < NEARLY_FULL {
            found.push(Finding::warning("disk_nearly_full", what, advice));
        }
    }
    if let Some(time) = sync_time(there).filter(|time| *time > SLOW) {
        found.push(Finding::warning(
            "disk_slow",
            format!("the disk takes {} ms to keep a few bytes", time.as_millis()),
            "Logging in and every change waits for it: use a disk of this machine, not a network's.",
        ));
    }
    found
}

/// Median of some writes that are forced to disk.
fn sync_time(dir: &Path) -> Option<Duration> {
    let path = dir.join(".doctor-sync");
    let mut file = File::create(&path).ok()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let synced = file.write_all(&[0; 4096]).and_then(|()| file.sync_data());
        if synced.is_err() {
            break;
        }
        times.push(begin.elapsed());
    }
    let _ = fs::remove_file(&path);
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Each leg and each browser holds some.
pub fn open_files() -> Option<Finding> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    (hard < OPEN_FILES).then(|| {
        Finding::warning(
            "open_files",
            format!("a process may have {hard} open files here"),
            "Calls are refused beyond: LimitNOFILE=65536 in the unit, or ulimit -n.",
        )
    })
}

/// What is left of the memory.
pub fn memory() -> Option<Finding> {
    let facts = fs::read_to_string("/proc/meminfo").ok()?;
    let line = facts
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free: u64 = line.trim().split(' ').next()?.parse().ok()?;
    (free < MEMORY_KIB).then(|| {
        Finding::warning(
            "memory",
            format!("{} MiB of memory are left", free / 1024),
            "A picture of many sites needs some hundred MiB: end other programs, or add memory.",
        )
    })
}

/// What was written here before cannot be from later.
pub fn clock(dir: &Path) -> Option<Finding> {
    let files = [
        "control-state.json",
        "control-registrations.json",
        "consilium.db",
    ];
    let now = SystemTime::now();
    let written = files
        .iter()
        .filter_map(|name| fs::metadata(dir.join(name)).ok()?.modified().ok());
    let ahead = written.max()?.duration_since(now).ok()?;
    (ahead > Duration::from_secs(60)).then(|| clock_is_off(ahead.as_secs_f64()))
}

fn clock_is_off(seconds: f64) -> Finding {
    let direction = if seconds > 0.0 { "behind" } else { "ahead" };
    Finding::fault(
        "clock",
        format!(
            "this machine's clock is {:.0} seconds {direction}",
            seconds.abs()
        ),
        "Certificates, one-time codes and the record go by it: have it set by NTP (timedatectl set-ntp true).",
    )
}

/// Compares the clock with a server's (SNTP, RFC 4330 §5).
pub fn network_time(server: &str) -> Option<Finding> {
    match offset_to(server) {
        Ok(offset) if offset.abs() > CLOCK_OFF => Some(clock_is_off(offset)),
        Ok(_) => None,
        Err(error) => Some(Finding::warning(
            "clock_unknown",
            format!("{server} does not tell the time: {error}"),
            "Name another server of network time, and see that UDP port 123 is let out.",
        )),
    }
}

/// Seconds that a server's clock is before ours.
fn offset_to(server: &str) -> std::io::Result<f64> {
    /// Seconds from 1900 to 1970.
    const TO_1970: f64 = 2_208_988_800.0;
    let address = match server.contains(':') {
        true => server.to_socket_addrs()?.next(),
        false => (server, 123).to_socket_addrs()?.next(),
    };
    let address = address.ok_or(std::io::ErrorKind::NotFound)?;
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut packet = [0; 48];
    packet[0] = 0x23; // version 4, client
    let sent = unix_s();
    socket.send(&packet)?;
    let len = socket.recv(&mut packet)?;
    let received = unix_s();
    if len < 48 {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let time = |at: usize| {
        let word = |at: usize| {
            u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        };
        f64::from(word(at)) + f64::from(word(at + 4)) / 4_294_967_296.0 - TO_1970
    };
    Ok(((time(32) - sent) + (time(40) - received)) / 2.0)
}

fn unix_s() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}
