//! The ranks of a run, and what they tell each other about it.

use super::objective::Loss;
use crate::ops::BatchPart;
use crate::ranks::{Communicator, Single};
use crate::tape::{Shape, Tape};
use crate::{Error, Result};
use std::rc::Rc;

/// Losses of a rank's part of a batch, `[B]`.
pub(super) const LOSS: &str = "ranks.loss";
/// Indices of their training times, u32 `[B]`.
pub(super) const TIME: &str = "ranks.time";
/// Losses of the whole batch.
pub(super) const WHOLE_LOSS: &str = "ranks.whole_loss";
/// Indices of the training times of the whole batch.
pub(super) const WHOLE_TIME: &str = "ranks.whole_time";

/// The ranks of a run, and this one's part of each batch.
#[derive(Clone, Debug)]
pub(super) struct Ranks {
    pub communicator: Rc<dyn Communicator>,
    pub part: BatchPart,
}

impl Ranks {
    /// A process without others.
    pub fn single(batch: u32) -> Ranks {
        Ranks { communicator: Rc::new(Single), part: BatchPart::all(batch) }
    }

    /// Divides batches of `batch` images.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch that cannot be divided into equal parts.
    pub fn new(communicator: Rc<dyn Communicator>, batch: u32) -> Result<Ranks> {
        let (rank, size) = (communicator.rank() as u32, communicator.size() as u32);
        if !batch.is_multiple_of(size) {
            let [below, above] = [batch / size * size, batch.next_multiple_of(size)];
            let fitting = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
            return Err(Error::Config(format!(
                "--batch {batch}: {size} ranks cannot divide it into equal parts. Use --batch {fitting}"
            )));
        }
        let count = batch / size;
        Ok(Ranks { communicator, part: BatchPart { first: rank * count, count, whole: batch } })
    }

    /// Whether there are other ranks.
    pub fn are_several(&self) -> bool {
        self.communicator.is_one_of_several()
    }

    /// Records the end of the first half of a training step: what follows needs the gradient and
    /// the losses of the whole batch. Returns those losses.
    pub fn join(&self, t: &mut Tape, loss: Loss) -> Loss {
        if !self.are_several() {
            return loss;
        }
        t.keep(loss.loss, LOSS);
        t.keep(loss.time, TIME);
        let whole = self.part.whole;
        Loss {
            loss: t.named(WHOLE_LOSS, Shape::f32([whole])),
            time: t.named(WHOLE_TIME, Shape::u32([whole])),
            weights: loss.weights,
        }
    }

    /// The numbers of images 0 to `total`, from those of this rank's part of each batch.
    pub fn gather_batches(&self, own: &[f32], total: u32) -> Vec<f32> {
        let all = self.communicator.all_gather(own);
        let count = self.part.count as usize;
        let batches = own.len() / count;
        let rank_of = |batch: usize| all.chunks(own.len()).flat_map(move |rank| &rank[batch * count..][..count]);
        (0..batches).flat_map(rank_of).take(total as usize).copied().collect()
    }

    /// The sum of a number over the ranks.
    pub fn add(&self, own: f64) -> f64 {
        let all = self.communicator.all_gather_bytes(&own.to_le_bytes());
        all.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).sum()
    }

    /// Rank 0's value.
    pub fn share_flag(&self, own: bool) -> bool {
        let mut bytes = vec![u8::from(own)];
        self.communicator.broadcast(&mut bytes);
        bytes != [0]
    }

    /// Compares digests of all ranks with those of rank 0. Each `name` says what another digest
    /// means, such as "other settings".
    ///
    /// # Errors
    /// [`Error::Config`] with the first name whose digests differ, the ranks, and advice.
    pub fn compare(&self, names: &[&str], own: &[[u8; 32]], advice: &str) -> Result<()> {
        let all = self.communicator.all_gather_bytes(&own.concat());
        let (digests, _) = all.as_chunks::<32>();
        for (number, name) in names.iter().enumerate() {
            let of_name: Vec<_> = digests.iter().skip(number).step_by(names.len()).collect();
            let others: Vec<String> =
                (1..of_name.len()).filter(|&rank| of_name[rank] != of_name[0]).map(|rank| rank.to_string()).collect();
            if let [rank] = &others[..] {
                return Err(Error::Config(format!("rank {rank} has {name} than rank 0. {advice}")));
            }
            if !others.is_empty() {
                let ranks = others.join(", ");
                return Err(Error::Config(format!("ranks {ranks} have {name} than rank 0. {advice}")));
            }
        }
        Ok(())
    }
}
