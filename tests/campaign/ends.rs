//! Commands that end at any moment: the same command again comes to what an undisturbed run comes to.

use std::time::{Duration, Instant};

use crate::scenario::{Kind, Scenario, Sizes, WORKERS};
use crate::support::command::Run;
use crate::support::crash::{killed_after, killed_at, points};
use crate::support::figures::{Figures, of, whole};
use crate::support::noise;

/// Kills at every call that changes a disk or sends a byte, or at every few of them.
#[test]
fn crash_points() {
    const SMALL: Sizes = Sizes { layer: 3_000, layers: 2, rate: u64::MAX };
    /// Points of a scenario in the quick form.
    const SAMPLE: usize = 15;
    let mut figures = Figures::new("crash points", of(150, 2_000));
    for kind in Kind::ALL {
        let lanes: Vec<(Figures, usize)> = std::thread::scope(|scope| {
            let lane = |lane: usize| {
                scope.spawn(move || {
                    let mut figures = Figures::new("", 0);
                    let scenario = Scenario::new(kind, SMALL);
                    scenario.before();
                    let all = points(&mut scenario.command());
                    // The numbers of each form are spread evenly, and shared by the lanes.
                    let many = if whole() { all } else { SAMPLE.min(all) };
                    for number in (0..many).skip(lane).step_by(2) {
                        crash(&mut figures, &scenario, kind, 1 + number * all / many);
                    }
                    (figures, all)
                })
            };
            [lane(0), lane(1)].map(|lane| lane.join().unwrap()).into_iter().collect()
        });
        for (lane, all) in lanes {
            println!("{kind:?}: {all} points");
            figures.add(lane);
        }
    }
    figures.end();
}

fn crash(figures: &mut Figures, scenario: &Scenario, kind: Kind, point: usize) {
    let mut early = false;
    figures.case(&format!("{kind:?} killed at point {point}"), || {
        scenario.before();
        // Runs differ by a few calls, so one of the last points may lie behind the end of this one.
        early = !killed_at(&mut scenario.command(), point);
        scenario.sound();
        scenario.converges();
    });
    if early {
        figures.missed();
    }
}

/// Kills at random moments; what is moved again is what was under way.
#[test]
fn kills() {
    const LAYER: usize = 100_000;
    const SIZES: Sizes = Sizes { layer: LAYER, layers: 3, rate: 3_000_000 };
    /// Manifests, configurations, lists and headers of requests, once more.
    const SMALL_THINGS: u64 = 40_000;
    let rounds = of(10, 80);
    let mut figures = Figures::new("kills at random moments", 4 * rounds);
    let kinds = [Kind::CreateFirst, Kind::CreateIncrement, Kind::ImportFirst, Kind::ImportSeveral];
    let lanes: Vec<Figures> = std::thread::scope(|scope| {
        let lanes = kinds.map(|kind| {
            scope.spawn(move || {
                let mut figures = Figures::new("", 0);
                let scenario = Scenario::new(kind, SIZES);
                scenario.before();
                let (start, moved) = (Instant::now(), scenario.moved());
                let _ = Run::of(&mut scenario.command()).ok();
                let (longest, once) = (start.elapsed(), scenario.moved() - moved);
                let mut again = 0;
                let mut round = 0;
                // Others in each run of the test; a failure names them.
                let moments = noise(u64::from(std::process::id()) + kind as u64, 8 * rounds);
                while round < rounds {
                    let share = u32::from(moments[(round + 3 * again) % moments.len()]) + 1;
                    let delay = longest * share / 256;
                    let mut early = false;
                    figures.case(&format!("{kind:?} killed after {delay:?}"), || {
                        scenario.before();
                        let before = scenario.moved();
                        early = !killed_after(&mut scenario.command(), delay);
                        scenario.sound();
                        scenario.converges();
                        // What was sent to a process that is gone is counted when the relay notices.
                        std::thread::sleep(Duration::from_millis(10));
                        let moved = scenario.moved() - before;
                        let bound = once + (WORKERS * LAYER) as u64 + SMALL_THINGS;
                        assert!(moved <= bound, "{moved} bytes, undisturbed {once}: above {bound}");
                    });
                    if early {
                        // It had ended: another moment.
                        figures.missed();
                        again += 1;
                        assert!(again < 4 * rounds, "{kind:?} ends before it can be killed");
                    } else {
                        round += 1;
                    }
                }
                figures
            })
        });
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    lanes.into_iter().for_each(|lane| figures.add(lane));
    figures.end();
}
