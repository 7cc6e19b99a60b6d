//! Importance sampling of timesteps over many steps, from a state of zeros to the distribution of
//! the losses, and draws from it.

use degrain::gpu::Context;
use degrain::ops::{
    BatchPart, HISTORY_LENGTH, ImportanceState, importance_sampling, random_timesteps, weighted_timesteps,
};
use degrain::tape::{Program, Shape, Step, Tape};

/// The state of importance sampling, with its initial values.
struct State {
    timesteps: u32,
    ctx: Context,
}

impl State {
    fn new(ctx: &Context, timesteps: u32) -> State {
        let mut state = State { timesteps, ctx: ctx.fork() };
        let zeros = vec![0u32; (timesteps * HISTORY_LENGTH) as usize];
        let ones = vec![1f32.to_bits(); timesteps as usize];
        state.write("history", &zeros);
        state.write("count", &zeros[..timesteps as usize]);
        state.write("weights", &ones);
        state.write("cdf", &zeros[..timesteps as usize]);
        state
    }

    fn write(&mut self, name: &str, words: &[u32]) {
        self.ctx.require(name, (words.len() as u64 * 4).next_multiple_of(16)).expect("memory");
        self.ctx.write(name, 0, words).expect("writes");
    }

    fn read(&self, name: &str) -> Vec<f32> {
        self.ctx.read(name, 0, self.timesteps as usize).expect("reads")
    }

    fn tensors(&self, tape: &mut Tape) -> ImportanceState {
        let row = Shape::f32([self.timesteps]);
        let history = tape.named("history", Shape::f32([self.timesteps, HISTORY_LENGTH]));
        ImportanceState {
            history,
            count: tape.named("count", row),
            weights: tape.named("weights", row),
            cdf: tape.named("cdf", row),
        }
    }

    /// Runs one update.
    fn update(&mut self, losses: &[f32], timesteps: &[u32]) {
        let batch = losses.len() as u32;
        let [losses_name, timesteps_name] = ["losses", "timesteps"].map(|name| format!("{name} of {batch}"));
        self.write(&losses_name, &losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>());
        self.write(&timesteps_name, timesteps);
        let mut tape = Tape::new(self.ctx.target());
        let (x, t) = (tape.named(&losses_name, Shape::f32([batch])), tape.named(&timesteps_name, Shape::u32([batch])));
        let state = self.tensors(&mut tape);
        importance_sampling(&mut tape, x, t, state);
        let program = Program::compile(&mut self.ctx, &tape).expect("compiles");
        program.run(&self.ctx, &Step::default()).expect("runs");
    }

    /// Draws timesteps from the distribution, or uniformly.
    fn draw(&mut self, batch: u32, weighted: bool) -> Vec<u32> {
        let mut tape = Tape::new(self.ctx.target());
        let t = if weighted {
            let cdf = self.tensors(&mut tape).cdf;
            weighted_timesteps(&mut tape, cdf, BatchPart::all(batch), self.timesteps)
        } else {
            random_timesteps(&mut tape, BatchPart::all(batch), self.timesteps)
        };
        let program = Program::compile(&mut self.ctx, &tape).expect("compiles");
        program.run(&self.ctx, &Step { seed_low: 5, ..Step::default() }).expect("runs");
        program.read_words(&self.ctx, &tape, t).expect("reads")
    }
}

#[test]
fn importance_sampling_goes_from_uniform_to_the_distribution_of_the_losses() {
    for ctx in [crate::common::context(), crate::common::context_with_tiles()] {
        let timesteps = 5;
        let mut state = State::new(&ctx, timesteps);
        assert_eq!(state.draw(300, true), state.draw(300, false), "zeros are uniform");
        let all: Vec<u32> = (0..timesteps).collect();
        let losses = |factor: f32| all.iter().map(|&t| factor * (t + 1) as f32).collect::<Vec<_>>();
        // Losses that are not finite, or whose squares are not, are left out: after these and nine
        // losses each, no timestep has ten.
        state.update(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e18, -f32::NAN], &all);
        (0..9).for_each(|_| state.update(&losses(100.0), &all));
        assert_eq!(state.read("weights"), [1.0; 5]);
        assert_eq!(state.read("cdf"), [0.2, 0.4, 0.6, 0.8, 1.0]);
        // Only the last ten losses count, whether they come one by one or several in a batch.
        (0..100).for_each(|_| state.update(&losses(7.0), &all));
        (0..5).for_each(|_| state.update(&[losses(3.0), losses(1.0)].concat(), &[&all[..], &all].concat()));
        let root = f64::sqrt((9.0 + 1.0) / 2.0);
        let total: f64 = (1..=timesteps).map(|k| root * f64::from(k)).sum();
        let p = |t: u32| 0.999 * root * f64::from(t + 1) / total + 0.001 / f64::from(timesteps);
        let (weights, cdf) = (state.read("weights"), state.read("cdf"));
        let mut reached = 0.0;
        for t in 0..timesteps {
            reached += p(t);
            let (weight, cdf) = (f64::from(weights[t as usize]), f64::from(cdf[t as usize]));
            assert!((weight * p(t) * f64::from(timesteps) - 1.0).abs() < 1e-6, "weight {weight} of {t}");
            assert!((cdf - reached).abs() < 1e-6, "cdf {cdf} of {t}, not {reached}");
        }
        // Draws fall on t as often as p says, within five standard deviations.
        let draws = state.draw(60_000, true);
        for t in 0..timesteps {
            let (found, expected) = (draws.iter().filter(|&&d| d == t).count() as f64, p(t) * draws.len() as f64);
            assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{found} draws of {t}, not {expected}");
        }
    }
}

/// Bisection needs cumulative probabilities that never decrease, despite rounding.
#[test]
fn importance_sampling_cdf_never_decreases() {
    for ctx in [crate::common::context(), crate::common::context_with_tiles()] {
        for timesteps in [1, 999, 4096] {
            let mut state = State::new(&ctx, timesteps);
            let all: Vec<u32> = (0..timesteps).collect();
            // A few timesteps have a thousand times the loss of others, whose probability is
            // smaller than the rounding error.
            let losses: Vec<f32> = all.iter().map(|t| if t % 97 == 3 { 1.0 } else { 1e-3 / (t + 1) as f32 }).collect();
            (0..HISTORY_LENGTH).for_each(|_| state.update(&losses, &all));
            let cdf = state.read("cdf");
            assert!(cdf.windows(2).all(|pair| pair[0] <= pair[1]), "it decreases");
            assert!((cdf[cdf.len() - 1] - 1.0).abs() < 1e-5, "it ends at {:?}", cdf.last());
        }
    }
}
