//! Gradients that share storage have the values that they would have without.

use crate::common::context;
use degrain::ops::{add, relu, silu};
use degrain::rng::philox;
use degrain::tape::{PlanOptions, Program, Shape, Step, Tape, Tensor};

const SHAPE: [u32; 2] = [3, 40];

/// A graph: for each node, the earlier tensors that it adds, or the one of which it computes a
/// function. Tensor 0 is the input.
fn graph(seed: u32, nodes: u32) -> Vec<[u32; 3]> {
    (0..nodes)
        .map(|i| {
            let [kind, a, b, _] = philox([seed, i, 0, 0], [0, 0]);
            // Near tensors are more likely, as in a network.
            let earlier = |word: u32| i - (word % (i + 1)).min(word / 7 % 4);
            [kind % 3, earlier(a), earlier(b)]
        })
        .collect()
}

/// The gradients of the input and of the tensors `read`. If every tensor is watched, no gradient is
/// shared with another one that is added to.
fn gradients(graph: &[[u32; 3]], read: &[usize], watches_all: bool) -> Vec<Vec<u32>> {
    let mut ctx = context();
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let x = t.named("x", Shape::f32(SHAPE));
    t.watch(x);
    let mut all: Vec<Tensor> = vec![x];
    for &[kind, a, b] in graph {
        let (a, b) = (all[a as usize], all[b as usize]);
        all.push(match kind {
            0 => silu(t, a),
            1 => relu(t, a),
            _ => add(t, a, b),
        });
        if watches_all || read.contains(&(all.len() - 1)) {
            t.watch(all[all.len() - 1]);
        }
    }
    let y = all[all.len() - 1];
    let dy = t.named("dy", Shape::f32(SHAPE));
    t.backward(y, dy);
    let read: Vec<Tensor> = std::iter::once(&0).chain(read).filter_map(|&tensor| t.gradient(all[tensor])).collect();
    let separate = PlanOptions { separate: true, guard: 0 };
    let program = Program::compile_with(&mut ctx, t, separate).unwrap();
    let values = |salt: u32| -> Vec<f32> {
        (0..SHAPE[0] * SHAPE[1]).map(|i| philox([i, salt, 0, 0], [1, 2])[0] as f32 / u32::MAX as f32 - 0.4).collect()
    };
    ctx.write("x", 0, &values(1)).unwrap();
    ctx.write("dy", 0, &values(2)).unwrap();
    program.run(&ctx, &Step::default()).unwrap();
    read.iter().map(|&dx| program.read_words(&ctx, t, dx).unwrap()).collect()
}

#[test]
fn shared_gradients_have_the_values_of_separate_ones() {
    let mut copies = [0, 0];
    for seed in 0..40 {
        let graph = graph(seed, 4 + seed % 9);
        let read: Vec<usize> =
            (1..graph.len()).filter(|&i| philox([seed, i as u32, 9, 0], [0, 0])[0].is_multiple_of(3)).collect();
        for read in [&[][..], &read] {
            let [shared, separate] = [false, true].map(|all| gradients(&graph, read, all));
            assert_eq!(shared, separate, "seed {seed}, read {read:?}: {graph:?}");
        }
        for (count, watches) in copies.iter_mut().zip([false, true]) {
            *count += add_copies(&graph, watches);
        }
    }
    assert!(copies[0] < copies[1], "nothing is shared: {copies:?}");
}

/// Number of gradients that are copied or added because they are not shared.
fn add_copies(graph: &[[u32; 3]], watches: bool) -> usize {
    let mut t = Tape::new(degrain::gpu::Target::LAVAPIPE);
    let x = t.named("x", Shape::f32(SHAPE));
    t.watch(x);
    let mut all = vec![x];
    for &[kind, a, b] in graph {
        let (a, b) = (all[a as usize], all[b as usize]);
        let y = if kind < 2 { silu(&mut t, a) } else { add(&mut t, a, b) };
        if watches {
            t.watch(y);
        }
        all.push(y);
    }
    let dy = t.named("dy", Shape::f32(SHAPE));
    t.backward(all[all.len() - 1], dy);
    t.calls().iter().filter(|call| call.dispatch.entry.label == "add.backward").count()
}
