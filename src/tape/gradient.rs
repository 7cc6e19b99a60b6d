//! Differentiation: visits the nodes in reverse and appends their backward calls to the tape. Needs
//! no GPU.
//!
//! The first writer of a gradient stores and later ones add, so no gradient is filled with zeros.
//! If an operator passes its gradient on unchanged, as a sum does, both gradients share storage,
//! unless one of them is still needed when the other changes.

use super::record::{Tape, WrittenGradient};
use super::shape::Shape;
use super::tensor::{Storage, Tensor};

impl Tape {
    /// Appends the calls that compute the gradients of all watched tensors with respect to the sum
    /// of the elements of `loss`. `dloss` is the gradient of that sum: ones, or weights of the
    /// elements.
    ///
    /// # Panics
    /// If `dloss` and `loss` have different numbers of elements.
    pub fn backward(&mut self, loss: Tensor, dloss: Tensor) {
        assert_eq!(self.shape(loss).len(), self.shape(dloss).len(), "the gradient of the loss has its shape");
        if self.excess.is_some() {
            return;
        }
        self.given.push(self.root(dloss));
        self.gradients.insert(self.root(loss), dloss);
        for number in (0..self.nodes.len()).rev() {
            let node = &self.nodes[number];
            if !node.op.differentiable() || !node.inputs.iter().any(|&x| self.needs_gradient(x)) {
                continue;
            }
            if let Some(dy) = self.gradient(node.outputs[0]) {
                self.finish_gradient(dy);
                self.lower_backward(number, dy);
            }
        }
        self.finish_sums();
    }

    /// The gradient of a tensor, under the tensor's shape, if backward has reached it. After the
    /// run it has this value only if the tensor was watched before. A recording that ended early
    /// because it is too large gives a tensor without content.
    pub fn gradient(&mut self, x: Tensor) -> Option<Tensor> {
        if self.excess.is_some() {
            return Some(self.transient(self.shape(x)));
        }
        let gradient = *self.gradients.get(&self.root(x))?;
        Some(self.shaped(gradient, self.shape(x)))
    }

    fn shaped(&mut self, x: Tensor, shape: Shape) -> Tensor {
        if self.shape(x) == shape { x } else { self.reshape(x, shape) }
    }

    /// Calls `write(tape, dx, add)` to write the gradient of `x` to `dx`, if it is needed. `add`
    /// says whether to add to `dx` instead of storing.
    pub fn grad(&mut self, x: Tensor, write: impl FnOnce(&mut Tape, Tensor, bool)) {
        if self.needs_gradient(x) {
            let WrittenGradient { dx, add, .. } = self.write_gradient(x);
            write(self, dx, add);
        }
    }

    /// [`Tape::grad`] for two inputs whose gradients one kernel writes. Both are written if either
    /// is needed.
    ///
    /// # Panics
    /// If one of the gradients was written before and the other was not.
    pub fn grad2(&mut self, a: Tensor, b: Tensor, write: impl FnOnce(&mut Tape, Tensor, Tensor, bool)) {
        if self.needs_gradient(a) || self.needs_gradient(b) {
            let a = self.write_gradient(a);
            let b = self.write_gradient(b);
            assert_eq!(a.add, b.add, "two gradients of one kernel must both be stored or both be added");
            write(self, a.dx, b.dx, a.add);
        }
    }

    /// Chooses where the gradient of `x` is written, and notes that the section being recorded
    /// writes it.
    fn write_gradient(&mut self, x: Tensor) -> WrittenGradient {
        let root = self.root(x);
        let shape = self.shape(x);
        let known = self.gradients.get(&root).copied();
        let dx = known.unwrap_or_else(|| {
            let dx = match self.root_info(x).gradient.clone() {
                Some(place) => self.view(&place.buffer, place.offset, shape),
                None => self.transient(shape),
            };
            self.gradients.insert(root, dx);
            dx
        });
        if known.is_some() {
            self.finish_gradient(dx);
        }
        let written = WrittenGradient { x, dx: self.shaped(dx, shape), add: known.is_some() };
        self.written.push(written);
        written
    }

    /// Makes `dy` itself the gradient of `x`, without a copy, if that is safe. Otherwise returns
    /// false, and the operator must write it through [`Tape::grad`].
    ///
    /// If `x` has other consumers, their gradients are added to `dy` later. That is safe if every
    /// other reader of `dy` runs before.
    pub fn pass_gradient(&mut self, x: Tensor, dy: Tensor) -> bool {
        let root = self.root(x);
        let info = self.root_info(x);
        if !info.needs_gradient {
            return true;
        }
        let Some(node) = self.lowered else { return false };
        let transient = info.gradient.is_none() && info.storage == Storage::Transient;
        let consumers: Vec<usize> = self.consumers(root).collect();
        let once = consumers.iter().filter(|&&consumer| consumer == node).count() == 1;
        let Some(producer) = self.producer(root) else { return false };
        if !transient || !once || self.gradients.contains_key(&root) {
            return false;
        }
        let shared = self.root(dy);
        let adds = consumers.into_iter().filter(|&consumer| consumer < node).max();
        // Later nodes have already added to dy.
        let pending = self.accumulators.get(&shared).filter(|&&last| last < node);
        let safe = match (adds, pending) {
            (None, None) => true,
            // Another tensor's gradient is added to it, after this one was read.
            (None, Some(&last)) => producer > last && !info.watched,
            (Some(_), Some(_)) => false,
            (Some(last), None) => {
                let owned = self.root_info(dy).storage == Storage::Transient && !self.given.contains(&shared);
                owned && self.is_read_before(shared, last)
            }
        };
        if safe {
            if let Some(last) = adds {
                self.accumulators.insert(shared, last);
            }
            self.gradients.insert(root, dy);
            self.written.push(WrittenGradient { x, dx: dy, add: false });
        }
        safe
    }

    /// Whether every tensor with this gradient has a producer whose backward calls come before
    /// those of node `last`, and nobody reads the gradient after the run.
    fn is_read_before(&self, gradient: Tensor, last: usize) -> bool {
        let sharing = self.gradients.iter().filter(|(_, other)| self.root(**other) == gradient);
        sharing.into_iter().all(|(&x, _)| {
            let early = self.producer(x).is_some_and(|producer| producer > last);
            early && !self.root_info(x).watched
        })
    }

    /// The nodes that have a tensor among their inputs; a node twice if it has it twice.
    fn consumers(&self, root: Tensor) -> impl Iterator<Item = usize> {
        let inputs = self.nodes.iter().enumerate().flat_map(|(i, node)| node.inputs.iter().map(move |&x| (i, x)));
        inputs.filter(move |&(_, x)| self.root(x) == root).map(|(i, _)| i)
    }

    /// The node that computes a tensor.
    fn producer(&self, root: Tensor) -> Option<usize> {
        self.nodes.iter().position(|node| node.outputs.contains(&root))
    }
}
