//! Costly work, rationed: so much at once, a short queue, and no more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who may work now.
pub(crate) struct Ration {
    places: usize,
    queue: usize,
    now: Mutex<Now>,
    free: Condvar,
}

#[derive(Default)]
struct Now {
    working: usize,
    waiting: usize,
    /// Most that worked at once so far.
    most: usize,
}

/// Gives its place back, also when the work panics.
struct Place<'r>(&'r Ration);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.now().working -= 1;
        self.0.free.notify_one();
    }
}

impl Ration {
    /// One piece of work for each core, and a few that wait: less than half of the
    /// threads that wait for the database as well.
    pub(crate) fn of_cores() -> Ration {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Each takes 19 MiB: ten are below 200 MB, however many cores there are.
        let places = cores.min(10);
        Ration {
            places,
            queue: 24,
            now: Mutex::default(),
            free: Condvar::new(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` when it is its turn; `None`, at once, where too many wait.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let mut now = self.now();
        if now.working >= self.places {
            if now.waiting >= self.queue {
                return None;
            }
            now.waiting += 1;
            while now.working >= self.places {
                now = self.free.wait(now).unwrap_or_else(PoisonError::into_inner);
            }
            now.waiting -= 1;
        }
        now.working += 1;
        now.most = now.most.max(now.working);
        drop(now);
        let _place = Place(self);
        Some(work())
    }

    /// Most that worked at once so far.
    pub(crate) fn most(&self) -> usize {
        self.now().most
    }
}
