//! Losses of power: what no sync had made durable is lost, torn or reordered, and the same command again comes to what an
//! undisturbed run comes to. What a command said was done stays done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::scenario::{Kind, Scenario, Sizes};
use crate::support::crash::{killing, points};
use crate::support::figures::{Figures, of};
use crate::support::loss::{Loss, Tree};
use crate::support::power::Disk;
use crate::support::site::Site;
use crate::support::{strace, text};

const SMALL: Sizes = Sizes { layer: 3_000, layers: 2, rate: u64::MAX };

/// Commands that end at any moment with the power.
#[test]
fn power_loss() {
    strace::needed();
    let mut figures = Figures::new("power loss", of(60, 1_000));
    lanes(&mut figures, |figures, kind| {
        let bench = Bench::new(kind);
        let moments = if kind.is_told_elsewhere() { of(4, 120) } else { of(1, 40) };
        for (turn, point) in bench.spread(moments).into_iter().enumerate() {
            let losses = Loss::all(point as u64, of(1, 3) as u64);
            if kind.is_told_elsewhere() {
                bench.cut(figures, point, &losses[turn % losses.len()..][..1]);
            } else {
                bench.cut(figures, point, &losses);
            }
        }
    });
    figures.end();
}

/// Commands that end, and then the power does. Also those that go on with what a killed one left, which no sync covered.
#[test]
fn power_loss_after_the_end() {
    strace::needed();
    let mut figures = Figures::new("power loss after the end", of(30, 300));
    lanes(&mut figures, |figures, kind| {
        let bench = Bench::new(kind);
        let mut points = vec![None];
        points.extend(bench.spread(of(1, 50)).into_iter().map(Some));
        for point in points {
            bench.ended(figures, point, &Loss::all(7, of(1, 4) as u64));
        }
    });
    figures.end();
}

/// What each loss leaves of a file whose bytes were synced in a directory whose names were not, and of one the other way
/// round.
#[test]
fn a_loss_leaves_what_was_synced() {
    use crate::support::loss::{Change, Content, ROOT, state};
    let directory = || Content::Directory(BTreeMap::new());
    let file = || Content::File(Vec::new());
    let before = [directory(), directory(), file(), file()];
    let enter = |at: usize, name: &str, what| Change::Enter { at: (at, name.to_owned()), what };
    let bytes = |file| Change::Bytes { file, at: 0, bytes: vec![1; 700] };
    let changes = [
        (enter(ROOT, "d", 1), true),
        (enter(1, "bytes", 2), false),
        (bytes(2), true),
        (enter(1, "name", 3), true),
        (bytes(3), false),
        (Change::Move { from: (1, "bytes".into()), to: (1, "moved".into()), what: 2 }, false),
    ];
    let left = |loss: Loss| -> Vec<(String, usize)> {
        let state = state(&loss.of(&before, &changes));
        let file = |(path, bytes): (&PathBuf, &Option<Vec<u8>>)| {
            let ones = bytes.as_ref()?.iter().filter(|byte| **byte == 1).count();
            Some((text(path).to_owned(), 1000 * ones + bytes.as_ref()?.len()))
        };
        state.iter().filter_map(file).collect()
    };
    let (whole, zeros, empty) = (700_700, 700, 0);
    let of = |name: &str, content: usize| (format!("d/{name}"), content);
    assert_eq!(left(Loss::Nothing), [of("moved", whole), of("name", whole)]);
    assert_eq!(left(Loss::Everything), [of("name", empty)]);
    assert_eq!(left(Loss::Bytes), [of("moved", whole), of("name", zeros)]);
    assert_eq!(left(Loss::Lengths), [of("moved", whole), of("name", empty)]);
    assert_eq!(left(Loss::Names), [of("name", whole)]);
    let drawn: BTreeSet<_> = (0..200).map(|seed| left(Loss::Some(seed))).collect();
    // Both names of the one, either or none; the other whole, not at all, or one sector of its two.
    assert!(drawn.iter().any(|left| left.contains(&of("bytes", whole))));
    assert!(drawn.iter().any(|left| left.contains(&of("name", 512_512))));
    assert!(drawn.iter().any(|left| left.contains(&of("name", 188_700))));
}

/// Every kind of command, some beside each other.
fn lanes(figures: &mut Figures, run: impl Fn(&mut Figures, Kind) + Sync) {
    const LANES: usize = 2;
    let run = &run;
    let lanes: Vec<Figures> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                scope.spawn(move || {
                    let mut figures = Figures::new("", 0);
                    Kind::ALL
                        .into_iter()
                        .skip(lane)
                        .step_by(LANES)
                        .for_each(|kind| run(&mut figures, kind));
                    figures
                })
            })
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    lanes.into_iter().for_each(|lane| figures.add(lane));
}

/// A command and its site.
struct Bench {
    kind: Kind,
    scenario: Scenario,
    points: usize,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let scenario = Scenario::on(Site::in_memory(), kind, SMALL);
        scenario.before();
        let points = points(&mut scenario.command());
        Self { kind, scenario, points }
    }

    /// So many points, evenly from the first to the last.
    fn spread(&self, many: usize) -> Vec<usize> {
        (0..many).map(|number| 1 + (2 * number + 1) * self.points / (2 * many)).collect()
    }

    /// Everything as before the command, and durable.
    fn before(&self) -> Disk {
        self.scenario.before();
        Disk::load(&self.scenario.site(), Scenario::DIRECTORIES)
    }

    /// The command, up to a point.
    #[track_caller]
    fn run_to(&self, disk: &mut Disk, point: usize) {
        let (record, run) = strace::run(&self.scenario.command(), &killing(point));
        // One of the last points may lie behind the end of this run, which is as good a moment.
        let _ = run.one_of(&[0, -1]);
        disk.follow(&record, &self.scenario.site());
    }

    /// The command, to its end.
    #[track_caller]
    fn run(&self, disk: &mut Disk) {
        self.scenario.done(|| {
            let (record, run) = strace::run(&self.scenario.command(), &[]);
            disk.follow(&record, &self.scenario.site());
            run
        });
    }

    /// The power goes at a point.
    fn cut(&self, figures: &mut Figures, point: usize, losses: &[Loss]) {
        let what = format!("{:?}, killed at point {point}", self.kind);
        let follow = |disk: &mut Disk| self.run_to(disk, point);
        self.lose(figures, &what, follow, losses, Scenario::sound);
    }

    /// The power goes after the end, of a run that began with nothing or with what a kill had left.
    fn ended(&self, figures: &mut Figures, point: Option<usize>, losses: &[Loss]) {
        let what = match point {
            None => format!("{:?}", self.kind),
            Some(point) => format!("{:?}, killed at point {point} and run again", self.kind),
        };
        let follow = |disk: &mut Disk| {
            if let Some(point) = point {
                self.run_to(disk, point);
            }
            self.run(disk);
        };
        self.lose(figures, &what, follow, losses, Scenario::stands);
    }

    /// Follows runs, and puts in the place of the disk what each loss leaves of it: `holds` must, and the command comes
    /// to what it comes to undisturbed.
    fn lose(
        &self,
        figures: &mut Figures,
        what: &str,
        follow: impl FnOnce(&mut Disk),
        losses: &[Loss],
        holds: fn(&Scenario),
    ) {
        let mut disk = None;
        figures.case(&format!("{what}: the disk as it is"), || {
            let mut followed = self.before();
            follow(&mut followed);
            disk = Some(followed);
        });
        let Some(disk) = disk else { return };
        for (loss, state) in distinct(&disk, losses) {
            figures.case(&format!("{what}, then without power: {loss:?}"), || {
                disk.put(&state);
                holds(&self.scenario);
                self.scenario.converges();
            });
        }
    }
}

/// What losses leave; those that leave the same count once.
pub fn distinct(disk: &Disk, losses: &[Loss]) -> Vec<(Loss, Tree)> {
    let mut states: Vec<(Loss, Tree)> = Vec::new();
    for loss in losses {
        let state = disk.after(*loss);
        if states.iter().all(|(_, other)| *other != state) {
            states.push((*loss, state));
        }
    }
    states
}
