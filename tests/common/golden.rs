//! Reads goldens, and runs the models and blocks that are compared with them.

use degrain::gpu::Context;
use degrain::nn::{GRADIENTS, PARAMETERS, Parameters, Weights};
use degrain::tape::inspect::tolerance;
use degrain::tape::{BufferOffset, Dtype, Program, Shape, Step, Tape, Tensor};
use safetensors::tensor::SafeTensors;
use std::path::{Path, PathBuf};

/// A file below `tests/goldens`.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// A file of named tensors.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Golden {
        Golden(std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
    }

    pub fn new(bytes: Vec<u8>) -> Golden {
        Golden(bytes)
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            SafeTensors::deserialize(&self.0).unwrap().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    pub fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).is_ok()
    }

    /// Shape and words of a tensor.
    pub fn words(&self, name: &str) -> (Shape, Vec<u32>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{e}"));
        let dims: Vec<u32> = tensor.shape().iter().map(|&d| d as u32).collect();
        let dtype = if tensor.dtype() == safetensors::Dtype::F32 { Dtype::F32 } else { Dtype::U32 };
        let words = tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        (Shape::new(&dims, dtype), words)
    }

    /// Values of a tensor of any number of dimensions.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
        bytemuck::pod_collect_to_vec(tensor.data())
    }

    /// The tensors of a model that has the names of the file.
    pub fn weights(&self, parameters: &Parameters) -> Vec<f32> {
        let mut weights = vec![0.0; parameters.bytes() as usize / 4];
        parameters.iter().for_each(|p| weights[p.range()].copy_from_slice(&self.floats(&p.name)));
        weights
    }
}

/// A compiled forward and backward pass.
pub struct Run {
    ctx: Context,
    program: Program,
    inputs: Vec<(String, Shape)>,
    numbers: usize,
    output: Shape,
}

impl Run {
    /// Records `forward` of the named inputs, and the backward pass from a gradient of its output
    /// to the inputs and the parameters.
    pub fn new(
        ctx: &Context,
        parameters: &Parameters,
        inputs: &[(&str, (Shape, Vec<u32>))],
        forward: impl FnOnce(&mut Tape, &Weights, &[Tensor]) -> Tensor,
    ) -> Run {
        let mut t = Tape::new(ctx.target());
        let w = parameters.trained(&mut t);
        let mut tensors = Vec::new();
        for (name, (shape, _)) in inputs {
            let x = t.named(name, *shape);
            if shape.dtype == Dtype::F32 {
                t.watch_into(x, BufferOffset::new(&format!("grad.{name}"), 0));
            }
            tensors.push(x);
        }
        let out = forward(&mut t, &w, &tensors);
        t.keep(out, "out");
        let output = t.shape(out);
        let dout = t.named("dout", output);
        t.backward(out, dout);
        let mut ctx = ctx.fork();
        for name in [PARAMETERS, GRADIENTS] {
            ctx.require(name, parameters.bytes()).unwrap();
        }
        let program = Program::compile(&mut ctx, &t).unwrap_or_else(|e| panic!("{e}"));
        for (name, (_, words)) in inputs {
            ctx.write(name, 0, words).unwrap();
        }
        let numbers = parameters.bytes() as usize / 4;
        let inputs = inputs.iter().map(|(name, (shape, _))| (name.to_string(), *shape)).collect();
        Run { ctx, program, inputs, numbers, output }
    }

    pub fn write<T: bytemuck::NoUninit>(&self, name: &str, values: &[T]) {
        self.ctx.write(name, 0, values).unwrap();
    }

    pub fn run(&self) -> Outcome {
        self.write(GRADIENTS, &vec![f32::NAN; self.numbers]);
        self.program.run(&self.ctx, &Step::default()).unwrap();
        let read = |name: &str, count: usize| self.ctx.read(name, 0, count).unwrap();
        let floats = self.inputs.iter().filter(|(_, shape)| shape.dtype == Dtype::F32);
        Outcome {
            out: read("out", self.output.len()),
            parameters: read(GRADIENTS, self.numbers),
            inputs: floats.map(|(name, shape)| (name.clone(), read(&format!("grad.{name}"), shape.len()))).collect(),
        }
    }
}

/// The output of a run, and the gradients of the parameters (in their layout) and of the inputs.
pub struct Outcome {
    pub out: Vec<f32>,
    pub parameters: Vec<f32>,
    pub inputs: Vec<(String, Vec<f32>)>,
}

/// Parameters with other rounding errors: each changes by about one unit in its last place, up or
/// down.
pub fn nudge(weights: &[f32]) -> Vec<f32> {
    let sign = |i: usize| if (i as u32).wrapping_mul(0x9e37_79b9) >> 31 == 0 { 1.0 } else { -1.0 };
    weights.iter().enumerate().map(|(i, &x)| x * (1.0 + sign(i) * f32::EPSILON)).collect()
}

/// The difference of two results relative to the allowed rounding errors: at most 1 if they are
/// equal up to rounding.
///
/// The effect of rounding is measured: `moved` is the result for parameters with other rounding
/// errors, which is one rounding per parameter, while a forward and backward pass has a few.
/// Sixteen times that difference is allowed, plus the tolerance of a single operation. (A gradient
/// that is zero only because its terms cancel, as for the bias of the keys, may thus differ by the
/// rounding errors of its terms.)
pub fn excess(got: &[f32], moved: &[f32], expected: &[f32]) -> f64 {
    distance(got, expected) / (16.0 * distance(got, moved) + tolerance(1, 0.0, largest(expected)))
}

/// Panics unless two results are equal up to rounding. Returns the difference relative to the
/// allowed one.
#[track_caller]
pub fn compare(what: &str, got: &[f32], moved: &[f32], expected: &[f32]) -> f64 {
    let excess = excess(got, moved, expected);
    let (difference, scale) = (distance(got, expected), largest(expected));
    assert!(excess <= 1.0, "{what}: off by {difference:.3e} of {scale:.3e}, {excess:.1} times what is allowed");
    excess
}

fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |m: f64, &x| if x.is_nan() || m.is_nan() { f64::NAN } else { m.max(f64::from(x).abs()) })
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m: f64, (&a, &b)| {
        let d = (f64::from(a) - f64::from(b)).abs();
        if d.is_nan() || m.is_nan() { f64::NAN } else { m.max(d) }
    })
}
