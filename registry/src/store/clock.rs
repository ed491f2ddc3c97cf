//! Two times: one to stamp files with, and one to tell how old they are.
//!
//! In: the wall clock and a clock that nobody sets. Out: a stamp that is as late as either of them says, and
//! a `now` that is as early. What must hold: while this process runs, a wall clock that jumps in either
//! direction makes a file younger than it is and never older.

use std::time::{Duration, Instant, SystemTime};

/// Where time comes from.
pub(super) trait Source: Send + Sync {
    /// What the machine believes.
    fn wall(&self) -> SystemTime;
    /// Time since the source was made, whatever is done to the wall clock.
    fn running(&self) -> Duration;
}

/// The machine's clocks. The second one stands still while the machine sleeps, which makes files younger.
struct Machine(Instant);

impl Source for Machine {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn running(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The clock of an open store.
pub(super) struct Clock {
    source: Box<dyn Source>,
    start: SystemTime,
}

impl Clock {
    pub(super) fn of_the_machine() -> Self {
        Self::new(Box::new(Machine(Instant::now())))
    }

    pub(super) fn new(source: Box<dyn Source>) -> Self {
        let start = source.wall();
        Self { source, start }
    }

    /// How long the store has been open.
    pub(super) fn running(&self) -> Duration {
        self.source.running()
    }

    fn steady(&self) -> SystemTime {
        self.start.checked_add(self.source.running()).unwrap_or(self.start)
    }

    /// The time to compare a file's with.
    pub(super) fn now(&self) -> SystemTime {
        self.source.wall().min(self.steady())
    }

    /// The time to give to a file that is looked at.
    pub(super) fn stamp(&self) -> SystemTime {
        self.source.wall().max(self.steady())
    }
}

#[cfg(test)]
pub(super) mod by_hand {
    use std::sync::{Arc, Mutex};

    use super::{Clock, Duration, Source, SystemTime};

    /// A clock that a test sets.
    #[derive(Clone)]
    pub struct Hand(Arc<Mutex<(SystemTime, Duration)>>);

    impl Hand {
        pub fn new() -> (Self, Clock) {
            let hand = Self(Arc::new(Mutex::new((SystemTime::now(), Duration::ZERO))));
            (hand.clone(), Clock::new(Box::new(hand)))
        }

        /// Time goes by, for both clocks.
        pub fn pass(&self, time: Duration) {
            let mut both = self.0.lock().unwrap();
            both.0 += time;
            both.1 += time;
        }

        /// Somebody sets the wall clock forward.
        pub fn forward(&self, time: Duration) {
            self.0.lock().unwrap().0 += time;
        }

        /// Somebody sets the wall clock back.
        pub fn back(&self, time: Duration) {
            self.0.lock().unwrap().0 -= time;
        }
    }

    impl Source for Hand {
        fn wall(&self) -> SystemTime {
            self.0.lock().unwrap().0
        }

        fn running(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    #[test]
    fn a_clock_that_jumps_makes_nothing_old() {
        let (hand, clock) = Hand::new();
        let stamped = clock.stamp();
        hand.forward(Duration::from_secs(1_000_000));
        assert_eq!(clock.now(), stamped);
        hand.back(Duration::from_secs(2_000_000));
        assert!(clock.now() < stamped);
        // What is written meanwhile is as young after the clock was mended.
        let meanwhile = clock.stamp();
        hand.forward(Duration::from_secs(1_000_000));
        assert!(clock.now() <= meanwhile);
        hand.pass(Duration::from_secs(60));
        assert_eq!(clock.now().duration_since(stamped).unwrap(), Duration::from_secs(60));
    }
}
