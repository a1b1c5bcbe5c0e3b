//! Many runs, each from a seed; a failing one is named and can be repeated alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a run did so far, for the report of its failure.
pub trait Story {
    /// The steps, in order.
    fn steps(&self) -> &[String];
}

/// Runs `usual` seeds (`full` with POINTSMAN_FULL), or the one that POINTSMAN_SEED names.
pub fn each_seed<W: Story>(usual: u64, full: u64, make: impl Fn(u64) -> W, run: impl Fn(&mut W)) {
    let only = std::env::var("POINTSMAN_SEED").ok().map(|seed| seed.parse().expect("POINTSMAN_SEED is a number"));
    let count = if std::env::var_os("POINTSMAN_FULL").is_some() { full } else { usual };
    for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
        let mut world = make(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut world))) {
            println!("seed {seed} failed after:\n  {}", world.steps().join("\n  "));
            println!("repeat it with POINTSMAN_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
