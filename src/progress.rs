//! What a person sees while waiting.
//!
//! In: snapshots of the counts that both sides keep. Out: on a terminal one bar, elsewhere a line
//! every five seconds, on stderr. What must hold: bytes and per cent never run backwards; nothing is
//! left on the screen at the end.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use registry::progress::{Progress, Snapshot};

use crate::output::plain;
use crate::size;

/// Between two drawings on a terminal.
const FRAME: Duration = Duration::from_millis(200);

/// Between two lines elsewhere.
const LINE: Duration = Duration::from_secs(5);

/// What the rate is taken over: long enough to be calm, short enough to follow the network.
const WINDOW: Duration = Duration::from_secs(15);

/// The bar on the screen, if there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `write`, which writes to stderr, with the bar out of the way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Draws until it is dropped.
pub struct Drawing {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drawing {
    /// Begins to draw; draws nothing when `quiet`.
    pub fn start(progress: &Arc<Progress>, quiet: bool) -> Self {
        if quiet {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = channel();
        let progress = Arc::clone(progress);
        let draw = move || {
            if io::stderr().is_terminal() {
                on_terminal(&progress, &stopped);
            } else {
                in_lines(&progress, &stopped);
            }
        };
        // Without a thread to spare the work goes on, unseen.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(draw).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; it is no reason to fail the command.
            let _ = thread.join();
        }
    }
}

fn on_terminal(progress: &Progress, stopped: &Receiver<()>) {
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
    let style = |template| {
        ProgressStyle::with_template(template).expect("a fixed template").progress_chars("=> ")
    };
    bar.set_style(style("{wide_msg}"));
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
    let begin = Instant::now();
    let mut pace = Pace::default();
    let mut sized = false;
    while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
        let view = pace.observe(begin.elapsed(), progress.snapshot());
        if view.total > 0 && !sized {
            bar.set_style(style("[{bar:20}] {wide_msg}"));
            sized = true;
        }
        bar.set_message(view.text());
        bar.set_position(view.per_mille);
    }
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
    bar.finish_and_clear();
}

fn in_lines(progress: &Progress, stopped: &Receiver<()>) {
    let begin = Instant::now();
    let mut pace = Pace::default();
    while stopped.recv_timeout(LINE) == Err(RecvTimeoutError::Timeout) {
        let view = pace.observe(begin.elapsed(), progress.snapshot());
        // Nobody may be reading stderr any more.
        let _ = writeln!(io::stderr(), "{}", view.text());
    }
}

/// Turns snapshots into rates.
#[derive(Debug, Default)]
struct Pace {
    seen: VecDeque<(Duration, u64)>,
    done: u64,
    per_mille: u64,
}

/// One drawing.
#[derive(Debug, PartialEq, Eq)]
struct View {
    phase: String,
    done: u64,
    total: u64,
    per_mille: u64,
    /// Bytes a second; `None` before there is anything to tell.
    rate: Option<u64>,
    left: Option<Duration>,
    moving: Vec<String>,
}

impl Pace {
    fn observe(&mut self, now: Duration, snapshot: Snapshot) -> View {
        let Snapshot { phase, total, done, moving } = snapshot;
        self.done = self.done.max(done);
        self.seen.push_back((now, self.done));
        while self.seen.len() > 2 && self.seen[1].0 + WINDOW <= now {
            self.seen.pop_front();
        }
        let (then, before) = self.seen.front().copied().unwrap_or((now, self.done));
        let millis = (now - then).as_millis();
        let moved = u128::from(self.done - before);
        let rate = (millis >= 500 && moved > 0)
            .then(|| u64::try_from(moved * 1000 / millis).unwrap_or(u64::MAX));
        let todo = total.saturating_sub(self.done);
        let left =
            rate.filter(|rate| total > 0 && *rate > 0).map(|r| Duration::from_secs(todo / r));
        if total > 0 {
            // The total may grow while the work is found; what was shown stays.
            let share = u128::from(self.done.min(total)) * 1000 / u128::from(total);
            self.per_mille = self.per_mille.max(u64::try_from(share).unwrap_or(1000));
        }
        View { phase, done: self.done, total, per_mille: self.per_mille, rate, left, moving }
    }
}

impl View {
    fn text(&self) -> String {
        let mut words = Vec::new();
        if !self.phase.is_empty() {
            words.push(plain(&self.phase));
        }
        if self.total > 0 {
            let (done, total) = (size::show(self.done), size::show(self.total.max(self.done)));
            words.push(format!("{done} of {total} ({} %)", self.per_mille / 10));
        } else if self.done > 0 {
            words.push(size::show(self.done));
        }
        words.extend(self.rate.map(|rate| format!("{}/s", size::show(rate))));
        words.extend(self.left.map(|left| format!("{} left", clock(left))));
        if let Some(first) = self.moving.first() {
            let more = self.moving.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            words.push(format!("{}{more}", plain(first)));
        }
        words.join(" · ")
    }
}

/// `0:07`, `12:30`, `3:04:05`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(done: u64, total: u64) -> Snapshot {
        Snapshot { phase: "fetch".into(), total, done, moving: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn rate_and_time_left_follow_the_bytes() {
        let mut pace = Pace::default();
        let mib = 1 << 20;
        assert_eq!(pace.observe(Duration::ZERO, snapshot(0, 100 * mib)).rate, None);
        let view = pace.observe(Duration::from_secs(2), snapshot(20 * mib, 100 * mib));
        assert_eq!(view.rate, Some(10 * mib));
        assert_eq!(view.left, Some(Duration::from_secs(8)));
        assert_eq!(
            view.text(),
            "fetch · 20.0 MiB of 100.0 MiB (20 %) · 10.0 MiB/s · 0:08 left · a and 1 more"
        );
    }

    #[test]
    fn nothing_runs_backwards() {
        let mut pace = Pace::default();
        let first = pace.observe(Duration::from_secs(1), snapshot(50, 100));
        let second = pace.observe(Duration::from_secs(2), snapshot(40, 200));
        assert_eq!((first.done, first.per_mille), (50, 500));
        assert_eq!((second.done, second.per_mille), (50, 500));
        let end = pace.observe(Duration::from_secs(3), snapshot(300, 200));
        assert_eq!((end.per_mille, end.left), (1000, Some(Duration::ZERO)));
    }

    #[test]
    fn a_long_past_does_not_slow_the_rate() {
        let mut pace = Pace::default();
        for second in 0..100 {
            pace.observe(Duration::from_secs(second), snapshot(0, 1 << 30));
        }
        let view = pace.observe(Duration::from_secs(100), snapshot(15 << 20, 1 << 30));
        assert_eq!(view.rate, Some(1 << 20));
    }

    #[test]
    fn unknown_totals_show_what_is_known() {
        let view = Pace::default().observe(Duration::ZERO, snapshot(0, 0));
        assert_eq!(view.text(), "fetch · a and 1 more");
        assert_eq!(clock(Duration::from_secs(3 * 3600 + 4 * 60 + 5)), "3:04:05");
    }
}
