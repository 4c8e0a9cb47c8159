//! Threads for video work. A job owns all that it needs (a decoder, a canvas) and brings it back with
//! its result, so nothing is shared and nothing is locked while it runs.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use mio::Waker;

use crate::blame;

/// Work that yields a `T`.
pub type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A fixed number of threads that run jobs in the order of their arrival, and a few more, of low
/// priority, for what may as well come later ([`Pool::submit_last`]).
///
/// At most one job of each decoder, canvas and encoder is under way, so the number of jobs is bounded
/// by the number of streams; what comes meanwhile waits with its owner, who drops the oldest.
pub struct Pool<T> {
    jobs: SyncSender<Job<T>>,
    last_jobs: SyncSender<Job<T>>,
    results: Receiver<T>,
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
        let start = |name: &str, threads: usize, nice: Option<libc::c_int>| {
            let (jobs, waiting) = sync_channel::<Job<T>>(MAX_WAITING);
            let waiting = Arc::new(Mutex::new(waiting));
            for n in 0..threads {
                let (waiting, finished, waker) = (waiting.clone(), finished.clone(), waker.clone());
                thread::Builder::new()
                    .name(format!("{name}-{n}"))
                    .spawn(move || {
                        nice.into_iter().for_each(lower_priority);
                        run_jobs(&waiting, &finished, &waker);
                    })?;
            }
            Ok::<_, std::io::Error>(jobs)
        };
        Ok(Self {
            jobs: start("video", threads, None)?,
            last_jobs: start("still", last, Some(LAST_NICE))?,
            results,
        })
    }

    /// Queues a job. `false` when the queue is full: the job, and what it owned, is gone.
    #[must_use]
    pub fn submit(&self, job: Job<T>) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// The same for a job that may wait until nothing else is to be done.
    #[must_use]
    pub fn submit_last(&self, job: Job<T>) -> bool {
        self.last_jobs.try_send(job).is_ok()
    }

    /// Next result, if one is there.
    pub fn result(&self) -> Option<T> {
        self.results.try_recv().ok()
    }
}

fn lower_priority(nice: libc::c_int) {
    // SAFETY: setpriority has no memory effects; 0 means the calling thread on Linux. Nobody lacks the
    // right to lower it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

fn run_jobs<T>(waiting: &Mutex<Receiver<Job<T>>>, finished: &SyncSender<T>, waker: &Waker) {
    blame::enlist();
    loop {
        // Only the wait for the next job is under the lock; a panicking job cannot poison it.
        let job = waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .recv();
        let Ok(job) = job else { return };
        if finished.send(job()).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

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
        got.sort_unstable();
        assert_eq!(got, (0..110).map(|n| n * n).collect::<Vec<u32>>());
    }
}
