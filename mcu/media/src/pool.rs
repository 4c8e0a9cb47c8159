//! Threads for video work. A job owns all that it needs (a decoder, a canvas) and brings it back with
//! its result, so nothing is shared and nothing is locked while it runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::blame;
use crate::pressure::Work;

/// Work that yields a `T`.
pub type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A fixed number of threads that run jobs in the order of their arrival, and a few more, of low
/// priority, for what may as well come later ([`Pool::submit_last`]).
///
/// At most one job of each decoder, canvas and encoder is under way, so the number of jobs is bounded
/// by the number of streams; what comes meanwhile waits with its owner, who drops the oldest.
pub struct Pool<T> {
    jobs: Arc<Queue<T>>,
    last_jobs: Arc<Queue<T>>,
    results: Receiver<T>,
    threads: usize,
}

/// Jobs that wait for a thread: each rouses one. (A channel behind a lock would rouse two, one to take
/// the job and one to wait in its place.)
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    roused: Condvar,
    /// Time of all threads in jobs, in µs.
    worked: AtomicU64,
}

struct Waiting<T> {
    /// With the time at which each came.
    jobs: VecDeque<(Instant, Job<T>)>,
    /// Jobs that were taken since somebody asked, and how long they waited.
    taken: (u32, Duration),
    is_over: bool,
}

impl<T> Queue<T> {
    fn new() -> Self {
        let waiting = Waiting {
            jobs: VecDeque::new(),
            taken: (0, Duration::ZERO),
            is_over: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            roused: Condvar::new(),
            worked: AtomicU64::new(0),
        }
    }

    /// No job runs under the lock, so none can poison it.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `false` when it is full, or all is over.
    fn push(&self, job: Job<T>) -> bool {
        let mut waiting = self.lock();
        if waiting.jobs.len() >= MAX_WAITING || waiting.is_over {
            return false;
        }
        waiting.jobs.push_back((Instant::now(), job));
        drop(waiting);
        self.roused.notify_one();
        true
    }

    /// The next job, once there is one; `None` when all is over.
    fn next(&self) -> Option<Job<T>> {
        let waiting = self.lock();
        let is_idle = |waiting: &mut Waiting<T>| waiting.jobs.is_empty() && !waiting.is_over;
        let roused = self.roused.wait_while(waiting, is_idle);
        let mut waiting = roused.unwrap_or_else(PoisonError::into_inner);
        let (came, job) = waiting.jobs.pop_front()?;
        waiting.taken.0 += 1;
        waiting.taken.1 += came.elapsed();
        Some(job)
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.roused.notify_all();
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.jobs.end();
        self.last_jobs.end();
    }
}

/// Jobs that may wait for a thread. More than that means that the machine is hopelessly overloaded:
/// [`Pool::submit`] then runs nothing and says so.
const MAX_WAITING: usize = 4096;

/// Of so many threads one more is there for what comes last: it never takes more of the machine.
const LAST_OF: usize = 4;
/// Their priority, as nice(1) counts.
const LAST_NICE: libc::c_int = 10;

impl<T: Send + 'static> Pool<T> {
    /// Starts `threads` threads; each finished job rouses `waker`.
    pub fn new(threads: usize, waker: Arc<Waker>) -> std::io::Result<Self> {
        let last = threads.div_ceil(LAST_OF);
        let (finished, results) = sync_channel(2 * MAX_WAITING + threads + last);
        let start = |name: &str, threads: usize, is_last: bool| {
            let jobs = Arc::new(Queue::new());
            for n in 0..threads {
                let (waiting, finished, waker) = (jobs.clone(), finished.clone(), waker.clone());
                thread::Builder::new()
                    .name(format!("{name}-{n}"))
                    .spawn(move || {
                        if is_last {
                            lower_priority();
                        }
                        run_jobs(&waiting, &finished, &waker);
                    })?;
            }
            Ok::<_, std::io::Error>(jobs)
        };
        Ok(Self {
            jobs: start("video", threads, false)?,
            last_jobs: start("still", last, true)?,
            results,
            threads,
        })
    }

    /// Queues a job. `false` when the queue is full: the job, and what it owned, is gone.
    #[must_use]
    pub fn submit(&self, job: Job<T>) -> bool {
        self.jobs.push(job)
    }

    /// The same for a job that may wait until nothing else is to be done.
    #[must_use]
    pub fn submit_last(&self, job: Job<T>) -> bool {
        self.last_jobs.push(job)
    }

    /// What threads have done since the last call, `passed` ago, but for what may wait.
    pub fn take_work(&self, passed: Duration) -> Work {
        let (jobs, waited) = std::mem::take(&mut self.jobs.lock().taken);
        let worked = self.jobs.worked.swap(0, Ordering::Relaxed) as f32;
        Work {
            jobs,
            waited,
            busy: worked / (passed.as_micros() as f32 * self.threads as f32).max(1.0),
        }
    }

    /// Next result, if one is there.
    pub fn result(&self) -> Option<T> {
        self.results.try_recv().ok()
    }
}

/// Has the calling thread wait for what is more urgent.
pub fn lower_priority() {
    // SAFETY: setpriority has no memory effects; 0 means the calling thread on Linux. Nobody lacks the
    // right to lower it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LAST_NICE) };
}

fn run_jobs<T>(waiting: &Queue<T>, finished: &SyncSender<T>, waker: &Waker) {
    blame::enlist();
    while let Some(job) = waiting.next() {
        let began = Instant::now();
        let result = job();
        let took = began.elapsed().as_micros() as u64;
        waiting.worked.fetch_add(took, Ordering::Relaxed);
        if finished.send(result).is_err() || waker.wake().is_err() {
            waiting.end();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    #[test]
    fn a_queue_takes_no_more_than_it_may_and_nothing_once_it_is_over() {
        let queue: Queue<u32> = Queue::new();
        assert!((0..MAX_WAITING).all(|_| queue.push(Box::new(|| 1))));
        assert!(!queue.push(Box::new(|| 2)), "full");
        assert_eq!(queue.next().map(|job| job()), Some(1));
        queue.end();
        assert!(!queue.push(Box::new(|| 2)), "over");
        let left = std::iter::from_fn(|| queue.next()).count();
        assert_eq!(left, MAX_WAITING - 1, "what was taken is run");
    }

    #[test]
    fn every_result_comes_back_and_rouses_the_owner() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let pool = Pool::new(2, waker).unwrap();
        for n in 0..100u32 {
            assert!(pool.submit(Box::new(move || n * n)));
        }
        for n in 100..110u32 {
            assert!(pool.submit_last(Box::new(move || n * n)));
        }
        let mut got = Vec::new();
        let mut events = Events::with_capacity(8);
        while got.len() < 110 {
            poll.poll(&mut events, None).unwrap();
            got.extend(std::iter::from_fn(|| pool.result()));
        }
        let work = pool.take_work(Duration::from_secs(1));
        assert_eq!(work.jobs, 100, "what may wait is not counted");
        got.sort_unstable();
        assert_eq!(got, (0..110).map(|n| n * n).collect::<Vec<u32>>());
    }
}
