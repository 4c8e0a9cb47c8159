use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pause};

use super::*;

const ROOM: RoomId = RoomId(3);
const OTHER: LegId = LegId(6);
const LEG: LegId = LegId(7);
const LIFE: InstanceId = InstanceId(0x1234_5678);

fn note(leg: u64) -> Note {
    Note {
        instance: LIFE.0,
        signal: 11,
        room: 3,
        leg,
    }
}

/// Runs `work` in a process of its own that keeps notes in `path`, and yields the signal that it
/// died of. `outside` is sent to it once it has something in hand.
fn die(path: &Path, outside: Option<Signal>, work: fn()) -> Signal {
    let (ready, told) = nix::unistd::pipe()
        .map(|(r, w)| (File::from(r), w))
        .unwrap();
    // SAFETY: the child runs what is under test and ends by a signal; it takes no lock that another
    // thread may have held.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            open(path, LIFE);
            let _held = hold(ROOM, LEG);
            drop(hold(ROOM, OTHER));
            File::from(told).write_all(b"!").unwrap();
            work();
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            drop(told);
            let mut ready = ready;
            ready.read_exact(&mut [0]).unwrap();
            if let Some(signal) = outside {
                kill(child, signal).unwrap();
            }
            match waitpid(child, None).unwrap() {
                WaitStatus::Signaled(_, signal, _) => signal,
                other => panic!("{other:?}"),
            }
        }
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
    let deadly: [(&str, fn(), Signal); 5] = [
        ("fault", fault, Signal::SIGSEGV),
        ("abort", || std::process::abort(), Signal::SIGABRT),
        ("panic", panics, Signal::SIGABRT),
        ("overflow", overflow, Signal::SIGSEGV),
        ("loop", spin, Signal::SIGABRT),
    ];
    for (name, work, signal) in deadly {
        let path = dir.path().join(name);
        assert_eq!(die(&path, None, work), signal, "{name}");
        let left = Note {
            signal: signal as u64,
            ..note(LEG.0)
        };
        assert_eq!(read(&path), [left], "{name}");
    }
}

#[test]
fn a_signal_from_outside_is_nobodys_fault() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT] {
        let path = dir.path().join(signal.as_str());
        assert_eq!(die(&path, Some(signal), wait), signal);
        assert_eq!(read(&path), [], "{signal}");
    }
}

#[test]
fn a_death_with_nothing_in_hand_accuses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    let by_itself = || {
        Hand::own().unwrap().put((NOBODY, NOBODY));
        fault();
    };
    die(&path, None, by_itself);
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
    die(&path, None, fault);
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
