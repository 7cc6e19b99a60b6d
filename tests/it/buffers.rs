//! Named buffers of a context.

use crate::common::context;

#[test]
fn buffers_receive_large_uploads_in_pieces() {
    let mut ctx = context();
    // More than eight pieces, neither a whole number of pieces nor at the start of the buffer.
    let words: Vec<u32> = (0..(270 << 20) / 4 + 3).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
    ctx.require("large", (words.len() as u64 + 5) * 4).unwrap();
    ctx.write("large", 8, &words).unwrap();
    assert!(ctx.read::<u32>("large", 8, words.len()).unwrap() == words);
    assert_eq!(ctx.read::<u32>("large", 0, 2).unwrap(), [0; 2]);
    assert_eq!(ctx.read::<u32>("large", 8 + words.len() as u64 * 4, 3).unwrap(), [0; 3]);
}
