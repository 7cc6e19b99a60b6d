//! Ranks: the processes that train or sample one model together, numbered from 0. Each has a
//! device.
//!
//! A [`Communicator`] passes data between them. [`Single`] is a process without others. With the
//! feature `mpi`, `Mpi` connects the processes that `mpirun` or `srun` starts.

mod all_reduce;
mod divide;
#[cfg(feature = "mpi")]
mod mpi;

pub use all_reduce::AllReduce;
pub use divide::{divide, gather};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;

use std::fmt::Debug;

/// Passes data between ranks. Every rank must make the same calls in the same order: each call
/// waits for the others.
pub trait Communicator: Debug {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// The number of this process among those on the same machine, from 0.
    fn local_rank(&self) -> usize;

    /// The first rank on this process's machine. It identifies the machine.
    fn machine(&self) -> usize;

    /// Writes the values of all ranks to `all`, in the order of the ranks. All have equally many.
    fn all_gather_into(&self, own: &[f32], all: &mut [f32]);

    /// The bytes of all ranks, in the order of the ranks. All have equally many.
    fn all_gather_bytes(&self, own: &[u8]) -> Vec<u8>;

    /// Sends block k of `blocks` to rank k, and writes the blocks that the ranks sent to this one
    /// to `received`, in their order. The blocks are equally long.
    fn all_to_all_into(&self, blocks: &[f32], received: &mut [f32]);

    /// Replaces the bytes of all ranks by those of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// The values of all ranks, in the order of the ranks. All have equally many.
    fn all_gather(&self, own: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; own.len() * self.size()];
        self.all_gather_into(own, &mut all);
        all
    }

    /// Whether this is rank 0, which prints and writes files.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this is one of several ranks.
    fn is_one_of_several(&self) -> bool {
        self.size() > 1
    }
}

/// A process without others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn machine(&self) -> usize {
        0
    }

    fn all_gather_into(&self, own: &[f32], all: &mut [f32]) {
        all.copy_from_slice(own);
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Vec<u8> {
        own.to_vec()
    }

    fn all_to_all_into(&self, blocks: &[f32], received: &mut [f32]) {
        received.copy_from_slice(blocks);
    }

    fn broadcast(&self, _: &mut Vec<u8>) {}
}
