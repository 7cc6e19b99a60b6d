use degrain::gpu::{Gpu, Memory};
use degrain::nn::PARAMETERS;
use degrain::ops::{denoise, noise, timesteps};
use degrain::tape::{Program, Shape, Step, Tape, purpose};
use degrain::train::{Session, Settings, Size};
use std::collections::BTreeMap;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let size = if a[1] == "small" { Size::Small } else { Size::Tiny };
    let batch: u32 = a[2].parse().unwrap();
    let what = a[3].as_str();
    let runs: usize = a[4].parse().unwrap();
    let detail = a.iter().any(|x| x == "detail");
    let t0 = Instant::now();
    let gpu = Gpu::open(None).unwrap();
    if let Some(dir) = a.iter().position(|x| x == "shaders").map(|i| &a[i + 1]) {
        for f in std::fs::read_dir(dir).unwrap() {
            let p = f.unwrap().path();
            if p.extension().is_some_and(|e| e == "wgsl") {
                gpu.replace_shader(
                    p.file_stem().unwrap().to_str().unwrap(),
                    Some(std::fs::read_to_string(&p).unwrap()),
                );
            }
        }
    }
    println!("open {:?}", t0.elapsed());
    let settings = Settings { size: Some(size), batch: Some(batch), ..Settings::default() };
    let s = Session::open(&gpu, settings).unwrap();
    println!("session {:?}", t0.elapsed());
    let job = s.job();
    let mut memory = Memory::new();
    job.load(&gpu, &mut memory).unwrap();
    println!("load {:?}", t0.elapsed());
    let tape = if what == "train" {
        job.training(gpu.target()).unwrap()
    } else {
        let mut tape = Tape::new(gpu.target());
        let t = &mut tape;
        let shape = Shape::f32([batch, 1, 28, 28]);
        let _ = (purpose::SAMPLE, noise::noise as usize);
        let x = t.memory("s.x", shape);
        let list = t.memory("s.timesteps", Shape::u32([50]));
        let table = t.memory("s.table", Shape::f32([50, denoise::COEFFICIENTS]));
        let time = timesteps::scheduled_timesteps(t, list, batch);
        let labels = Some(t.memory("s.labels", Shape::u32([batch])));
        let w = s.unet.parameters().fixed(t, PARAMETERS);
        let model = s.unet.forward(t, &w, x, time, labels);
        denoise::denoise(t, x, model, table, denoise::Denoise { clip: 1.0, guided: false });
        tape
    };
    println!("tape {:?}", t0.elapsed());
    let program = Program::compile(&gpu, &tape, &mut memory).unwrap();
    println!("compile {:?} pipelines {} calls {}", t0.elapsed(), gpu.pipeline_count(), tape.calls().len());
    memory
        .write(&gpu, PARAMETERS, 0, &s.unet.parameters().initialise(0, degrain::nn::Initialization::PyTorch))
        .unwrap();
    let step: Step = degrain::train::step(&s.config, job.training_images(), 0);
    println!("init {:?}", t0.elapsed());
    program.run(&gpu, &step).unwrap();
    println!("run {:?}", t0.elapsed());
    gpu.wait().unwrap();
    println!("first {:?}", t0.elapsed());
    print!("{}", tape.summary());
    let mut best: Vec<f64> = vec![];
    for r in 0..runs {
        let t = program.run_timed(&gpu, &step).unwrap();
        if r == 0 { best = t } else { best.iter_mut().zip(t).for_each(|(b, t)| *b = b.min(t)) }
    }
    let mut rows: BTreeMap<String, (usize, f64, u64, u64)> = BTreeMap::new();
    let mut pipes: BTreeMap<&str, std::collections::BTreeSet<Vec<u64>>> = BTreeMap::new();
    for (c, t) in tape.calls().iter().zip(&best) {
        let l = c.dispatch.entry.label;
        pipes.entry(l).or_default().insert(c.dispatch.constants.iter().map(|c| c.to_bits()).collect());
        let key = if detail {
            let sh: Vec<String> = c.dispatch.operands.iter().map(|&x| tape.shape(x).to_string()).collect();
            format!("{l} {:?} {:?} {}", c.groups, c.dispatch.constants, sh.join(" "))
        } else {
            l.to_string()
        };
        let e = rows.entry(key).or_default();
        e.0 += 1;
        e.1 += t / 1e6;
        e.2 += c.flops;
        e.3 += tape.bytes(c);
    }
    let total: f64 = rows.values().map(|r| r.1).sum();
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    println!("total {total:.1} ms");
    for (k, (n, ms, f, b)) in rows {
        let p = pipes.get(k.as_str()).map_or(0, |p| p.len());
        println!(
            "{ms:9.2} ms {:5.1}% n={n:3} pipes={p:2} {:7.1} GFLOP/s {:6.2} GB/s  {k}",
            100.0 * ms / total,
            f as f64 / ms / 1e6,
            b as f64 / ms / 1e6
        );
    }
    // steps
    let mut times = vec![];
    for _ in 0..runs.min(5) {
        let t = Instant::now();
        program.run(&gpu, &step).unwrap();
        let enc = t.elapsed();
        gpu.wait().unwrap();
        times.push((enc, t.elapsed()));
    }
    println!("steps {times:?}");
}
