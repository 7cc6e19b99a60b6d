//! Lowering: the only place where nodes become kernel calls.
//!
//! Each function records the calls of one node, forward or backward, as one section.

use super::record::{BackwardSection, Section, Tape};
use super::tensor::Tensor;

impl Tape {
    /// Records the forward calls of a node.
    #[track_caller]
    pub(super) fn lower_forward(&mut self, number: usize) {
        let first = self.calls.len();
        let node = self.nodes[number].clone();
        self.lowered = Some(number);
        self.nodes[number].saved = node.op.forward(self, &node.inputs, &node.outputs);
        self.lowered = None;
        self.sections.push(Section { node: number, calls: first..self.calls.len(), backward: None });
    }

    /// Records the backward calls of a node, given the gradient of its first output.
    pub(super) fn lower_backward(&mut self, number: usize, dy: Tensor) {
        let first = self.calls.len();
        let node = self.nodes[number].clone();
        self.lowered = Some(number);
        node.op.backward(self, &node, dy);
        self.lowered = None;
        let backward = Some(BackwardSection { dy, written: std::mem::take(&mut self.written) });
        self.sections.push(Section { node: number, calls: first..self.calls.len(), backward });
    }
}
