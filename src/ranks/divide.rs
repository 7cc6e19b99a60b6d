//! Work that ranks divide, and messages of different lengths.

use super::Communicator;
use crate::Result;
use bytemuck::Pod;

/// The messages of all ranks, in their order. They may have different lengths.
pub fn gather(communicator: &dyn Communicator, own: &[u8]) -> Vec<Vec<u8>> {
    let lengths = communicator.all_gather_bytes(&(own.len() as u64).to_le_bytes());
    let lengths: Vec<usize> = lengths.as_chunks().0.iter().map(|&length| u64::from_le_bytes(length) as usize).collect();
    let most = lengths.iter().copied().max().unwrap_or(0);
    let mut padded = own.to_vec();
    padded.resize(most, 0);
    let all = communicator.all_gather_bytes(&padded);
    lengths.iter().enumerate().map(|(rank, &length)| all[rank * most..][..length].to_vec()).collect()
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
