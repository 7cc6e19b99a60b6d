//! Work that ranks divide, and messages of different lengths.

use super::Communicator;
use crate::Result;
use bytemuck::Pod;

/// Bytes that a rank sends in one call. MPI counts them with 31 bits.
const LARGEST: usize = 1 << 30;

/// The messages of all ranks, in their order. They may have different lengths.
pub fn gather(communicator: &dyn Communicator, own: &[u8]) -> Vec<Vec<u8>> {
    gather_in_parts(communicator, own, LARGEST)
}

fn gather_in_parts(communicator: &dyn Communicator, own: &[u8], largest: usize) -> Vec<Vec<u8>> {
    let lengths = communicator.all_gather_bytes(&(own.len() as u64).to_le_bytes());
    let lengths: Vec<usize> = lengths.as_chunks().0.iter().map(|&length| u64::from_le_bytes(length) as usize).collect();
    let most = lengths.iter().copied().max().unwrap_or(0);
    let mut padded = own.to_vec();
    padded.resize(most, 0);
    let mut messages = vec![vec![]; lengths.len()];
    for part in padded.chunks(largest) {
        let all = communicator.all_gather_bytes(part);
        messages.iter_mut().zip(all.chunks(part.len())).for_each(|(message, part)| message.extend(part));
    }
    messages.iter_mut().zip(&lengths).for_each(|(message, &length)| message.truncate(length));
    messages
}

/// The values of `pieces` pieces of work, in the order of the pieces. The ranks compute them in
/// turn, and all get all values.
///
/// # Errors
/// Those of `compute`, on the rank that had them. The others then wait: the caller must end them.
pub fn divide<T: Pod>(
    communicator: &dyn Communicator,
    pieces: usize,
    mut compute: impl FnMut(usize) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let size = communicator.size();
    let own = (communicator.rank()..pieces).step_by(size);
    if size == 1 {
        return own.map(compute).try_fold(vec![], |mut all: Vec<T>, piece| {
            all.extend(piece?);
            Ok(all)
        });
    }
    let (mut lengths, mut values) = (vec![], vec![]);
    for piece in own {
        let value = compute(piece)?;
        lengths.extend((value.len() as u64).to_le_bytes());
        values.extend(value);
    }
    let lengths = gather(communicator, &lengths);
    let values = gather(communicator, bytemuck::cast_slice(&values));
    let mut read = vec![0; size];
    let mut all = vec![];
    for piece in 0..pieces {
        let rank = piece % size;
        let length: [u8; 8] = std::array::from_fn(|i| lengths[rank][8 * (piece / size) + i]);
        let bytes = u64::from_le_bytes(length) as usize * size_of::<T>();
        all.extend(bytemuck::pod_collect_to_vec::<u8, T>(&values[rank][read[rank]..][..bytes]));
        read[rank] += bytes;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Single;
    use std::cell::RefCell;

    /// This rank and one that sends the same parts in capitals.
    #[derive(Debug, Default)]
    struct Two {
        sent: RefCell<Vec<usize>>,
    }

    impl Communicator for Two {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            2
        }

        fn local_rank(&self) -> usize {
            0
        }

        fn machine(&self) -> usize {
            0
        }

        fn all_gather_into(&self, _: &[f32], _: &mut [f32]) {
            unreachable!()
        }

        fn all_gather_bytes(&self, own: &[u8]) -> Vec<u8> {
            self.sent.borrow_mut().push(own.len());
            [own.to_vec(), own.to_ascii_uppercase()].concat()
        }

        fn all_to_all_into(&self, _: &[f32], _: &mut [f32]) {
            unreachable!()
        }

        fn broadcast(&self, _: &mut Vec<u8>) {
            unreachable!()
        }
    }

    #[test]
    fn long_messages_are_gathered_in_parts() {
        let two = Two::default();
        assert_eq!(gather_in_parts(&two, b"abcdefg", 3), [b"abcdefg", b"ABCDEFG"]);
        assert_eq!(*two.sent.borrow(), [8, 3, 3, 1], "the length, then the parts");
        assert_eq!(gather(&Single, b"abcdefg"), [b"abcdefg"]);
        assert_eq!(gather(&Single, b""), [b""]);
    }
}
