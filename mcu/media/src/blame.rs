//! Whose bytes each thread has in hand, so that the death of the process can be laid at a leg's door.
//!
//! A thread notes the leg before it works on what came from it ([`hold`]): a few plain stores to a
//! cache line of its own. A handler of the signals by which a process dies of its own doing writes the dying
//! thread's note to a file that the next process reads at its start ([`open`]) and tells the
//! controller, which puts the leg out. A signal from outside (an administrator, the kernel that is out
//! of memory) leaves no note. A panic in any thread ends the process in the same way: a pool with a
//! thread less, or a decoder that never comes home, would be worse. A thread that has computed for
//! [`MAX_WORK`] on one piece of work loops, and ends the process, too.
//!
//! The file is no shared memory on purpose: a store to a mapped page waits for the disk when that is
//! busy, and the mixer must not.

use std::cell::Cell;
use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering, compiler_fence};
use std::time::Duration;
use std::{ptr, thread};

use anyhow::Context;
use mcu_api::ids::{InstanceId, LegId, RoomId};
use mcu_api::media::Death;
use tracing::{error, info, warn};

/// Signals by which a process dies of what it does itself.
const FAULTS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// Notes of earlier lives that are handed on: the controller may not have heard of them yet. The
/// oldest goes first.
const HANDED_ON: usize = 16;
/// Threads that can leave a note.
const MAX_THREADS: usize = 256;
/// Places in the file: what is handed on, then one for each thread.
const PLACES: usize = HANDED_ON + MAX_THREADS;

/// Bytes of a note: eight words in the order of this machine, which alone reads them.
const NOTE_LEN: usize = 64;
const MAGIC: u64 = u64::from_be_bytes(*b"MEDIADIE");
const VERSION: u64 = 1;

/// No room and no leg: ids count from 1.
const NOBODY: u64 = 0;

/// Room, leg and [`Sender`] of what a thread works on, as numbers.
type Work = (u64, u64, u64);

/// Time of the processor, not of the clock, after which one piece of work will not end: the largest
/// picture takes a fraction of a second.
const MAX_WORK: Duration = Duration::from_secs(2);
/// From one look at the threads to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A room for the handler's stack, where the thread has none.
const STACK_LEN: usize = 64 << 10;

/// What each thread works on that is enlisted, in the order of their enlisting.
static HANDS: [Hand; MAX_THREADS] = [const { Hand::empty() }; MAX_THREADS];
static ENLISTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which of the hands is this thread's. Without a destructor and set at compile time, so that a
    /// signal handler may read it.
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The open file, or -1, and our life.
static FILE: AtomicI32 = AtomicI32::new(-1);
static INSTANCE: AtomicU64 = AtomicU64::new(0);

/// What one thread works on. It alone writes, so that nothing needs more than a plain store; a line of
/// the cache is its own.
#[repr(align(64))]
struct Hand {
    room: AtomicU64,
    leg: AtomicU64,
    /// [`Sender`], as a number.
    sender: AtomicU64,
    /// Counts pieces of work begun and ended.
    turn: AtomicU64,
    /// The clock that tells how long the thread has computed.
    clock: AtomicI32,
}

impl Hand {
    const fn empty() -> Self {
        Self {
            room: AtomicU64::new(NOBODY),
            leg: AtomicU64::new(NOBODY),
            sender: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            clock: AtomicI32::new(0),
        }
    }

    fn own() -> Option<&'static Self> {
        HANDS.get(OWN.get())
    }

    fn put(&self, (room, leg, sender): Work) {
        self.room.store(room, Ordering::Relaxed);
        self.leg.store(leg, Ordering::Relaxed);
        self.sender.store(sender, Ordering::Relaxed);
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        // The compiler is not to move the work before the note, or the note behind the work.
        compiler_fence(Ordering::SeqCst);
    }

    fn get(&self) -> Work {
        (
            self.room.load(Ordering::Relaxed),
            self.leg.load(Ordering::Relaxed),
            self.sender.load(Ordering::Relaxed),
        )
    }
}

/// Who sent what a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The leg's peer: keys, a check of ICE or the address that signalling named speak for it.
    Peer = 0,
    /// Whoever found the leg's port.
    Anybody = 1,
}

/// Until it is dropped, this thread works on what came from a leg.
#[must_use]
pub struct Held {
    former: Work,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

/// Takes a leg's bytes in hand. What was in hand before is so again afterwards.
#[inline]
pub fn hold(room: RoomId, leg: LegId, sender: Sender) -> Held {
    let hand = Hand::own();
    let former = hand.map_or((NOBODY, NOBODY, 0), Hand::get);
    if let Some(hand) = hand {
        hand.put((room.0, leg.0, sender as u64));
    }
    Held {
        former,
        _thread: PhantomData,
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        if let Some(hand) = Hand::own() {
            hand.put(self.former);
        }
    }
}

/// Reads what earlier lives left in this file, and keeps it ready for a death of this one. From here
/// on faults and panics leave notes. A file that cannot be written is no reason not to run.
pub fn open(path: &Path, instance: InstanceId) -> Vec<Death> {
    let earlier = read(path);
    for note in &earlier {
        let leg = (note.leg != NOBODY).then_some(note.leg);
        info!(
            instance = note.instance,
            signal = note.signal,
            leg,
            "an earlier life died of itself"
        );
    }
    INSTANCE.store(instance.0, Ordering::Relaxed);
    match renew(path, &earlier) {
        Ok(file) => FILE.store(file.into_raw_fd(), Ordering::Relaxed),
        Err(error) => warn!(%error, "a leg that kills this process will not be known"),
    }
    if let Err(error) = listen() {
        warn!(%error, "a leg that kills this process will not be known");
    }
    enlist();
    let watch = thread::Builder::new().name("watch".into());
    if let Err(error) = watch.spawn(watch_hands) {
        warn!(%error, "a leg whose bytes make a thread loop will not be known");
    }
    earlier.iter().filter_map(Note::death).collect()
}

/// Gives this thread a place for its note. One thread too many has none.
pub fn enlist() {
    let mut clock = 0;
    // SAFETY: the thread is this one.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    let own = ENLISTED.fetch_add(1, Ordering::Relaxed);
    if let Some(hand) = HANDS.get(own) {
        hand.clock.store(clock, Ordering::Relaxed);
        OWN.set(own);
    }
    if let Err(error) = give_stack() {
        warn!(%error, "an overflow of the stack will not be known");
    }
}

/// A note as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    instance: u64,
    signal: u64,
    room: u64,
    leg: u64,
    /// [`Sender`], as a number. Earlier versions wrote none, which is the peer's.
    sender: u64,
}

impl Note {
    /// Async-signal-safe: no allocation, no lock.
    fn encode(self) -> [u8; NOTE_LEN] {
        let Self {
            instance,
            signal,
            room,
            leg,
            sender,
        } = self;
        let mut words = [MAGIC, VERSION, instance, signal, room, leg, sender, 0];
        words[7] = check(&words);
        let mut bytes = [0; NOTE_LEN];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// `None` for what is torn, foreign, or of another version.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = [0; NOTE_LEN / 8];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(place.try_into().ok()?);
        }
        let [magic, version, instance, signal, room, leg, sender, _] = words;
        let whole = bytes.len() == NOTE_LEN && words[7] == check(&words);
        (whole && magic == MAGIC && version == VERSION).then_some(Self {
            instance,
            signal,
            room,
            leg,
            sender,
        })
    }

    fn death(&self) -> Option<Death> {
        (self.leg != NOBODY).then_some(Death {
            instance: InstanceId(self.instance),
            room: RoomId(self.room),
            leg: LegId(self.leg),
            stranger: self.sender != Sender::Peer as u64,
        })
    }
}

/// FNV-1a over all words but the last.
fn check(words: &[u64; NOTE_LEN / 8]) -> u64 {
    words[..7].iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Notes of earlier lives, those handed on first. A file that is not there has none.
fn read(path: &Path) -> Vec<Note> {
    let mut bytes = Vec::new();
    let opened = File::open(path);
    let most = (PLACES * NOTE_LEN) as u64;
    let read = opened.and_then(|file| file.take(most).read_to_end(&mut bytes));
    if let Err(error) = read
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(%error, path = %path.display(), "notes of an earlier death cannot be read");
    }
    bytes.chunks(NOTE_LEN).filter_map(Note::decode).collect()
}

/// A file with the newest of these notes and a place for each thread. Its blocks are written now, so
/// that a note needs no room on a disk that is full by then.
fn renew(path: &Path, earlier: &[Note]) -> io::Result<File> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    let mut bytes = vec![0; PLACES * NOTE_LEN];
    let kept = &earlier[earlier.len().saturating_sub(HANDED_ON)..];
    for (place, note) in bytes.chunks_exact_mut(NOTE_LEN).zip(kept) {
        place.copy_from_slice(&note.encode());
    }
    file.write_all(&bytes)?;
    fs::rename(&fresh, path)?;
    Ok(file)
}

/// Has faults and panics leave notes.
fn listen() -> anyhow::Result<()> {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        said(info);
        std::process::abort();
    }));
    for signal in FAULTS {
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        // SAFETY: a zeroed sigaction is a valid one; the handler is async-signal-safe.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, ptr::null_mut())
        };
        if set != 0 {
            return Err(io::Error::last_os_error()).context("listen for faults");
        }
    }
    Ok(())
}

/// Leaves the note of the thread that it interrupts, then lets the signal take its course: a fault
/// comes again from the same instruction, [`std::process::abort`] raises its signal once more, and
/// what somebody sent is sent again.
///
/// Async-signal-safe: it reads and writes memory of its own thread and calls `pwrite`, `sigaction`,
/// `getpid` and `raise` (signal-safety(7)).
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO; the pid is there where a
    // process sent the signal, whose code is not positive then.
    let (fault, ours) = unsafe {
        let fault = (*info).si_code > 0;
        (fault, fault || (*info).si_pid() == libc::getpid())
    };
    if ours && let Some(hand) = Hand::own() {
        leave_note(OWN.get(), hand.get(), signal);
    }
    // SAFETY: a zeroed sigaction has the default disposition.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &default, ptr::null_mut());
        if !fault {
            libc::raise(signal);
        }
    }
}

fn leave_note(own: usize, (room, leg, sender): Work, signal: c_int) {
    let note = Note {
        instance: INSTANCE.load(Ordering::Relaxed),
        signal: signal as u64,
        room,
        leg,
        sender,
    };
    let bytes = note.encode();
    let file = FILE.load(Ordering::Relaxed);
    // SAFETY: the buffer is as long as is said. A file that is not there is refused by the kernel, and
    // nothing can be done about a note that cannot be written.
    unsafe {
        let at = ((HANDED_ON + own) * NOTE_LEN) as libc::off_t;
        libc::pwrite(file, bytes.as_ptr().cast(), NOTE_LEN, at);
    }
}

/// Ends the process when a thread loops.
fn watch_hands() {
    let mut looks = [Look::default(); MAX_THREADS];
    loop {
        thread::sleep(LOOK_INTERVAL);
        let enlisted = ENLISTED.load(Ordering::Relaxed);
        for (own, look) in looks.iter_mut().enumerate().take(enlisted) {
            let hand = &HANDS[own];
            let (turn, held) = (hand.turn.load(Ordering::Relaxed), hand.get());
            let computed = time_of(hand.clock.load(Ordering::Relaxed));
            // Read apart from each other: the thread may have gone on between.
            if turn != hand.turn.load(Ordering::Relaxed) {
                continue;
            }
            if held.1 != NOBODY && computed.is_some_and(|time| look.is_endless(turn, time)) {
                error!(
                    room = held.0,
                    leg = held.1,
                    "work on what a leg sent does not end"
                );
                // Of the leg that was seen, not of one that the thread may have turned to just now.
                leave_note(own, held, libc::SIGABRT);
                std::process::abort();
            }
        }
    }
}

/// What was seen of a thread.
#[derive(Clone, Copy, Default)]
struct Look {
    turn: u64,
    /// How long the thread had computed when the turn was seen first.
    since: Duration,
}

impl Look {
    /// Whether the thread has been at the same work for too long. Time in which it did not run, on a
    /// machine that is overloaded or was suspended, does not count.
    fn is_endless(&mut self, turn: u64, computed: Duration) -> bool {
        if turn != self.turn {
            *self = Self {
                turn,
                since: computed,
            };
        }
        computed.saturating_sub(self.since) > MAX_WORK
    }
}

/// How long the thread of this clock has computed. `None`: it has ended.
fn time_of(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec; a clock that is gone is refused.
    let read = unsafe { libc::clock_gettime(clock, &mut time) } == 0;
    read.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// A stack for the handler, since a fault may be the end of the thread's own. Rust gives its threads
/// one; others get theirs here, for as long as the process lives.
fn give_stack() -> io::Result<()> {
    // SAFETY: sigaltstack fills what it is given; the new stack is never freed.
    unsafe {
        let mut held: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(ptr::null(), &mut held) != 0 {
            return Err(io::Error::last_os_error());
        }
        if held.ss_flags & libc::SS_DISABLE == 0 {
            return Ok(());
        }
        let stack = libc::stack_t {
            ss_sp: Box::leak(vec![0u8; STACK_LEN].into_boxed_slice())
                .as_mut_ptr()
                .cast(),
            ss_flags: 0,
            ss_size: STACK_LEN,
        };
        match libc::sigaltstack(&stack, ptr::null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests;
