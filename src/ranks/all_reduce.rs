//! The sum of arrays of all ranks, with the same bits in each run.

use super::Communicator;

/// Adds arrays over all ranks. It keeps its memory between two sums.
#[derive(Clone, Debug, Default)]
pub struct AllReduce {
    /// The array, padded to a block for each rank.
    blocks: Vec<f32>,
    /// This rank's block of the array of each rank.
    parts: Vec<f32>,
}

impl AllReduce {
    /// Replaces `values` by their sum over all ranks, element by element. All ranks give equally
    /// many.
    ///
    /// Each rank gets one block of the array from all others, adds the blocks, and sends the result
    /// to all. So a rank sends and receives 2 (N - 1) / N times the array for N ranks, the least
    /// possible (Thakur, Rabenseifner and Gropp 2005, "Optimization of collective communication
    /// operations in MPICH", section 4). The order of the additions is a tree that depends only on
    /// N: ((0 + 1) + (2 + 3)) + ... A sum of MPI itself may have another order in each run.
    pub fn sum(&mut self, communicator: &dyn Communicator, values: &mut [f32]) {
        let ranks = communicator.size();
        if ranks == 1 || values.is_empty() {
            return;
        }
        let block = values.len().div_ceil(ranks);
        self.blocks.resize(block * ranks, 0.0);
        self.parts.resize(block * ranks, 0.0);
        self.blocks[..values.len()].copy_from_slice(values);
        communicator.all_to_all_into(&self.blocks, &mut self.parts);
        add_as_tree(&mut self.parts, block);
        communicator.all_gather_into(&self.parts[..block], &mut self.blocks);
        values.copy_from_slice(&self.blocks[..values.len()]);
    }
}

/// Adds blocks of equal length, pairwise. The first block is then the sum.
fn add_as_tree(parts: &mut [f32], block: usize) {
    let mut distance = block;
    while distance < parts.len() {
        for pair in parts.chunks_mut(2 * distance) {
            if pair.len() > distance {
                let (left, right) = pair.split_at_mut(distance);
                left[..block].iter_mut().zip(&right[..block]).for_each(|(sum, part)| *sum += part);
            }
        }
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::add_as_tree;

    #[test]
    fn blocks_are_added_in_a_fixed_tree() {
        // The result of each order is different in f32.
        let blocks: [f32; 5] = [1e8, 3.0, -1e8, 5.0, 0.7];
        let tree = ((blocks[0] + blocks[1]) + (blocks[2] + blocks[3])) + blocks[4];
        let in_order = blocks.iter().sum::<f32>();
        assert_ne!(tree, in_order, "the numbers show the order");
        let mut parts: Vec<f32> = blocks.iter().flat_map(|&number| [number, 2.0 * number]).collect();
        add_as_tree(&mut parts, 2);
        assert_eq!(parts[..2], [tree, 2.0 * tree]);
    }

    #[test]
    fn every_block_is_added_once() {
        for ranks in 1..=9usize {
            let mut parts: Vec<f32> = (0..ranks).map(|rank| (1u32 << rank) as f32).collect();
            add_as_tree(&mut parts, 1);
            assert_eq!(parts[0], ((1u32 << ranks) - 1) as f32, "{ranks} ranks");
        }
    }
}
