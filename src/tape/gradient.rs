//! Differentiation: walks the nodes backwards and appends their backward calls to the same record. Needs no GPU.
//!
//! The first writer of a gradient stores, later ones add, so nothing is filled with zeros. Where a tensor has one consumer and that consumer
//! passes its gradient on unchanged (a sum), the gradients share their storage.

use super::record::{Section, Storage, Tape, Tensor};
use super::shape::Shape;
use std::collections::HashMap;

/// Gradients by the root of the tensor they belong to.
#[derive(Default)]
pub struct Gradients {
    of: HashMap<Tensor, Tensor>,
    written: Vec<(Tensor, Tensor, bool)>,
    /// Whether backward calls are being recorded, and of which node.
    pub(super) active: bool,
    pub(super) node: Option<usize>,
}

impl Tape {
    /// Appends the gradients of everything watched with respect to the sum of all elements of `loss`, given the tensor that holds d loss
    /// (ones, or weights of the elements).
    ///
    /// # Panics
    /// If `dloss` has another number of elements than `loss`.
    pub fn backward(&mut self, loss: Tensor, dloss: Tensor) {
        assert_eq!(self.shape(loss).len(), self.shape(dloss).len(), "the gradient of the loss has its shape");
        let root = self.root(loss);
        self.gradients.of.insert(root, dloss);
        for number in (0..self.nodes.len()).rev() {
            let node = self.nodes[number].clone();
            if !node.op.differentiable() || !node.inputs.iter().any(|&x| self.needs_gradient(x)) {
                continue;
            }
            let Some(dy) = self.gradient(node.outputs[0]) else { continue };
            let first = self.calls.len();
            (self.gradients.active, self.gradients.node) = (true, Some(number));
            node.op.backward(self, &node, dy);
            (self.gradients.active, self.gradients.node) = (false, None);
            let gradients = std::mem::take(&mut self.gradients.written);
            let calls = first..self.calls.len();
            self.sections.push(Section { node: number, backward: true, calls, gradients, dy: Some(dy) });
        }
    }

    /// The gradient of a tensor, if backward has reached it, under the tensor's shape.
    pub fn gradient(&mut self, x: Tensor) -> Option<Tensor> {
        let gradient = *self.gradients.of.get(&self.root(x))?;
        Some(self.shaped(gradient, self.shape(x)))
    }

    fn shaped(&mut self, x: Tensor, shape: Shape) -> Tensor {
        if self.shape(x) == shape { x } else { self.reshape(x, shape) }
    }

    /// Where backward is to put the gradient of `x`, and whether to add: calls `write(tape, dx, add)` unless nobody asks for it.
    pub fn grad(&mut self, x: Tensor, write: impl FnOnce(&mut Tape, Tensor, bool)) {
        if self.needs_gradient(x) {
            let (dx, add) = self.gradient_slot(x);
            write(self, dx, add);
        }
    }

    /// [`Tape::grad`] for two inputs whose gradients one kernel writes: called if either is asked for; both must be stored or both added.
    ///
    /// # Panics
    /// If one of the two gradients was written before and the other was not.
    pub fn grad2(&mut self, a: Tensor, b: Tensor, write: impl FnOnce(&mut Tape, Tensor, Tensor, bool)) {
        if self.needs_gradient(a) || self.needs_gradient(b) {
            let (da, add) = self.gradient_slot(a);
            let (db, also) = self.gradient_slot(b);
            assert_eq!(add, also, "two gradients of one kernel must both be stored or both be added");
            write(self, da, db, add);
        }
    }

    fn gradient_slot(&mut self, x: Tensor) -> (Tensor, bool) {
        let (root, shape) = (self.root(x), self.shape(x));
        let (dx, add) = match self.gradients.of.get(&root) {
            Some(&dx) => (dx, true),
            None => {
                let dx = match self.tensors[root.0 as usize].gradient.clone() {
                    Some((name, offset)) => self.view(&name, offset, shape),
                    None => self.transient(shape),
                };
                self.gradients.of.insert(root, dx);
                (dx, false)
            }
        };
        let dx = self.shaped(dx, shape);
        self.gradients.written.push((x, dx, add));
        (dx, add)
    }

    /// Makes `dy` itself the gradient of `x`, without a copy, if that is safe: nobody else will add to it or has written it. Otherwise
    /// returns false, and the operator writes it through [`Tape::grad`].
    pub fn pass_gradient(&mut self, x: Tensor, dy: Tensor) -> bool {
        let root = self.root(x);
        let info = &self.tensors[root.0 as usize];
        if !info.needs_gradient {
            return true;
        }
        let produced = self.nodes.iter().any(|node| node.outputs.contains(&root));
        let consumers =
            self.nodes.iter().flat_map(|node| &node.inputs).filter(|&&input| self.root(input) == root).count();
        let planned = info.gradient.is_none() && info.storage == Storage::Transient;
        let safe = produced && consumers == 1 && planned && !self.gradients.of.contains_key(&root);
        if safe {
            self.gradients.of.insert(root, dy);
            self.gradients.written.push((x, dy, false));
        }
        safe
    }
}
