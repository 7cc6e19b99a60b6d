//! Every operator against its f64 reference, forward and backward, over shapes drawn by proptest; twice, bit for bit.

mod common;

use common::{gpu, gpu_with_tiles};
use degrain::gpu::Gpu;
use degrain::ops::ALL;
use degrain::tape::{Draw, Operator};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Tries `cases` draws of an operator and panics with the smallest that fails.
fn try_operator(gpu: &Gpu, operator: &'static Operator, cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()));
    let choices = proptest::collection::vec(proptest::num::u32::ANY, 24);
    let outcome = runner.run(&choices, |choices| {
        let case = (operator.case)(&mut Draw::new(choices));
        common::check_case(gpu, &case).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{}: {error}", operator.name);
    }
}

fn try_all(gpu: &Gpu) {
    for operator in ALL {
        let started = std::time::Instant::now();
        try_operator(gpu, operator, 48);
        println!("{} matches its reference ({:.1} s)", operator.name, started.elapsed().as_secs_f64());
    }
}

#[test]
fn every_operator_matches_its_reference() {
    try_all(&gpu());
}

#[test]
fn every_operator_matches_its_reference_in_tiles() {
    try_all(&gpu_with_tiles());
}
