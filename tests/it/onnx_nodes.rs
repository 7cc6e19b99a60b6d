//! Operators against the node tests of ONNX. `tests/goldens/onnx_nodes.py` decides which of them
//! fit an operator, and writes their settings, inputs and expected outputs.
//!
//! Every case runs with both kinds of kernels and in each of their forms. Copies, and sums and
//! maxima of two numbers must be equal. Other results may differ by the sum of the tolerances of
//! the operators that were applied, times two: both sides are rounded.

use crate::common::golden::{Golden, path};
use crate::common::{context, context_with_tiles};
use degrain::gpu::{Context, KernelChoices};
use degrain::ops::{
    Adam, AdamState, BatchNormParams, BatchNormSettings, Conv2d, GroupNorm, Padding, adam, add, affine, attention,
    batch_norm, bce_with_logits, concat, conv2d, cross_entropy, downsample, dropout, embedding, fill, global_pool,
    gradient_norm, group_norm, linear, matmul, max_pool, mse, pad, relu, silu, slice, upsample,
};
use degrain::tape::inspect::tolerance;
use degrain::tape::testing::forms;
use degrain::tape::{Array, PlanOptions, Program, Shape, Step, Tape, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Number of cases of each type of node. A list that lost its cases must not pass.
const CASES: [(&str, usize); 33] = [
    ("Adam", 2),
    ("Add", 1),
    ("Attention", 7),
    ("AveragePool", 1),
    ("BatchNormalization", 4),
    ("Concat", 12),
    ("ConstantOfShape", 1),
    ("Conv", 5),
    ("ConvTranspose", 2),
    ("Dropout", 2),
    ("Gather", 3),
    ("Gemm", 11),
    ("GlobalAveragePool", 2),
    ("GroupNormalization", 2),
    ("InstanceNormalization", 2),
    ("LayerNormalization", 19),
    ("MatMul", 3),
    ("MaxPool", 2),
    ("Mean", 3),
    ("Neg", 2),
    ("ReduceL2", 2),
    ("ReduceMean", 8),
    ("ReduceSum", 8),
    ("ReduceSumSquare", 8),
    ("Relu", 1),
    ("Resize", 1),
    ("Slice", 6),
    ("SoftmaxCrossEntropyLoss", 10),
    ("Softplus", 2),
    ("Split", 14),
    ("Sub", 2),
    ("Sum", 2),
    ("Swish", 1),
];

/// Types whose results are inputs, or one sum or maximum of two of them, which is rounded
/// correctly.
const EXACT: [&str; 11] =
    ["Add", "Concat", "ConstantOfShape", "Gather", "MaxPool", "Neg", "Relu", "Resize", "Slice", "Split", "Sub"];

/// A case of `onnx_nodes.json`.
#[derive(Clone, Copy)]
struct Case<'a>(&'a Value);

impl<'a> Case<'a> {
    fn text(self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap_or_else(|| panic!("{name} of {}", self.0))
    }

    fn tensors(self, name: &str) -> Vec<&'a str> {
        let names = self.0[name].as_array().unwrap_or_else(|| panic!("{name} of {}", self.0));
        names.iter().map(|name| name.as_str().unwrap()).collect()
    }

    fn attribute(self, name: &str) -> &'a Value {
        let attribute = &self.0["attributes"][name];
        assert!(!attribute.is_null(), "no {name} in {}", self.0);
        attribute
    }

    fn number(self, name: &str) -> f32 {
        self.attribute(name).as_f64().unwrap_or_else(|| panic!("{name} of {}", self.0)) as f32
    }

    fn count(self, name: &str) -> u32 {
        u32::try_from(self.attribute(name).as_u64().unwrap()).unwrap()
    }

    fn convolution(self) -> Conv2d {
        let padding = match self.attribute("padding").as_str() {
            Some("none") => Padding::None,
            Some("same") => Padding::Same,
            Some("right_bottom") => Padding::RightBottom,
            other => panic!("unknown padding {other:?}"),
        };
        Conv2d { stride: self.count("stride"), padding }
    }
}

/// A recorded case, the tensors of its results, and the step that it runs with.
struct Recorded {
    tape: Tape,
    results: Vec<Tensor>,
    step: Step,
}

/// Records the operators of a case. Its inputs are the named buffers `input 0` and so on.
fn record(ctx: &Context, case: Case, shapes: &[Shape], expected: &[Shape], choices: Rc<KernelChoices>) -> Recorded {
    let mut tape = Tape::new(ctx.target());
    tape.set_choices(choices);
    let t = &mut tape;
    let x: Vec<Tensor> = shapes.iter().enumerate().map(|(i, &shape)| t.named(&input_name(i), shape)).collect();
    let mut step = Step::default();
    let results = match case.text("type") {
        "Adam" => {
            let &[p, g, m, v] = &x[..] else { panic!("Adam takes four tensors") };
            step = Step {
                learning_rate: case.number("rate"),
                first_correction: 1.0,
                second_correction: 1.0,
                ..Step::default()
            };
            let decay = affine(t, p, case.number("regularization"), 0.0);
            let g = add(t, decay, g);
            let [beta1, beta2, epsilon] = ["beta1", "beta2", "epsilon"].map(|name| case.number(name));
            // The gradient is finite, and its scale is 1.
            let norm = fill(t, 1.0, Shape::f32([4]));
            adam(t, AdamState { p, g, m, v }, norm, Adam { beta1, beta2, epsilon, weight_decay: 0.0 });
            vec![p, m, v]
        }
        "Add" | "Sum" => vec![sum(t, &x)],
        "Attention" => vec![attend(t, case, &x)],
        "AveragePool" => vec![downsample(t, x[0])],
        "BatchNormalization" => {
            let params = BatchNormParams { weight: x[1], bias: x[2], running_mean: x[3], running_var: x[4] };
            let training = case.attribute("training").as_bool().unwrap();
            // In ONNX, the momentum weights the running statistics. In degrain, it weights the batch.
            let momentum = 1.0 - case.number("momentum");
            let settings = BatchNormSettings { training, momentum, eps: case.number("epsilon") };
            let y = batch_norm(t, x[0], params, settings);
            if training { vec![y, x[3]] } else { vec![y] }
        }
        "Concat" => vec![concat(t, x[0], x[1])],
        "ConstantOfShape" => vec![fill(t, case.number("value"), expected[0])],
        "Conv" => {
            let channels = t.shape(x[1]).dims()[0];
            let bias = x.get(2).copied().unwrap_or_else(|| fill(t, 0.0, Shape::f32([channels])));
            vec![conv2d(t, x[0], x[1], bias, case.convolution())]
        }
        "ConvTranspose" => {
            let image = fill(t, 0.0, expected[0]);
            t.watch(image);
            let bias = fill(t, 0.0, Shape::f32([t.shape(x[1]).dims()[0]]));
            let y = conv2d(t, image, x[1], bias, case.convolution());
            assert_eq!(t.shape(y), t.shape(x[0]), "{}", case.0);
            t.backward(y, x[0]);
            vec![t.gradient(image).unwrap()]
        }
        "Dropout" => vec![dropout(t, x[0], 0.0, 0)],
        "Gather" => vec![embedding(t, x[0], x[1])],
        "Gemm" => {
            let [alpha, beta] = ["alpha", "beta"].map(|name| case.number(name));
            let a = scaled(t, x[0], alpha);
            let c = x.get(2).map(|&c| scaled(t, c, beta));
            match c {
                None => vec![matmul(t, a, x[1])],
                Some(c) if t.shape(c).dims().len() == 1 => vec![linear(t, a, x[1], c)],
                Some(c) => {
                    let product = matmul(t, a, x[1]);
                    vec![add(t, product, c)]
                }
            }
        }
        "GlobalAveragePool" => vec![global_pool(t, x[0])],
        "GroupNormalization" | "InstanceNormalization" | "LayerNormalization" => {
            let settings = GroupNorm { groups: case.count("groups"), eps: case.number("epsilon"), silu: false };
            vec![group_norm(t, x[0], x[1], x[2], settings)]
        }
        "MatMul" => vec![matmul(t, x[0], x[1])],
        "MaxPool" => vec![max_pool(t, x[0])],
        "Mean" => {
            let sum = sum(t, &x);
            vec![affine(t, sum, 1.0 / x.len() as f32, 0.0)]
        }
        "Neg" => vec![affine(t, x[0], -1.0, 0.0)],
        "ReduceL2" => {
            let norm = gradient_norm(t, x[0], 1.0);
            let norm = t.reshape(norm, Shape::f32([1, 4]));
            vec![slice(t, norm, 0, 1)]
        }
        "ReduceMean" => vec![row_means(t, x[0])],
        "ReduceSum" => vec![row_sums(t, x[0])],
        "ReduceSumSquare" => {
            let [_, count] = t.shape(x[0]).as_array();
            let zero = fill(t, 0.0, shapes[0]);
            let mean = mse(t, x[0], zero);
            vec![affine(t, mean, count as f32, 0.0)]
        }
        "Relu" => vec![relu(t, x[0])],
        "Resize" => vec![(0..case.count("doublings")).fold(x[0], |x, _| upsample(t, x))],
        "Slice" => {
            let slices: Vec<Value> = case.attribute("slices").as_array().unwrap().clone();
            let one = |x: Tensor, of: &Value| {
                let numbers: [u32; 3] = serde_json::from_value(of["view"].clone()).unwrap();
                let [first, count] = ["first", "count"].map(|name| of[name].as_u64().unwrap() as u32);
                let x = t.reshape(x, Shape::f32(numbers));
                slice(t, x, first, count)
            };
            let y = slices.iter().fold(x[0], one);
            vec![t.reshape(y, expected[0])]
        }
        "SoftmaxCrossEntropyLoss" => {
            let losses = cross_entropy(t, x[0], x[1]);
            let row = t.reshape(losses, Shape::f32([1, t.shape(losses).len() as u32]));
            match case.attribute("reduction").as_str() {
                Some("none") => vec![losses],
                Some("sum") => vec![row_sums(t, row)],
                Some("mean") => vec![row_means(t, row)],
                other => panic!("unknown reduction {other:?}"),
            }
        }
        "Softplus" => {
            // Pixels are labels times 2, minus 1.
            let label = fill(t, -1.0, shapes[0]);
            vec![bce_with_logits(t, x[0], label)]
        }
        "Split" => {
            let mut first = 0;
            let part = |shape: &Shape| {
                let count = shape.dims()[1];
                first += count;
                slice(t, x[0], first - count, count)
            };
            expected.iter().map(part).collect()
        }
        "Sub" => {
            let negative = affine(t, x[1], -1.0, 0.0);
            vec![add(t, x[0], negative)]
        }
        "Swish" => vec![silu(t, x[0])],
        other => panic!("unknown type of node {other} in {}", case.0),
    };
    Recorded { tape, results, step }
}

fn input_name(number: usize) -> String {
    format!("input {number}")
}

fn sum(t: &mut Tape, x: &[Tensor]) -> Tensor {
    x[1..].iter().fold(x[0], |sum, &x| add(t, sum, x))
}

/// `x` times a number, without an operator if it is 1.
fn scaled(t: &mut Tape, x: Tensor, scale: f32) -> Tensor {
    if scale == 1.0 { x } else { affine(t, x, scale, 0.0) }
}

/// Means of the rows of a matrix.
fn row_means(t: &mut Tape, x: Tensor) -> Tensor {
    let [rows, columns] = t.shape(x).as_array();
    let x = t.reshape(x, Shape::f32([1, rows, 1, columns]));
    global_pool(t, x)
}

/// Sums of the rows of a matrix.
fn row_sums(t: &mut Tape, x: Tensor) -> Tensor {
    let ones = fill(t, 1.0, Shape::f32([t.shape(x).dims()[1], 1]));
    matmul(t, x, ones)
}

/// Attention of q `[B, I, T]` to all keys. degrain has as many queries as keys, so zeros are
/// appended to q, and their results are dropped. It divides the scores by the root of the head's
/// width.
fn attend(t: &mut Tape, case: Case, x: &[Tensor]) -> Tensor {
    let &[q, k, v] = x else { panic!("attention takes q, k and v") };
    let [batch, channels, queries] = t.shape(q).as_array();
    let [_, _, keys] = t.shape(k).as_array();
    let width = case.count("head_width");
    let scale = case.attribute("scale").as_f64().unwrap() * f64::from(width).sqrt();
    let q = scaled(t, q, scale as f32);
    let q = t.reshape(q, Shape::f32([batch, channels, 1, queries]));
    let q = pad(t, q, [1, keys]);
    let q = t.reshape(q, Shape::f32([batch, channels, keys]));
    let qk = concat(t, q, k);
    let qkv = concat(t, qk, v);
    let y = attention(t, qkv, width);
    let y = t.reshape(y, Shape::f32([batch * channels, keys]));
    let y = slice(t, y, 0, queries);
    t.reshape(y, Shape::f32([batch, channels, queries]))
}

/// Runs a case in one form. Returns the largest and the allowed difference relative to the largest
/// expected value, or what differs.
fn run(ctx: &Context, golden: &Golden, case: Case, choices: Rc<KernelChoices>) -> Result<[f64; 2], String> {
    let inputs: Vec<(Shape, Vec<u32>)> = case.tensors("inputs").iter().map(|name| golden.words(name)).collect();
    let expected: Vec<(Shape, Vec<u32>)> = case.tensors("outputs").iter().map(|name| golden.words(name)).collect();
    let [input_shapes, output_shapes] =
        [&inputs, &expected].map(|tensors| tensors.iter().map(|&(shape, _)| shape).collect::<Vec<_>>());
    let Recorded { tape, results, step } = record(ctx, case, &input_shapes, &output_shapes, choices);
    let mut ctx = ctx.fork();
    let program = Program::compile_with(&mut ctx, &tape, PlanOptions { separate: true, guard: 0 }).unwrap();
    for (i, (_, words)) in inputs.iter().enumerate() {
        ctx.write(&input_name(i), 0, words).unwrap();
    }
    program.run(&ctx, &step).unwrap();
    let read = |x: Tensor| program.read(&ctx, &tape, x).unwrap();
    let rounding = tape.nodes().iter().map(|node| {
        let inputs: Vec<Array> = node.inputs.iter().map(|&x| read(x)).collect();
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        let copies = node.op.flops(&shapes) == 0;
        if copies { 0.0 } else { tolerance(node.op.terms(&shapes), node.op.function_error(&inputs), 1.0) }
    });
    let relative = if EXACT.contains(&case.text("type")) { 0.0 } else { 2.0 * rounding.sum::<f64>() };
    assert_eq!(results.len(), expected.len(), "number of results of {}", case.0);
    let mut worst = 0.0f64;
    for (number, (&got, (shape, words))) in results.iter().zip(&expected).enumerate() {
        let (got, expected) = (read(got), Array::from_words(*shape, words));
        if without_ones(got.shape) != without_ones(*shape) {
            return Err(format!("result {number} has the shape {}, expected {shape}", got.shape));
        }
        let scale = expected.max_abs().max(f64::MIN_POSITIVE);
        let allowed = relative * scale;
        for (i, (&got, &expected)) in got.data.iter().zip(&expected.data).enumerate() {
            let difference = (got - expected).abs();
            if difference.is_nan() || difference > allowed {
                return Err(format!(
                    "result {number}, element {i} of {shape}: {got}, expected {expected}, off by {difference:.3e}, \
                     allowed {allowed:.3e}"
                ));
            }
            worst = worst.max(difference / scale);
        }
    }
    Ok([worst, relative])
}

fn without_ones(shape: Shape) -> Vec<u32> {
    shape.dims().iter().copied().filter(|&d| d != 1).collect()
}

/// Runs all cases. Prints for each type the number of cases, and the largest of their differences
/// and of the allowed ones, relative to the largest expected value, in units of 2^-23.
fn check(ctx: &Context) {
    let golden = Golden::open("onnx_nodes.safetensors");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path("onnx_nodes.json")).unwrap()).unwrap();
    let mut counts: BTreeMap<&str, (usize, [f64; 2])> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let case = Case(case);
        let [inputs, outputs] = ["inputs", "outputs"]
            .map(|name| case.tensors(name).iter().map(|name| golden.words(name).0).collect::<Vec<_>>());
        let count = counts.entry(case.text("type")).or_default();
        count.0 += 1;
        for choices in forms(&record(ctx, case, &inputs, &outputs, Rc::default()).tape) {
            match run(ctx, &golden, case, choices.clone()) {
                Ok(found) => count.1 = [0, 1].map(|i| count.1[i].max(found[i] / f64::from(f32::EPSILON))),
                Err(what) => failures.push(format!("{} {choices:?}: {what}", case.text("name"))),
            }
        }
    }
    for (kind, (count, [worst, allowed])) in &counts {
        println!("{kind}: {count}, {worst:.1} of {allowed:.0}");
    }
    assert!(failures.is_empty(), "{} of ONNX's node tests fail:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(counts.iter().map(|(&kind, &(count, _))| (kind, count)).collect::<Vec<_>>(), CASES);
}

#[test]
fn operators_match_the_node_tests_of_onnx() {
    check(&context());
}

#[test]
fn operators_match_the_node_tests_of_onnx_with_tiles() {
    check(&context_with_tiles());
}
