//! Recording, differentiation and the memory plan, without a device.

use degrain::gpu::{Entry, Shader, Target};
use degrain::ops::{
    GatherBatch, add, attention, concat, downsample, embedding, gather_batch, silu, split_channels, upsample,
};
use degrain::tape::{BufferOffset, Dispatch, Kernel, PlanOptions, Shape, Tape, Tensor};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

const IMAGE: [u32; 4] = [2, 4, 8, 8];

fn tape() -> Tape {
    Tape::new(Target::LAVAPIPE)
}

fn image(t: &mut Tape, name: &str) -> Tensor {
    t.named(name, Shape::f32(IMAGE))
}

/// The output of two operators, with the shape of an image.
fn produced(t: &mut Tape, x: Tensor) -> Tensor {
    let small = downsample(t, x);
    upsample(t, small)
}

fn differentiate(t: &mut Tape, y: Tensor) -> Tensor {
    let shape = t.shape(y);
    let dy = t.named("dy", shape);
    t.backward(y, dy);
    dy
}

fn labels(t: &Tape) -> Vec<&'static str> {
    t.calls().iter().map(|call| call.dispatch.entry.label).collect()
}

/// (label, whether it adds) of each call that has the constant ADD.
fn writers(t: &Tape) -> Vec<(&'static str, bool)> {
    let adds = |call: &degrain::tape::Call| {
        let at = call.dispatch.entry.constants.iter().position(|&name| name == "ADD")?;
        Some((call.dispatch.entry.label, call.dispatch.constants[at] != 0.0))
    };
    t.calls().iter().filter_map(adds).collect()
}

/// First and last call of every planned tensor, computed without the plan.
fn lives(t: &Tape, slot_of: &BTreeMap<Tensor, usize>) -> Vec<(Tensor, usize, usize)> {
    let named = |x: Tensor| {
        let calls = t.calls().iter().enumerate().filter(move |(_, call)| call.dispatch.operands.contains(&x));
        calls.map(|(number, _)| number).collect::<Vec<_>>()
    };
    let life = |&x: &Tensor| named(x).first().map(|&first| (x, first, *named(x).last().unwrap_or(&first)));
    slot_of.keys().filter_map(life).collect()
}

/// A chain with skips, concatenation and attention, differentiated.
fn network() -> Tape {
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let mut h = x;
    for _ in 0..4 {
        let block = produced(&mut t, h);
        h = add(&mut t, h, block);
    }
    let both = concat(&mut t, h, x);
    let y = upsample(&mut t, both);
    differentiate(&mut t, y);
    t
}

#[test]
fn tape_records_the_shape_grid_and_section_of_an_operator() {
    let mut t = tape();
    let x = image(&mut t, "x");
    let y = upsample(&mut t, x);
    assert_eq!(t.shape(y).dims(), [2, 4, 16, 16]);
    assert_eq!(labels(&t), ["upsample.forward"]);
    assert_eq!(t.calls()[0].dispatch.operands, [x, y]);
    assert_eq!(t.calls()[0].groups, [(2 * 4 * 8 * 8 / 2u32).div_ceil(64), 1, 1]);
    assert_eq!(t.sections().len(), 1);
    assert_eq!((t.sections()[0].calls.clone(), t.sections()[0].backward.is_none()), (0..1, true));
}

#[test]
fn tape_folds_a_grid_of_more_than_65535_workgroups() {
    let mut t = tape();
    let x = t.named("x", Shape::f32([65536, 1, 8, 32]));
    let y = add(&mut t, x, x);
    let groups = t.calls()[0].groups;
    // 2^16 workgroups: one more than a row has.
    assert_eq!(t.shape(y).vec4s() / 64, 1 << 16);
    assert_eq!(groups, [1 << 15, 2, 1]);
    assert_eq!(t.target().fold(65_535), [65_535, 1]);
    assert_eq!(t.target().fold(3 * 65_535 + 1), [49_152, 4]);
    let short = Target { grid_row: 3, spare_rows: 2, ..t.target() };
    assert_eq!([3, 4, 10].map(|groups| short.fold(groups)), [[3, 1], [2, 4], [3, 6]]);
}

#[test]
fn tape_counts_the_bytes_that_a_lookup_reads() {
    let bytes = |t: &Tape| t.calls().iter().map(|call| t.bytes(call)).collect::<Vec<_>>();
    let batch = |images: u32| {
        let mut t = tape();
        let names = [("pixels", 196 * images), ("labels", images), ("image", 64)];
        let [pixels, labels, image] = names.map(|(name, count)| t.named(name, Shape::u32([count])));
        gather_batch(&mut t, pixels, labels, image, GatherBatch { channels: 1, height: 28, width: 28, flip: false });
        bytes(&t)
    };
    // A byte in and four out for each pixel; a label in and out for each image; the numbers of the
    // images in each call.
    assert_eq!(batch(60_000), [5 * 64 * 784 + 4 * 64, 3 * 4 * 64]);
    assert_eq!(batch(60_000), batch(1000));
    // The data set is smaller than the batch.
    assert!(batch(10) < batch(60_000));

    let table = |rows: u32| {
        let mut t = tape();
        let (index, table) = (t.named("index", Shape::u32([64])), t.named("table", Shape::f32([rows, 32])));
        embedding(&mut t, index, table);
        bytes(&t)
    };
    assert_eq!(table(1000), [4 * 64 + 2 * 4 * 64 * 32]);

    // Half of the channels: all of dx is written by the first gradient, half is added by the
    // second.
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let [a, _] = split_channels(&mut t, x);
    differentiate(&mut t, a);
    let whole = t.shape(x).bytes();
    let expected = [whole, whole, whole * 3 / 2];
    assert_eq!((labels(&t), bytes(&t)), (vec!["slice.forward", "slice.forward", "slice.backward"], expected.to_vec()));
}

/// A kernel whose grid must be of the right kind.
struct Launched(&'static Entry);

impl Kernel for Launched {
    fn call(&self) -> Dispatch {
        Dispatch { entry: self.0, operands: vec![], constants: vec![], dims: vec![] }
    }
}

/// An entry point without operands that compares no index, in workgroups of the subgroup variant.
static REDUCTION: Entry = Entry {
    shader: &Shader { name: "reduction", text: "" },
    name: "forward",
    label: "reduction.forward",
    bindings: &[],
    constants: &[],
    uniform: None,
    takes_step: false,
    workgroup_size: [8, 1, 1],
    folds: false,
};

#[test]
#[should_panic(expected = "reduction.forward compares no index with a count, so its grid of 65536 cannot be folded")]
fn tape_folds_no_grid_of_a_kernel_that_compares_no_index() {
    let mut t = tape();
    t.emit(Launched(&REDUCTION), 65_535, 0);
    assert_eq!(t.calls()[0].groups, [65_535, 1, 1]);
    t.emit(Launched(&REDUCTION), 65_536, 0);
}

#[test]
#[should_panic(expected = "reduction.forward is not elementwise")]
fn tape_refuses_a_flat_grid_of_a_reduction() {
    tape().emit_flat(Launched(&REDUCTION), 1000, 0);
}

#[test]
fn tape_refuses_what_no_device_can_hold_or_run() {
    // A tensor of 16 GB, and operators after it.
    let mut t = tape();
    let x = t.named("x", Shape::f32([65536, 65536]));
    t.watch(x);
    assert!(t.check_size().is_ok());
    let y = add(&mut t, x, x);
    let z = add(&mut t, y, x);
    differentiate(&mut t, z);
    assert!(t.gradient(x).is_some());
    assert_eq!(labels(&t), [""; 0]);
    let message = t.check_size().unwrap_err().to_string();
    assert!(message.contains("Add") && message.contains("17.2 GB") && message.contains("smaller batch"), "{message}");

    // 2^22 queries in workgroups of fewer than 64.
    let mut t = tape();
    let qkv = t.named("qkv", Shape::f32([1, 3 * 4, 1 << 22]));
    attention(&mut t, qkv, 4);
    let message = t.check_size().unwrap_err().to_string();
    assert!(message.contains(".forward needs a grid") && message.contains("65535"), "{message}");
}

#[test]
fn tape_counts_each_part_of_the_gradient_of_attention_once() {
    // One kernel with two bindings, one kernel with one, and two kernels.
    let targets =
        [(Target::LAVAPIPE, 48), (Target::LAVAPIPE, 49), (Target::SWIFTSHADER, 49), (Target::DISCRETE_GPU, 49)];
    for (target, tokens) in targets {
        let mut t = Tape::new(target);
        let qkv = t.named("qkv", Shape::f32([2, 3 * 8, tokens]));
        t.watch(qkv);
        let y = attention(&mut t, qkv, 8);
        let dy = differentiate(&mut t, y);
        t.backward(y, dy);
        let dqkv = t.gradient(qkv).expect("it is watched");
        let written = |call: &degrain::tape::Call| {
            let others = call.dispatch.operands.iter().filter(|&&x| x != dqkv);
            t.bytes(call) - others.map(|&x| t.shape(x).bytes()).sum::<u64>()
        };
        let writers = t.calls().iter().filter(|call| call.dispatch.operands.contains(&dqkv));
        // The first pass stores the gradient. The second reads and writes it.
        assert_eq!(writers.map(written).sum::<u64>(), 3 * t.shape(dqkv).bytes(), "{tokens} tokens on {target}");
    }
}

#[test]
fn concat_and_slice_fold_their_grids() {
    let mut t = tape();
    let x = t.named("x", Shape::f32([2, 256, 512, 512]));
    t.watch(x);
    let both = concat(&mut t, x, x);
    let [half, _] = split_channels(&mut t, both);
    differentiate(&mut t, half);
    assert_eq!(t.check_size().map_err(|e| e.to_string()), Ok(()));
    for call in t.calls() {
        assert!(call.groups.iter().all(|&count| count <= 65_535), "{}: {:?}", call.dispatch.entry.label, call.groups);
    }
}

#[test]
fn shape_rule_panics_at_the_callers_line_with_operator_and_shapes() {
    let mut t = tape();
    let a = t.named("a", Shape::f32([1, 2, 3, 3]));
    let b = t.named("b", Shape::f32([2, 2, 3, 3]));
    let place = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let (seen, here) = (place.clone(), std::thread::current().id());
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let other_test = std::thread::current().id() != here;
        if let (false, Ok(mut seen), Some(location)) = (other_test, seen.lock(), info.location()) {
            location.file().clone_into(&mut seen);
        }
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| concat(&mut t, a, b)));
    std::panic::set_hook(usual);
    let message = *outcome.expect_err("a broken rule must panic").downcast::<String>().expect("a message");
    assert!(message.starts_with("Concat of [[1, 2, 3, 3], [2, 2, 3, 3]]: takes two f32 tensors"), "{message}");
    assert!(place.lock().expect("no other panic").ends_with("tape.rs"), "the panic is not at the caller's line");
}

#[test]
#[should_panic(expected = "must be a multiple of the head's width 3")]
fn attention_refuses_channels_that_are_not_a_multiple_of_the_head_width() {
    let mut t = tape();
    let qkv = t.named("qkv", Shape::f32([1, 3 * 8, 5]));
    attention(&mut t, qkv, 3);
}

#[test]
#[should_panic(expected = "are in one buffer")]
fn call_that_reads_and_writes_one_buffer_is_refused() {
    let mut t = tape();
    let x = image(&mut t, "x");
    let bytes = t.shape(x).bytes();
    t.watch_into(x, BufferOffset::new("dy", bytes.next_multiple_of(256) * 4));
    let y = upsample(&mut t, x);
    differentiate(&mut t, y);
}

#[test]
fn gradient_is_stored_by_the_first_call_and_added_to_by_later_ones() {
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let half = downsample(&mut t, x);
    let again = upsample(&mut t, half);
    let y = concat(&mut t, again, x);
    differentiate(&mut t, y);
    let expected = [
        ("concat_wide.backward", false),
        ("concat_wide.backward", false),
        ("upsample.backward", false),
        ("downsample.backward", true),
    ];
    assert_eq!(writers(&t), expected);
    let dx = t.gradient(x).expect("x is watched");
    let written: Vec<bool> = t
        .sections()
        .iter()
        .flat_map(|section| &section.backward)
        .flat_map(|backward| &backward.written)
        .filter(|written| written.x == x)
        .map(|written| {
            assert_eq!(written.dx, dx);
            written.add
        })
        .collect();
    assert_eq!(written, [false, true]);
}

#[test]
fn gradient_of_a_constant_is_not_recorded() {
    let mut t = tape();
    let (x, constant) = (image(&mut t, "x"), image(&mut t, "constant"));
    t.watch(x);
    let other = produced(&mut t, constant);
    let y = concat(&mut t, x, other);
    let forward = t.calls().len();
    differentiate(&mut t, y);
    assert_eq!(labels(&t)[forward..], ["concat_wide.backward"]);
    assert_eq!((t.gradient(constant), t.gradient(other)), (None, None));
}

#[test]
fn add_shares_its_gradient_with_its_operands_if_that_is_safe() {
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let (a, b) = (produced(&mut t, x), produced(&mut t, x));
    let y = add(&mut t, a, b);
    let dy = differentiate(&mut t, y);
    assert!(!labels(&t).contains(&"add.backward"));
    assert_eq!((t.gradient(a), t.gradient(b)), (Some(dy), Some(dy)));
}

/// A residual connection: the gradient of the inner path is added to the gradient of the sum, after
/// everybody else has read it.
#[test]
fn add_shares_the_gradient_of_a_residual_connection() {
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let a = produced(&mut t, x);
    let b = produced(&mut t, a);
    let y = add(&mut t, a, b);
    let z = produced(&mut t, y);
    differentiate(&mut t, z);
    assert!(!labels(&t).contains(&"add.backward"));
    assert!(t.gradient(a) == t.gradient(y) && t.gradient(b) == t.gradient(y));
    assert_eq!(writers(&t).iter().filter(|(_, add)| *add).count(), 1, "{:?}", writers(&t));
}

#[test]
fn add_copies_its_gradient_if_other_calls_write_to_it() {
    // Two consumers: the gradient is added to.
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let a = produced(&mut t, x);
    let b = produced(&mut t, a);
    let y = add(&mut t, a, b);
    let dy = differentiate(&mut t, y);
    assert!(t.gradient(a).is_some_and(|da| da != dy));
    assert_eq!(t.gradient(b), Some(dy));

    // Another consumer adds before the producer of `b` reads: `b` is computed from an earlier
    // tensor.
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let b = produced(&mut t, x);
    let a = produced(&mut t, x);
    let c = produced(&mut t, a);
    let y = add(&mut t, a, b);
    let z = add(&mut t, y, c);
    let z = produced(&mut t, z);
    differentiate(&mut t, z);
    assert!(t.gradient(a) != t.gradient(b), "the gradient of `c` is added to that of `b`");

    // Both operands are one tensor.
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let a = produced(&mut t, x);
    let y = add(&mut t, a, a);
    differentiate(&mut t, y);
    assert_eq!(writers(&t)[..2], [("add.backward", false), ("add.backward", true)]);

    // The gradient belongs to an input of the program, or to a named buffer.
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let a = produced(&mut t, x);
    t.watch_into(a, BufferOffset::new("gradients", 0));
    let y = add(&mut t, a, x);
    let dy = differentiate(&mut t, y);
    assert!(t.gradient(a).is_some_and(|da| da != dy) && t.gradient(x).is_some_and(|dx| dx != dy));
    assert!(t.buffer_sizes().contains_key("gradients"));
}

#[test]
fn reshape_shares_storage_and_gradient() {
    let mut t = tape();
    let x = image(&mut t, "x");
    t.watch(x);
    let flat = t.reshape(x, Shape::f32([2, 256]));
    let y = concat(&mut t, flat, flat);
    differentiate(&mut t, y);
    assert_eq!(writers(&t), [("concat_wide.backward", false), ("concat_wide.backward", true)]);
    let (dx, dflat) = (t.gradient(x).expect("watched"), t.gradient(flat).expect("watched"));
    assert_eq!((t.shape(dx).dims(), t.shape(dflat).dims()), (&IMAGE[..], &[2, 256][..]));
}

#[test]
fn memory_plan_leaves_out_parameters_and_their_gradients() {
    let mut t = tape();
    let w = t.parameter(Shape::f32(IMAGE), BufferOffset::new("parameters", 256), BufferOffset::new("gradients", 512));
    let y = upsample(&mut t, w);
    differentiate(&mut t, y);
    let dw = t.gradient(w).expect("a parameter has a gradient");
    let slots = t.plan(PlanOptions::default()).slot_of;
    assert_eq!(slots.keys().copied().collect::<Vec<_>>(), [y]);
    assert!(!slots.contains_key(&dw));
    let bytes = Shape::f32(IMAGE).bytes();
    let sizes = t.buffer_sizes();
    assert_eq!((sizes["parameters"], sizes["gradients"]), (256 + bytes, 512 + bytes));
}

#[test]
fn memory_plan_gives_live_tensors_different_slots() {
    let t = network();
    let plan = t.plan(PlanOptions::default());
    let lives = lives(&t, &plan.slot_of);
    assert_eq!(lives.len(), plan.slot_of.len(), "a planned tensor is named by no call");
    for (i, &(a, first, last)) in lives.iter().enumerate() {
        assert!(plan.slots[plan.slot_of[&a]] >= t.shape(a).bytes(), "{a:?} is larger than its slot");
        for &(b, other_first, other_last) in &lives[i + 1..] {
            let meet = first <= other_last && other_first <= last;
            assert!(!meet || plan.slot_of[&a] != plan.slot_of[&b], "{a:?} and {b:?} are alive at once in one slot");
        }
    }
    assert!(plan.slots.iter().sum::<u64>() < plan.unshared, "nothing is shared");
}

#[test]
fn memory_plan_with_separate_slots_shares_none_and_adds_guards() {
    let t = network();
    let (shared, plan) = (t.plan(PlanOptions::default()), t.plan(PlanOptions { separate: true, guard: 256 }));
    assert_eq!(plan.slots.len(), plan.slot_of.len());
    assert!(shared.slots.len() < plan.slots.len());
    assert!(plan.slot_of.iter().all(|(&x, &slot)| plan.slots[slot] == t.shape(x).bytes() + 512));
}

#[test]
fn memory_plan_keeps_a_saved_tensor_until_its_backward_call() {
    let record = |backward: bool| {
        let mut t = tape();
        let qkv = t.named("qkv", Shape::f32([2, 3 * 8, 49]));
        t.watch(qkv);
        let y = attention(&mut t, qkv, 8);
        if backward {
            differentiate(&mut t, y);
        }
        t
    };
    let saved = |t: &Tape| t.nodes()[0].saved[0];
    let life = |t: &Tape| {
        let all = lives(t, &t.plan(PlanOptions::default()).slot_of);
        all.into_iter().find(|&(x, _, _)| x == saved(t)).map(|(_, first, last)| (first, last))
    };
    assert_eq!(life(&record(false)), Some((0, 0)));
    let t = record(true);
    let backward = ["attention_backward_wide.backward_prepare", "attention_backward_wide.backward_unaligned"];
    assert_eq!(labels(&t), ["attention_forward_wide.forward", backward[0], backward[1]]);
    assert_eq!(life(&t), Some((0, 1)));
}

#[test]
fn barriers_are_counted_as_wgpu_places_them() {
    let mut t = tape();
    let x = t.named("x", Shape::f32([1000]));
    let barriers = |t: &Tape| t.barriers(&t.plan(PlanOptions { separate: true, guard: 0 }));
    let a = silu(&mut t, x);
    let b = silu(&mut t, x);
    assert_eq!(barriers(&t), 0, "both only read what was written before");
    let c = add(&mut t, a, b);
    assert_eq!(barriers(&t), 1, "the sum reads two results");
    silu(&mut t, a);
    assert_eq!(barriers(&t), 1, "a is only read again");
    silu(&mut t, c);
    assert_eq!(barriers(&t), 2);
}
