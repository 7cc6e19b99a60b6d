//! The record: tensors, nodes and kernel calls, over `Copy` ids. Needs no GPU.

use super::emit::Dispatch;
use super::op::{Node, Op};
use super::shape::Shape;
use crate::gpu::Target;
use std::ops::Range;
use std::rc::Rc;

/// A tensor of one tape, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tensor(pub(super) u32);

/// Where a tensor's storage comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Storage {
    /// Planned: a slot shared with tensors of disjoint lifetime.
    Transient,
    /// Named memory, at an offset in bytes.
    Named { name: Rc<str>, offset: u64 },
    /// The storage of another tensor under another shape.
    Same(Tensor),
}

#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub shape: Shape,
    pub storage: Storage,
    /// Whether a gradient is wanted, of it or of something it was computed from.
    pub needs_gradient: bool,
    /// Where its gradient goes, if that is named memory.
    pub gradient: Option<(Rc<str>, u64)>,
}

/// A kernel call of the record.
pub struct Call {
    /// What is called, on what.
    pub dispatch: Dispatch,
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// Floating-point operations.
    pub flops: u64,
    /// The node it belongs to, and whether to its backward half.
    pub node: usize,
    /// Whether it is a call of the node's backward.
    pub backward: bool,
}

/// The calls of one node, forward or backward.
#[derive(Clone, Debug)]
pub struct Section {
    /// Number of the node.
    pub node: usize,
    /// Whether its backward half.
    pub backward: bool,
    /// Its calls.
    pub calls: Range<usize>,
    /// (input, gradient, whether it was added to) for each gradient that a backward section writes.
    pub gradients: Vec<(Tensor, Tensor, bool)>,
    /// Gradient of the first output, in a backward section.
    pub dy: Option<Tensor>,
}

/// A flat list of kernel calls, with the nodes they came from.
pub struct Tape {
    target: Target,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) nodes: Vec<Node>,
    pub(super) calls: Vec<Call>,
    pub(super) sections: Vec<Section>,
    pub(super) gradients: super::gradient::Gradients,
}

impl Tape {
    /// An empty record for a kind of device.
    pub fn new(target: Target) -> Tape {
        Tape { target, tensors: vec![], nodes: vec![], calls: vec![], sections: vec![], gradients: Default::default() }
    }

    /// The kind of device that is recorded for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Shape of a tensor.
    pub fn shape(&self, x: Tensor) -> Shape {
        self.tensors[x.0 as usize].shape
    }

    /// The kernel calls recorded so far.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The applied operators.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The calls by node, in the order of running.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    fn tensor(&mut self, shape: Shape, storage: Storage, needs_gradient: bool) -> Tensor {
        self.tensors.push(TensorInfo { shape, storage, needs_gradient, gradient: None });
        Tensor(self.tensors.len() as u32 - 1)
    }

    /// A tensor whose storage is planned: results, and what operators save.
    pub fn transient(&mut self, shape: Shape) -> Tensor {
        self.tensor(shape, Storage::Transient, false)
    }

    /// A tensor in named memory from its beginning.
    pub fn named(&mut self, name: &str, shape: Shape) -> Tensor {
        self.view(name, 0, shape)
    }

    /// A tensor in named memory at `offset` bytes (a multiple of 256).
    ///
    /// # Panics
    /// If the offset is no multiple of 256.
    #[track_caller]
    pub fn view(&mut self, name: &str, offset: u64, shape: Shape) -> Tensor {
        assert_eq!(
            offset % crate::gpu::OFFSET_ALIGNMENT,
            0,
            "`{name}` at {offset}: a binding must begin at a multiple of 256 bytes"
        );
        self.tensor(shape, Storage::Named { name: name.into(), offset }, false)
    }

    /// A tensor in named memory whose gradient is wanted in other named memory.
    ///
    /// # Panics
    /// As [`Tape::view`].
    #[track_caller]
    pub fn parameter(&mut self, name: &str, offset: u64, shape: Shape, gradient: &str, gradient_offset: u64) -> Tensor {
        let x = self.view(name, offset, shape);
        self.watch_into(x, gradient, gradient_offset);
        x
    }

    /// Asks for the gradient of a tensor; it can be had from [`Tape::gradient`] after [`Tape::backward`].
    pub fn watch(&mut self, x: Tensor) {
        let root = self.root(x);
        self.tensors[root.0 as usize].needs_gradient = true;
    }

    /// [`Tape::watch`], with the gradient put into named memory at an offset in bytes.
    pub fn watch_into(&mut self, x: Tensor, name: &str, offset: u64) {
        let root = self.root(x);
        let info = &mut self.tensors[root.0 as usize];
        info.needs_gradient = true;
        info.gradient = Some((name.into(), offset));
    }

    /// The same elements under another shape, without a copy.
    ///
    /// # Panics
    /// If the number of elements or their type is another.
    #[track_caller]
    pub fn reshape(&mut self, x: Tensor, shape: Shape) -> Tensor {
        let from = self.shape(x);
        assert!(from.len() == shape.len() && from.dtype == shape.dtype, "{from} cannot be reshaped to {shape}");
        let root = self.root(x);
        let needs_gradient = self.needs_gradient(x);
        self.tensor(shape, Storage::Same(root), needs_gradient)
    }

    /// Puts a tensor that is not written yet by another program into named memory, so that it outlives the run.
    ///
    /// # Panics
    /// If the tensor lies in named memory already.
    #[track_caller]
    pub fn keep(&mut self, x: Tensor, name: &str) {
        let root = self.root(x);
        let storage = &mut self.tensors[root.0 as usize].storage;
        assert_eq!(*storage, Storage::Transient, "only a planned tensor can be kept as `{name}`");
        *storage = Storage::Named { name: name.into(), offset: 0 };
    }

    /// The tensor whose storage it is.
    pub(super) fn root(&self, x: Tensor) -> Tensor {
        match self.tensors[x.0 as usize].storage {
            Storage::Same(root) => root,
            _ => x,
        }
    }

    /// Whether a gradient is wanted, of `x` or of something it was computed from.
    pub fn needs_gradient(&self, x: Tensor) -> bool {
        self.tensors[self.root(x).0 as usize].needs_gradient
    }

    /// Applies an operator: checks the shapes, records its forward calls, and returns its results.
    ///
    /// # Panics
    /// If the inputs break the operator's shape rule: at the caller's line, with the operator, the shapes and the rule.
    #[track_caller]
    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[Tensor]) -> Vec<Tensor> {
        self.apply_shared(Rc::new(op), inputs)
    }

    /// [`Tape::apply`] for operators with one result.
    ///
    /// # Panics
    /// As [`Tape::apply`].
    #[track_caller]
    pub fn apply1(&mut self, op: impl Op + 'static, inputs: &[Tensor]) -> Tensor {
        self.apply(op, inputs)[0]
    }

    /// [`Tape::apply`] for an operator that is known only at run time.
    ///
    /// # Panics
    /// As [`Tape::apply`].
    #[track_caller]
    pub fn apply_shared(&mut self, op: Rc<dyn Op>, inputs: &[Tensor]) -> Vec<Tensor> {
        let shapes: Vec<Shape> = inputs.iter().map(|&x| self.shape(x)).collect();
        let results = match op.outputs(&shapes) {
            Ok(results) => results,
            Err(rule) => panic!("{op:?} of {shapes:?}: {rule}"),
        };
        let needs = op.differentiable() && inputs.iter().any(|&x| self.needs_gradient(x));
        let outputs: Vec<Tensor> =
            results.into_iter().map(|shape| self.tensor(shape, Storage::Transient, needs)).collect();
        let node = self.nodes.len();
        let first = self.calls.len();
        self.nodes.push(Node { op: op.clone(), inputs: inputs.to_vec(), outputs: outputs.clone(), saved: vec![] });
        self.nodes[node].saved = op.forward(self, inputs, &outputs);
        let calls = first..self.calls.len();
        self.sections.push(Section { node, backward: false, calls, gradients: vec![], dy: None });
        outputs
    }
}
