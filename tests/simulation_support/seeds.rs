//! Many runs, each from a seed; a failing one is named and can be repeated alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;

use pointsman::model::hash::fix_seed;
use pointsman::model::id::stable_hash;

/// What a run did so far, for the report of its failure.
pub trait Story {
    /// The steps, in order.
    fn steps(&self) -> &[String];

    /// A digest of the steps and of what they came to: the same wherever a run took the same course.
    fn course(&self) -> u64 {
        stable_hash(self.steps())
    }
}

/// Runs `usual` seeds (`full` with POINTSMAN_FULL), or the one that POINTSMAN_SEED names, and says its course.
pub fn each_seed<W: Story>(usual: u64, full: u64, make: impl Fn(u64) -> W, run: impl Fn(&mut W)) {
    // The orders of sets are part of the course.
    fix_seed();
    let only = std::env::var("POINTSMAN_SEED").ok().map(|seed| seed.parse().expect("POINTSMAN_SEED is a number"));
    let count = if std::env::var_os("POINTSMAN_FULL").is_some() { full } else { usual };
    for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
        let mut world = make(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut world))) {
            println!("seed {seed} failed after:\n  {}", world.steps().join("\n  "));
            println!("repeat it with POINTSMAN_SEED={seed}");
            resume_unwind(panic);
        }
        if only.is_some() {
            println!("seed {seed} took the course {:016x}", world.course());
        }
    }
}

/// What is printed of a failing seed is worth something only where the seed leads there again: the test `name` of this
/// program takes the same course in two processes.
pub fn each_repeats(name: &str, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let course = || {
            let mut program = Command::new(std::env::current_exe().unwrap());
            program.args([name, "--exact", "--nocapture"]).env("POINTSMAN_SEED", seed.to_string());
            let output = program.output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let course = said.lines().find(|line| line.contains("took the course")).map(str::to_owned);
            course.unwrap_or_else(|| panic!("{said}"))
        };
        assert_eq!(course(), course(), "seed {seed} does not repeat");
    }
}
