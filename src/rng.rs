//! The random generator on the host: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers:
//! as easy as 1, 2, 3").
//!
//! The same function is in `shaders/prelude/random.wgsl`, which lists the streams: the first word
//! of every counter is the purpose of the number. The generator has no state. A number depends on
//! the key and the counter, not on how many numbers were drawn before.
//!
//! ```
//! use degrain::rng::{key, normal4, philox};
//! use degrain::tape::stream;
//!
//! let words = philox([stream::DEQUANTIZATION, 0, 0, 7], key(42)); // seed 42
//! assert_eq!(words, philox([stream::DEQUANTIZATION, 0, 0, 7], key(42)));
//! assert!(normal4(words).iter().all(|eps| eps.is_finite()));
//! ```

/// Four random words for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let multiply = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let ([mut a, mut b, mut c, mut d], [mut key0, mut key1]) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = multiply(0xD251_1F53, a);
        let (high1, low1) = multiply(0xCD9E_8D57, c);
        (a, b, c, d) = (high1 ^ b ^ key0, low1, high0 ^ d ^ key1, low0);
        key0 = key0.wrapping_add(0x9E37_79B9);
        key1 = key1.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

/// The key of a seed: its lower and upper half.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A number in (0, 1] with 24 bits, computed as in the shaders.
pub fn uniform(word: u32) -> f64 {
    (f64::from(word >> 8) + 1.0) / 16_777_216.0
}

/// Two independent normal numbers from two random words (Box and Muller 1958).
pub fn normal(words: [u32; 2]) -> [f64; 2] {
    let radius = (-2.0 * uniform(words[0]).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * f64::from(words[1]) / 4_294_967_296.0).sin_cos();
    [radius * cos, radius * sin]
}

/// Four normal numbers from four words, as the shaders draw blocks of four elements.
pub fn normal4([a, b, c, d]: [u32; 4]) -> [f64; 4] {
    let ([x, y], [z, w]) = (normal([a, b]), normal([c, d]));
    [x, y, z, w]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `kat_vectors` of the authors' library Random123, lines `philox4x32 10`.
    #[test]
    fn philox_matches_the_known_answers() {
        let ones = u32::MAX;
        let answers: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in answers {
            assert_eq!(philox(counter, key), answer);
        }
    }

    #[test]
    fn normal_has_the_moments_of_a_standard_normal() {
        let count = 100_000;
        let words = |i| philox([i, 0, 0, 0], key(1 << 40 | 7));
        let numbers: Vec<f64> = (0..count / 4)
            .flat_map(|i| {
                let [a, b, c, d] = words(i);
                [normal([a, b]), normal([c, d])].concat()
            })
            .collect();
        let moment = |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(count);
        // Five standard deviations of the mean of x^n over 100,000 normal numbers.
        for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let allowed = 5.0 * f64::sqrt(variance / f64::from(count));
            assert!((moment(power) - expected).abs() < allowed, "moment {power} is {}", moment(power));
        }
        assert!(uniform(0) > 0.0 && uniform(u32::MAX) <= 1.0);
    }
}
