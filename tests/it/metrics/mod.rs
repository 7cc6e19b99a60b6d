//! Metrics compared with scipy, statsmodels, scikit-learn and numpy (`tests/goldens`), with closed
//! forms, and with their definitions for sets larger than one block.

mod balance;
mod frechet;
mod kid;
mod neighbors;
mod quantiles;

use degrain::rng::{key, normal4, philox};
use safetensors::tensor::SafeTensors;
use std::path::PathBuf;

/// Number of features of an image in the goldens.
const WIDTH: usize = 16;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/metrics").join(name)
}

/// A set of features of the goldens.
fn features(name: &str) -> Vec<f32> {
    let file = std::fs::read(golden("features.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap().data())
}

/// The results of the other libraries.
fn expected(name: &str) -> serde_json::Value {
    let all: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden("expected.json")).unwrap()).unwrap();
    all[name].clone()
}

/// The numbers of a list.
fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Numbers from N(0, 1).
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let block = |i: usize| normal4(philox([0, i as u32, 0, 0], key(seed)));
    (0..count.div_ceil(4)).flat_map(block).take(count).map(|x| x as f32).collect()
}

/// Asserts that two numbers are equal up to a relative error.
#[track_caller]
fn close(got: f64, expected: f64, relative: f64) {
    assert!((got - expected).abs() <= relative * expected.abs(), "{got} instead of {expected}");
}

/// The message of an expected error.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: degrain::Result<T>) -> String {
    result.expect_err("an error").to_string()
}
