//! Campaigns: many cases of one kind, counted, so that none passes by leaving cases out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether the whole form was asked for: every case, where the quick form takes a sample.
pub fn whole() -> bool {
    std::env::var_os("BUNDLE_CAMPAIGN").is_some_and(|form| form == "full")
}

/// The number for the form that was asked for.
pub fn of(quick: usize, full: usize) -> usize {
    if whole() { full } else { quick }
}

/// The figures of a campaign.
#[derive(Debug)]
pub struct Figures {
    name: String,
    asked: usize,
    ran: usize,
    wrong: Vec<String>,
}

impl Figures {
    /// A campaign of at least so many cases.
    pub fn new(name: &str, asked: usize) -> Self {
        Self { name: name.to_owned(), asked, ran: 0, wrong: Vec::new() }
    }

    /// Runs a case; a panic in it is a wrong outcome, and the campaign goes on.
    pub fn case(&mut self, name: &str, case: impl FnOnce()) {
        self.ran += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(case)) {
            self.wrong.push(format!("{name}: {}", told(panic.as_ref())));
        }
    }

    /// Runs cases in lanes beside each other, each with what `bench` makes for it: most of a case is waiting.
    pub fn lanes<Bench, Case: Sync>(
        &mut self,
        cases: &[Case],
        bench: impl Fn(usize) -> Bench + Sync,
        name: impl Fn(&Case) -> String + Sync,
        run: impl Fn(&mut Bench, &Case) + Sync,
    ) {
        const LANES: usize = 2;
        let (bench, name, run) = (&bench, &name, &run);
        let lanes: Vec<Self> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .map(|lane| {
                    scope.spawn(move || {
                        let mut figures = Self::new("", 0);
                        let mut bench = bench(lane);
                        for case in cases.iter().skip(lane).step_by(LANES) {
                            figures.case(&name(case), || run(&mut bench, case));
                        }
                        figures
                    })
                })
                .collect();
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        lanes.into_iter().for_each(|lane| self.add(lane));
    }

    /// Adds the cases of a part of this campaign.
    pub fn add(&mut self, part: Self) {
        self.ran += part.ran;
        self.wrong.extend(part.wrong);
    }

    /// A case that was prepared and could not take place after all.
    pub fn missed(&mut self) {
        self.ran -= 1;
    }

    /// Prints the figures, a line that `scripts/campaign.sh` collects; fails where a case was wrong or left out.
    #[track_caller]
    pub fn end(self) {
        let Self { name, asked, ran, wrong } = self;
        println!("campaign | {name} | {asked} | {ran} | {}", wrong.len());
        let first: Vec<&String> = wrong.iter().take(20).collect();
        assert!(wrong.is_empty(), "{name}: {} of {ran} cases are wrong: {first:#?}", wrong.len());
        assert!(ran >= asked, "{name}: {ran} cases ran, {asked} were asked");
    }
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
