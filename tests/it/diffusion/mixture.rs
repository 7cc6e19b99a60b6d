//! Data from a mixture of two normal distributions, for which the optimal output of a network is
//! known and not linear: orders of convergence.

use super::linear::{plan, row};
use degrain::diffusion::process::Marginal;
use degrain::diffusion::processes::{Edm, Flow, SubVp, Ve, Vp};
use degrain::diffusion::{Process, SamplerName, SamplerOptions};

/// Mean, standard deviation and share of each part.
const PARTS: [[f64; 3]; 2] = [[-0.6, 0.25, 0.4], [0.5, 0.3, 0.6]];

/// E[x_0 | x] and E[eps | x].
pub fn expected(at: &Marginal, x: f64) -> [f64; 2] {
    let of = |[mean, deviation, share]: [f64; 3]| {
        let (away, total) = (x - at.alpha * mean, (at.alpha * deviation).powi(2) + at.sigma * at.sigma);
        let image = mean + at.alpha * deviation * deviation * away / total;
        (share.ln() - 0.5 * total.ln() - 0.5 * away * away / total, [image, at.sigma * away / total])
    };
    let [first, second] = PARTS.map(of);
    let share = 1.0 / (1.0 + (second.0 - first.0).exp());
    [0, 1].map(|i| share * first.1[i] + (1.0 - share) * second.1[i])
}

/// The sample from an initial x of this many standard deviations of the prior.
fn led(name: SamplerName, process: &dyn Process, steps: u32, deviations: f64) -> f64 {
    let (mut x, mut h) = (process.prior_std() * deviations, 0.0);
    for stage in plan(name, SamplerOptions::default(), process, steps).stages() {
        let (c, [p, q]) = (row(process, stage), process.parameterization(stage.time).target);
        let [image, noise] = expected(&process.marginal(stage.time), x);
        let m = p * image + q * noise;
        let (image, noise) = (c[0] * x + c[1] * m, c[2] * x + c[3] * m);
        assert_eq!(c[7], 0.0);
        (x, h) = (c[4] * image + c[5] * x + c[6] * noise + c[8] * h, c[9] * image + c[10] * x + c[11] * noise);
    }
    x
}

#[test]
fn samplers_have_their_order_of_convergence() {
    let (vp, sub_vp, ve) = (Vp::default(), SubVp::default(), Ve::default());
    let (edm, flow) = (Edm::default(), Flow::default());
    let everywhere: [&dyn Process; 5] = [&vp, &sub_vp, &ve, &edm, &flow];
    let cases: [(SamplerName, f64, &[&dyn Process]); 4] = [
        (SamplerName::Euler, 1.0, &everywhere),
        (SamplerName::Heun, 2.0, &everywhere),
        (SamplerName::Midpoint, 2.0, &[&flow]),
        (SamplerName::DpmSolver, 2.0, &[&edm]),
    ];
    for (name, order, along) in cases {
        for &process in along {
            for deviations in [-1.2, 0.4, 1.1] {
                // The numbers of steps double the parts of the Karras grid, except for its last
                // step.
                let extra = u32::from(process.describe() != flow.describe());
                let at = [128, 256, 512].map(|steps| led(name, process, steps + extra, deviations));
                let found = ((at[0] - at[1]) / (at[1] - at[2])).log2();
                let what = format!("{} for {} from {deviations}", name.name(), process.describe());
                assert!((found - order).abs() < 0.15, "{what}: order {found}");
            }
        }
    }
}
