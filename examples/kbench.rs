use degrain::gpu::{Checks, Gpu, Memory, Target};
use degrain::ops::ALL;
use degrain::tape::*;
use std::time::Instant;
fn cpu() -> f64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|t| {
            std::fs::read_to_string(t.unwrap().path().join("schedstat"))
                .unwrap_or_default()
                .split(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap_or(0.0)
        })
        .sum()
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut gpu =
        Gpu::open_with(None, if args.iter().any(|a| a == "checks") { Checks::On } else { Checks::Off }).unwrap();
    if args.iter().any(|a| a == "tiles") {
        gpu.set_target(Target::TILES);
    }
    for s in degrain::ops::SHADERS {
        gpu.replace_shader(s.name, Some(std::fs::read_to_string(format!("shaders/{}.wgsl", s.name)).unwrap()));
    }
    let filter = args.get(1).cloned().unwrap_or_default();
    let only: Vec<usize> = args.iter().skip(2).filter_map(|a| a.parse().ok()).collect();
    for op in ALL.iter().filter(|o| filter.split(',').any(|f| f == o.name)) {
        for (number, case) in
            (if let Some(n) = args.iter().find_map(|a| a.strip_prefix("mm").and_then(|n| n.parse::<u32>().ok())) {
                vec![Case {
                    op: std::rc::Rc::new(degrain::ops::matmul::Matmul),
                    inputs: vec![(Shape::f32([n, n]), Fill::Normal(1.0)); 2],
                }]
            } else {
                (op.bench)()
            })
            .into_iter()
            .enumerate()
        {
            if !only.is_empty() && !only.contains(&number) {
                continue;
            }
            let mut tape = Tape::new(gpu.target());
            let mut memory = Memory::new();
            let inputs: Vec<Tensor> =
                case.inputs.iter().enumerate().map(|(i, &(s, _))| tape.memory(&format!("i{i}"), s)).collect();
            for &x in &inputs {
                tape.watch(x);
            }
            let y = tape.apply_shared(case.op.clone(), &inputs)[0];
            let shape = tape.shape(y);
            let dy = tape.memory("dy", shape);
            tape.backward(y, dy);
            let t0 = Instant::now();
            let program = Program::compile(&gpu, &tape, &mut memory).unwrap();
            let created = t0.elapsed().as_secs_f64();
            let t0 = cpu();
            program.run(&gpu, &Step::default()).unwrap();
            gpu.wait().unwrap();
            let first = (cpu() - t0) * 1e-9;
            let mut best = vec![f64::MAX; tape.calls().len()];
            for (i, b) in best.iter_mut().enumerate() {
                for _ in 0..3 {
                    let c = cpu();
                    for _ in 0..4 {
                        program.run_calls(&gpu, i..i + 1, &Step::default()).unwrap();
                    }
                    gpu.wait().unwrap();
                    *b = b.min((cpu() - c) / 8.0);
                }
            }
            let shapes: Vec<_> = case.inputs.iter().take(2).map(|(s, _)| *s).collect();
            print!(
                "{:2} {:?} {:?} create {:.0} ms first {:.0} ms:",
                number,
                case.op,
                shapes,
                created * 1e3,
                first * 1e3
            );
            for (call, ns) in tape.calls().iter().zip(&best) {
                if call.flops > 1_000_000 {
                    print!(
                        "  {} {:.2} ms {:.1}",
                        call.dispatch.entry.label.split('_').next().unwrap().to_string()
                            + "."
                            + call.dispatch.entry.name,
                        ns / 1e6,
                        call.flops as f64 / ns
                    );
                } else {
                    print!("  ({} {:.2})", call.dispatch.entry.name, ns / 1e6);
                }
            }
            println!();
        }
    }
}
