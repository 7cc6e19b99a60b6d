//! The tape: tensors, nodes and kernel calls. Needs no GPU.

use super::choice::Choice;
use super::kernel::Dispatch;
use super::op::{Node, Op};
use super::row_sum::{LateSum, LateSums};
use super::shape::Shape;
use super::tensor::{BufferOffset, Storage, Tensor, TensorInfo};
use crate::gpu::{Context, KernelChoices, Target};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

/// Largest number of elements of a tensor. Devices bind at most 4 GiB, and operators count elements
/// in 32 bits.
const MAX_ELEMENTS: usize = 1 << 30;

/// A kernel call.
pub struct Call {
    /// The kernel and its operands.
    pub dispatch: Dispatch,
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// Floating-point operations.
    pub flops: u64,
    /// Floating-point operations that the kernel does again, in addition to `flops`.
    pub(super) repeated: u64,
    /// Operands of which the call moves only some bytes.
    pub(super) moved: Vec<(Tensor, u64)>,
}

/// The calls of one node, forward or backward.
#[derive(Clone, Debug)]
pub struct Section {
    /// Index of the node.
    pub node: usize,
    /// Its calls, by index.
    pub calls: Range<usize>,
    /// The gradients, in a backward section.
    pub backward: Option<BackwardSection>,
}

/// The gradients that the calls of a backward section read and write.
#[derive(Clone, Debug)]
pub struct BackwardSection {
    /// Gradient of the node's first output.
    pub dy: Tensor,
    /// The gradients of the inputs, in the order in which they are written.
    pub written: Vec<WrittenGradient>,
}

/// A gradient that a backward section writes.
#[derive(Clone, Copy, Debug)]
pub struct WrittenGradient {
    /// The input.
    pub x: Tensor,
    /// Its gradient.
    pub dx: Tensor,
    /// Whether the section adds to the gradient instead of storing it.
    pub add: bool,
}

/// Records the call for sums whose parts are in one buffer, and whose results are in one buffer.
pub type EmitSums = fn(&mut Tape, &[LateSum]);

/// A flat list of kernel calls, with the nodes they came from.
pub struct Tape {
    target: Target,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) nodes: Vec<Node>,
    pub(super) calls: Vec<Call>,
    pub(super) sections: Vec<Section>,
    /// The gradient of each tensor that has one, by the root of the tensor.
    pub(super) gradients: HashMap<Tensor, Tensor>,
    /// The gradients that the backward section being recorded has written so far.
    pub(super) written: Vec<WrittenGradient>,
    /// What no device can hold or run, if anything. Nothing is recorded after it.
    pub(super) excess: Option<String>,
    /// Gradients to which others are added although another tensor shares them, and the last node
    /// in the order of the tape that adds.
    pub(super) accumulators: HashMap<Tensor, usize>,
    /// The gradients of losses that callers gave, which nothing may change.
    pub(super) given: Vec<Tensor>,
    /// The forms of kernels to record.
    pub(super) choices: Rc<KernelChoices>,
    /// The choices that were made so far.
    pub(super) made: Vec<Choice>,
    /// The node whose calls are being recorded.
    pub(super) lowered: Option<usize>,
    /// Sums that are computed at the end of backward.
    pub(super) late_sums: LateSums,
    /// How they are recorded.
    pub(super) emit_sums: Option<EmitSums>,
    /// The content of constant tensors, by the name of the buffer.
    pub(super) constants: BTreeMap<String, Vec<u32>>,
}

impl Tape {
    /// An empty tape for a device, with the forms of kernels that were chosen for it.
    pub fn on(ctx: &Context) -> Tape {
        Tape { choices: Rc::new(ctx.kernel_choices()), ..Tape::new(ctx.target()) }
    }

    /// An empty tape for a target.
    pub fn new(target: Target) -> Tape {
        Tape {
            target,
            tensors: vec![],
            nodes: vec![],
            calls: vec![],
            sections: vec![],
            gradients: HashMap::new(),
            written: vec![],
            excess: None,
            accumulators: HashMap::new(),
            given: vec![],
            choices: Rc::default(),
            made: vec![],
            lowered: None,
            late_sums: LateSums::default(),
            emit_sums: None,
            constants: BTreeMap::new(),
        }
    }

    /// The target that the tape is recorded for.
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

    /// The calls by node, in the order in which they run.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Checks that devices can hold the tensors and run the calls. A recording does not fail: it
    /// ends at the first operator that is too large.
    ///
    /// # Errors
    /// [`Error::Config`], with the operator and advice.
    pub fn check_size(&self) -> Result<()> {
        match &self.excess {
            Some(what) => Err(Error::Config(format!("{what}: use a smaller batch, smaller images or fewer channels"))),
            None => Ok(()),
        }
    }

    fn tensor(&mut self, shape: Shape, storage: Storage, needs_gradient: bool) -> Tensor {
        self.tensors.push(TensorInfo { shape, storage, needs_gradient, gradient: None, watched: false });
        Tensor(self.tensors.len() as u32 - 1)
    }

    /// A tensor in a transient buffer: results, and tensors that operators save for backward.
    pub fn transient(&mut self, shape: Shape) -> Tensor {
        self.tensor(shape, Storage::Transient, false)
    }

    /// A tensor at the start of a named buffer.
    pub fn named(&mut self, name: &str, shape: Shape) -> Tensor {
        self.view(name, 0, shape)
    }

    /// A tensor in a named buffer at `offset` bytes.
    ///
    /// # Panics
    /// If the offset is not a multiple of 256.
    #[track_caller]
    pub fn view(&mut self, name: &str, offset: u64, shape: Shape) -> Tensor {
        self.tensor(shape, Storage::Named(BufferOffset::new(name, offset)), false)
    }

    /// A tensor in a named buffer. Its gradient is stored in another named buffer.
    pub fn parameter(&mut self, shape: Shape, value: BufferOffset, gradient: BufferOffset) -> Tensor {
        let x = self.tensor(shape, Storage::Named(value), false);
        self.watch_into(x, gradient);
        x
    }

    /// Requests the gradient of a tensor. [`Tape::gradient`] returns it after [`Tape::backward`].
    pub fn watch(&mut self, x: Tensor) {
        let info = self.root_info_mut(x);
        info.needs_gradient = true;
        info.watched = true;
    }

    /// Requests the gradient of a tensor, stored in a named buffer.
    pub fn watch_into(&mut self, x: Tensor, gradient: BufferOffset) {
        let info = self.root_info_mut(x);
        info.needs_gradient = true;
        info.watched = true;
        info.gradient = Some(gradient);
    }

    /// The same elements under another shape, without a copy.
    ///
    /// # Panics
    /// If the number of elements or their type differ.
    #[track_caller]
    pub fn reshape(&mut self, x: Tensor, shape: Shape) -> Tensor {
        let from = self.shape(x);
        assert!(from.len() == shape.len() && from.dtype == shape.dtype, "{from} cannot be reshaped to {shape}");
        let (root, offset) = self.place_in_root(x);
        let needs_gradient = self.needs_gradient(x);
        self.tensor(shape, Storage::Part(root, offset), needs_gradient)
    }

    /// A part of a transient tensor, from an offset in bytes on.
    pub(super) fn part(&mut self, root: Tensor, offset: u64, shape: Shape) -> Tensor {
        self.tensor(shape, Storage::Part(root, offset), false)
    }

    /// Moves a transient tensor to a named buffer, so that it can be read after the run. Must be
    /// called before the tape is compiled.
    ///
    /// # Panics
    /// If the tensor is in a named buffer already.
    #[track_caller]
    pub fn keep(&mut self, x: Tensor, name: &str) {
        let storage = &mut self.root_info_mut(x).storage;
        assert_eq!(*storage, Storage::Transient, "only a transient tensor can be kept as `{name}`");
        *storage = Storage::Named(BufferOffset::new(name, 0));
    }

    /// The tensor that owns the storage of `x`.
    pub(super) fn root(&self, x: Tensor) -> Tensor {
        self.place_in_root(x).0
    }

    /// The tensor that owns the storage of `x`, and where `x` begins in it, in bytes.
    pub(super) fn place_in_root(&self, x: Tensor) -> (Tensor, u64) {
        match self.tensors[x.0 as usize].storage {
            Storage::Part(root, offset) => (root, offset),
            _ => (x, 0),
        }
    }

    /// All of the buffer of a tensor as one tensor of f32, and where `x` begins in it, in elements.
    /// For a named buffer it is the part from its start to the end of `x`.
    pub fn whole_buffer(&mut self, x: Tensor) -> (Tensor, u32) {
        let (root, offset) = self.place_in_root(x);
        match self.tensors[root.0 as usize].storage.clone() {
            Storage::Named(BufferOffset { buffer, offset: first }) => {
                let first = ((first + offset) / 4) as u32;
                (self.named(&buffer, Shape::f32([first + self.shape(x).len() as u32])), first)
            }
            _ => (root, (offset / 4) as u32),
        }
    }

    pub(super) fn root_info(&self, x: Tensor) -> &TensorInfo {
        &self.tensors[self.root(x).0 as usize]
    }

    fn root_info_mut(&mut self, x: Tensor) -> &mut TensorInfo {
        let root = self.root(x);
        &mut self.tensors[root.0 as usize]
    }

    /// Whether the gradient of `x`, or of a tensor it was computed from, is needed.
    pub fn needs_gradient(&self, x: Tensor) -> bool {
        self.root_info(x).needs_gradient
    }

    /// Applies an operator: checks the shapes, records its forward calls, and returns its results.
    ///
    /// # Panics
    /// If the inputs break the operator's shape rule. The message has the operator, the shapes and
    /// the rule, and names the caller's line.
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
        let sizes = inputs.iter().chain(&outputs).map(|&x| self.shape(x));
        if let Some(shape) = sizes.max_by_key(|shape| shape.len()).filter(|shape| shape.len() > MAX_ELEMENTS) {
            let bytes = shape.len() as f64 * 4.0;
            self.excess.get_or_insert_with(|| {
                format!("{op:?} has a tensor of {shape}, {:.1} GB, more than any device binds", bytes * 1e-9)
            });
        }
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), saved: vec![] });
        if self.excess.is_none() {
            self.lower_forward(self.nodes.len() - 1);
        }
        outputs
    }
}
