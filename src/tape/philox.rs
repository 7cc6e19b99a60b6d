//! The random generator of `shaders/prelude/random.wgsl` on the host: Philox 4x32-10 (Salmon et al. 2011).

use std::f64::consts::TAU;

/// Four random words for a counter and a key.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A number in (0, 1] with 24 bits, as the shaders make it.
pub fn uniform(word: u32) -> f64 {
    (f64::from(word >> 8) + 1.0) / 16_777_216.0
}

/// Four normal numbers from four words (Box and Muller 1958).
pub fn normal(words: [u32; 4]) -> [f64; 4] {
    let pair = |radius: u32, angle: u32| {
        let r = (-2.0 * uniform(radius).ln()).sqrt();
        let a = TAU * f64::from(angle) / 4_294_967_296.0;
        [r * a.cos(), r * a.sin()]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// The known answers published with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([ones; 4], [ones; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = ([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
        assert_eq!(philox(pi.0, pi.1), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }
}
