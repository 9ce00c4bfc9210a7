//! Costly work, rationed: so much at once, a short queue, and no more.
//!
//! What the work needs much memory for belongs to its place and is used again. Memory
//! that is freed stays with the allocator's arena of the thread, and a flood of
//! sign-ins came by on all threads in turn: 3 GB in six seconds.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who may work now, and with what.
pub(crate) struct Ration<T> {
    places: usize,
    queue: usize,
    now: Mutex<Now<T>>,
    free: Condvar,
}

struct Now<T> {
    working: usize,
    waiting: usize,
    /// Most that worked at once so far.
    most: usize,
    /// Of places where nobody works.
    tools: Vec<T>,
}

/// Gives its place back, also when the work panics.
struct Place<'r, T> {
    ration: &'r Ration<T>,
    tool: Option<T>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut now = self.ration.now();
        now.working -= 1;
        now.tools.extend(self.tool.take());
        drop(now);
        self.ration.free.notify_one();
    }
}

impl<T: Default> Ration<T> {
    /// One piece of work for each core, and a few that wait: less than half of the
    /// threads that wait for the database as well.
    pub(crate) fn of_cores() -> Ration<T> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Each takes 19 MiB: ten are below 200 MB, however many cores there are.
        let places = cores.min(10);
        Ration {
            places,
            queue: 24,
            now: Mutex::new(Now {
                working: 0,
                waiting: 0,
                most: 0,
                tools: Vec::new(),
            }),
            free: Condvar::new(),
        }
    }

    /// Does `work` when it is its turn; `None`, at once, where too many wait.
    pub(crate) fn run<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
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
        let tool = now.tools.pop();
        drop(now);
        let mut place = Place { ration: self, tool };
        Some(work(place.tool.get_or_insert_default()))
    }

    /// Most that worked at once so far.
    pub(crate) fn most(&self) -> usize {
        self.now().most
    }
}

impl<T> Ration<T> {
    fn now(&self) -> MutexGuard<'_, Now<T>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_place_keeps_its_memory_and_a_panic_gives_it_back() {
        let ration = Ration::<Vec<u8>>::of_cores();
        ration.run(|memory| memory.resize(1 << 20, 1)).unwrap();
        let again = ration.run(|memory| memory.len());
        assert_eq!(again, Some(1 << 20));
        let panicked = catch_unwind(AssertUnwindSafe(|| ration.run(|_| panic!("in it"))));
        assert!(panicked.is_err());
        assert_eq!(ration.run(|memory| memory.len()), Some(1 << 20));
        let now = ration.now();
        assert_eq!((now.working, now.tools.len()), (0, 1));
    }
}
