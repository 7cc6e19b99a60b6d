//! Ranks that MPI connects. Only this file names the crate `mpi`.

use super::Communicator;
use crate::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives, Root};
use std::fmt;

/// Processes that `mpirun` or `srun` started, or a single process without them.
///
/// MPI ends the whole job if a call fails, so calls return no errors. It must be dropped in the
/// thread that made it, when all ranks have finished.
pub struct Mpi {
    world: SimpleCommunicator,
    /// The ranks on this machine.
    machine: SimpleCommunicator,
    /// The first of them.
    first_here: i32,
    // Dropped last: it closes MPI.
    _universe: Universe,
}

impl Mpi {
    /// Connects this process to the others. Once for each process, before it starts threads.
    ///
    /// # Errors
    /// [`Error::Config`] if it is called twice.
    pub fn connect() -> Result<Mpi> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::Config("MPI was connected before in this process".into()))?;
        let world = universe.world();
        let machine = world.split_shared(world.rank());
        let mut first_here = world.rank();
        machine.process_at_rank(0).broadcast_into(&mut first_here);
        Ok(Mpi { world, machine, first_here, _universe: universe })
    }

    /// Ends the processes of all ranks.
    pub fn abort(&self) -> ! {
        self.world.abort(1)
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} over MPI", self.rank(), self.size())
    }
}

/// MPI counts ranks with signed numbers.
fn number(rank: i32) -> usize {
    usize::try_from(rank).expect("MPI counts from 0")
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        number(self.world.rank())
    }

    fn size(&self) -> usize {
        number(self.world.size())
    }

    fn local_rank(&self) -> usize {
        number(self.machine.rank())
    }

    fn machine(&self) -> usize {
        number(self.first_here)
    }

    fn all_gather_into(&self, own: &[f32], all: &mut [f32]) {
        // MPI refuses an empty buffer.
        if !own.is_empty() {
            self.world.all_gather_into(own, all);
        }
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Vec<u8> {
        let mut all = vec![0; own.len() * self.size()];
        if !own.is_empty() {
            self.world.all_gather_into(own, &mut all[..]);
        }
        all
    }

    fn all_to_all_into(&self, blocks: &[f32], received: &mut [f32]) {
        self.world.all_to_all_into(blocks, received);
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let first = self.world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        first.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        if length > 0 {
            first.broadcast_into(&mut bytes[..]);
        }
    }
}
