use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pause};

use super::*;

const ROOM: RoomId = RoomId(3);
const OTHER: LegId = LegId(6);
const LEG: LegId = LegId(7);
const LIFE: InstanceId = InstanceId(0x1234_5678);

/// What a child that [`die`] starts dies of, and the file for its note.
const WORK: &str = "TEST_DIES_OF";
const NOTES: &str = "TEST_LEAVES_NOTES_IN";
/// It says so when it has something in hand.
const READY: &str = "in hand";

fn note(leg: u64) -> Note {
    Note {
        instance: LIFE.0,
        signal: 11,
        room: 3,
        leg,
        sender: 0,
    }
}

/// Does this work in a process of its own, which keeps notes in `path`, and yields the signal that it
/// died of. `outside` is sent to it once it has something in hand.
fn die(path: &Path, outside: Option<Signal>, work: &str) -> Signal {
    // This program again, with the one test that dies when it is told to.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "blame::tests::who_is_told_to_dies",
        ])
        .envs([(WORK, work.as_ref()), (NOTES, path.as_os_str())])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = said.any(|line| line.unwrap().contains(READY));
    assert!(ready, "{work}");
    if let Some(signal) = outside {
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }
    let status = child.wait().unwrap();
    Signal::try_from(status.signal().unwrap()).unwrap()
}

/// The child's part of [`die`]. Nobody tells the test's own process to do anything.
#[test]
fn who_is_told_to_dies() {
    let (Some(work), Some(path)) = (std::env::var_os(WORK), std::env::var_os(NOTES)) else {
        return;
    };
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    open(Path::new(&path), LIFE);
    let _held = hold(ROOM, LEG, Sender::Peer);
    drop(hold(ROOM, OTHER, Sender::Anybody));
    println!("{READY}");
    match work.to_str().unwrap() {
        "fault" => fault(),
        "abort" => std::process::abort(),
        "panic" => panics(),
        "overflow" => overflow(),
        "loop" => spin(),
        "wait" => wait(),
        "stranger" => {
            let _held = hold(ROOM, LEG, Sender::Anybody);
            fault();
        }
        "nobody" => {
            Hand::own().unwrap().put((NOBODY, NOBODY, 0));
            fault();
        }
        other => panic!("{other}"),
    }
}

fn fault() {
    // Not null, which a build with assertions would notice by itself.
    // SAFETY: none; the fault is what is wanted.
    unsafe { ptr::without_provenance_mut::<u8>(1).write_volatile(0) };
}

#[expect(unconditional_recursion)]
fn overflow() {
    let deep = [0u8; 4096];
    std::hint::black_box(&deep);
    overflow();
    std::hint::black_box(&deep);
}

fn panics() {
    std::panic::set_hook(Box::new(|_| {}));
    listen().unwrap();
    panic!("in the hands of a leg");
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn wait() {
    loop {
        pause();
    }
}

#[test]
fn a_fault_an_abort_a_panic_an_overflow_and_a_loop_are_laid_at_the_legs_door() {
    let dir = tempfile::tempdir().unwrap();
    let deadly = [
        ("fault", Signal::SIGSEGV),
        ("abort", Signal::SIGABRT),
        ("panic", Signal::SIGABRT),
        ("overflow", Signal::SIGSEGV),
        ("loop", Signal::SIGABRT),
    ];
    for (work, signal) in deadly {
        let path = dir.path().join(work);
        assert_eq!(die(&path, None, work), signal, "{work}");
        let left = Note {
            signal: signal as u64,
            ..note(LEG.0)
        };
        assert_eq!(read(&path), [left], "{work}");
    }
}

#[test]
fn a_note_says_whether_a_stranger_may_have_sent_it() {
    let dir = tempfile::tempdir().unwrap();
    for (work, stranger) in [("fault", false), ("stranger", true)] {
        let path = dir.path().join(work);
        die(&path, None, work);
        let deaths: Vec<bool> = read(&path)
            .iter()
            .filter_map(Note::death)
            .map(|death| death.stranger)
            .collect();
        assert_eq!(deaths, [stranger]);
    }
}

#[test]
fn a_signal_from_outside_is_nobodys_fault() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT] {
        let path = dir.path().join(signal.as_str());
        assert_eq!(die(&path, Some(signal), "wait"), signal);
        assert_eq!(read(&path), [], "{signal}");
    }
}

#[test]
fn a_death_with_nothing_in_hand_accuses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    die(&path, None, "nobody");
    let left = read(&path);
    assert_eq!(left, [Note { room: 0, ..note(0) }]);
    assert_eq!(left[0].death(), None);
}

/// The controller may have been away while one life followed another.
#[test]
fn notes_are_handed_on_and_the_oldest_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    let most = HANDED_ON as u64;
    for leg in 1..=most + 3 {
        let mut earlier = read(&path);
        earlier.push(note(leg));
        renew(&path, &earlier).unwrap();
    }
    let legs: Vec<u64> = read(&path).iter().map(|note| note.leg).collect();
    assert_eq!(legs, (4..=most + 3).collect::<Vec<u64>>());
    assert_eq!(
        fs::metadata(&path).unwrap().len() as usize,
        PLACES * NOTE_LEN
    );
    die(&path, None, "fault");
    let left = read(&path);
    assert_eq!(left.len(), HANDED_ON + 1);
    assert_eq!(left.last().unwrap().leg, LEG.0);
}

#[test]
fn what_is_torn_foreign_or_of_another_version_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    assert_eq!(read(&path), [], "no file");
    assert_eq!(read(dir.path()), [], "no file but a folder");
    let whole = note(LEG.0).encode();
    for len in 0..NOTE_LEN {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(read(&path), [], "{len} bytes");
    }
    for flipped in 0..NOTE_LEN {
        let mut bytes = whole;
        bytes[flipped] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path), [], "byte {flipped}");
    }
    let mut words = [MAGIC, VERSION + 1, LIFE.0, 11, 3, 7, 0, 0];
    words[7] = check(&words);
    fs::write(&path, words.map(u64::to_ne_bytes).concat()).unwrap();
    assert_eq!(read(&path), [], "another version");
    fs::write(
        &path,
        [&whole[..], b"rubbish behind", &whole[..40]].concat(),
    )
    .unwrap();
    assert_eq!(read(&path), [note(LEG.0)]);
    fs::write(&path, whole.repeat(PLACES + 9)).unwrap();
    assert_eq!(read(&path).len(), PLACES, "a giant is not read whole");
}

#[test]
fn only_time_that_a_thread_computes_at_one_piece_of_work_counts() {
    let mut look = Look::default();
    let (before, enough) = (
        Duration::from_secs(500),
        MAX_WORK + Duration::from_millis(1),
    );
    assert!(!look.is_endless(7, before));
    assert!(!look.is_endless(7, before), "it waits for the processor");
    assert!(!look.is_endless(7, before + MAX_WORK));
    assert!(!look.is_endless(8, before + enough), "it has gone on");
    assert!(!look.is_endless(8, before + enough + MAX_WORK));
    assert!(look.is_endless(8, before + enough + enough));
}
