//! Processes against their numerically integrated equations and against the formulas of their
//! papers.

use super::linear::processes;
use super::recovery::DARK;
use super::{close, refusal};
use degrain::diffusion::processes::{Edm, Flow, SubVp, Ve, Vp};
use degrain::diffusion::{Discrete, LossWeighting, Prediction, Process, ProcessConfig, TrainingTables};

/// Mean (of x_0 = 1) and variance at `times` of dx = f x dt + g dw, from the mean and variance at
/// `start`: m' = f m, V' = 2 f V + g², by the classical Runge-Kutta method.
fn moments(equation: impl Fn(f64) -> [f64; 2], start: (f64, [f64; 2]), times: &[f64]) -> Vec<[f64; 2]> {
    let slope = |t: f64, [mean, variance]: [f64; 2]| {
        let [f, g2] = equation(t);
        [f * mean, 2.0 * f * variance + g2]
    };
    let plus = |x: [f64; 2], k: [f64; 2], h: f64| [x[0] + h * k[0], x[1] + h * k[1]];
    let (mut t, mut x) = start;
    let mut reach = |&end: &f64| {
        let (from, steps) = (t, 2000);
        let h = (end - from) / f64::from(steps);
        for k in 0..steps {
            t = from + f64::from(k) * h;
            let first = slope(t, x);
            let second = slope(t + 0.5 * h, plus(x, first, 0.5 * h));
            let third = slope(t + 0.5 * h, plus(x, second, 0.5 * h));
            let fourth = slope(t + h, plus(x, third, h));
            x = [0, 1].map(|i| x[i] + h / 6.0 * (first[i] + 2.0 * second[i] + 2.0 * third[i] + fourth[i]));
        }
        t = end;
        x
    };
    times.iter().map(&mut reach).collect()
}

const TIMES: [f64; 7] = [1e-3, 0.01, 0.1, 0.3, 0.5, 0.8, 1.0];

#[test]
fn sde_marginals_match_the_simulated_equations() {
    let beta = |t: f64| 0.1 + 19.9 * t;
    let integral = |t: f64| 0.1 * t + 9.95 * t * t;
    let growth = 5000f64.ln();
    // Drift and diffusion as in Song et al. 2021, eq. 30 and appendix B, and the variance at time
    // 0.
    type Equation<'a> = Box<dyn Fn(f64) -> [f64; 2] + 'a>;
    let cases: [(Box<dyn Process>, Equation<'_>, f64); 3] = [
        (Box::new(Vp::default()), Box::new(|t| [-0.5 * beta(t), beta(t)]), 0.0),
        (Box::new(SubVp::default()), Box::new(|t| [-0.5 * beta(t), beta(t) * (1.0 - (-2.0 * integral(t)).exp())]), 0.0),
        (Box::new(Ve::default()), Box::new(|t| [0.0, 2.0 * growth * 1e-4 * (2.0 * growth * t).exp()]), 1e-4),
    ];
    for (process, equation, variance) in &cases {
        let own = |t: f64| {
            let at = process.marginal(t);
            [at.drift(), at.diffusion()]
        };
        for t in TIMES {
            let (found, expected) = (own(t), equation(t));
            assert!((found[0] - expected[0]).abs() <= 1e-9 * expected[0].abs(), "{} {t}", process.describe());
            close(found[1], expected[1], 1e-9);
        }
        let beginning = process.marginal(TIMES[0]);
        let of_own = moments(own, (TIMES[0], [beginning.alpha, beginning.sigma.powi(2)]), &TIMES);
        let of_paper = moments(equation, (0.0, [1.0, *variance]), &TIMES);
        for (&t, moments) in TIMES.iter().zip(&of_own).chain(TIMES.iter().zip(&of_paper)) {
            let at = process.marginal(t);
            close(moments[0], at.alpha, 1e-5);
            close(moments[1], at.sigma * at.sigma, 1e-5);
        }
    }
}

/// Times inside the range of a process that are not discrete timesteps.
fn inside(process: &dyn Process) -> Vec<f64> {
    let [noise, image] = process.t_range();
    [0.0203, 0.1103, 0.5003, 0.9003, 0.9903].iter().map(|part| noise + part * (image - noise)).collect()
}

#[test]
fn process_rates_are_the_derivatives_of_the_marginals() {
    for process in processes() {
        for t in inside(&*process) {
            let (at, h) = (process.marginal(t), 1e-5 * t);
            let (above, below) = (process.marginal(t + h), process.marginal(t - h));
            let near = |rate: f64, difference: f64, size: f64| {
                let error = (rate - difference / (2.0 * h)).abs();
                assert!(error <= 1e-6 * rate.abs() + 1e-15 * size / h, "{} {t}: {rate}", process.describe());
            };
            near(at.alpha_rate, above.alpha - below.alpha, at.alpha);
            near(at.sigma_rate, above.sigma - below.sigma, at.sigma);
        }
    }
}

#[test]
fn process_time_is_found_from_the_sigma_ratio() {
    for process in processes() {
        for t in inside(&*process).into_iter().chain(process.t_range()) {
            let ratio = process.marginal(t).sigma_ratio();
            let (found, length) = (process.time_of_ratio(ratio), process.t_range()[0]);
            assert!((found - t).abs() <= 1e-9 * length, "{} {t}: {found}", process.describe());
        }
    }
}

#[test]
fn process_converts_the_output_to_x0_and_eps() {
    let (image, noise) = (0.7, -1.3);
    for process in processes() {
        let times =
            process.training_times().into_iter().step_by(97).chain(process.t_range()).chain(process.timesteps(50));
        for t in times {
            let (at, view, c) = (process.marginal(t), process.parameterization(t), process.to_x0_eps(t));
            let (x, m) = (at.alpha * image + at.sigma * noise, view.target[0] * image + view.target[1] * noise);
            let what = format!("{} {t}: {c:?}", process.describe());
            assert!(c.iter().chain([&view.c_in, &view.time]).all(|number| number.is_finite()), "{what}");
            let size = |a: f64, b: f64| 1e-14 * (a.abs() * (at.alpha + at.sigma) * 2.0 + 2.0 * b.abs() + 1.0);
            assert!((c[0] * x + c[1] * m - image).abs() <= size(c[0], c[1]), "{what}");
            assert!((c[2] * x + c[3] * m - noise).abs() <= size(c[2], c[3]), "{what}");
        }
    }
}

#[test]
fn process_time_grids_decrease() {
    for process in processes() {
        let [noise, image] = process.t_range();
        for steps in [1, 2, 18, 1000] {
            let grid = process.timesteps(steps);
            assert_eq!(grid.len(), steps as usize);
            assert!((grid[0] - noise).abs() <= 1e-9 * noise, "{}: {}", process.describe(), grid[0]);
            let falls = grid.windows(2).all(|t| t[1] < t[0]) && grid[grid.len() - 1] >= image - 1e-9 * noise;
            assert!(falls, "{} {steps}", process.describe());
        }
    }
    // Karras et al. 2022, eq. 5.
    for (k, t) in Edm::default().timesteps(18).into_iter().enumerate() {
        let part = k as f64 / 17.0;
        close(t, (80f64.powf(1.0 / 7.0) * (1.0 - part) + 0.002f64.powf(1.0 / 7.0) * part).powi(7), 1e-12);
    }
}

#[test]
fn edm_preconditioning_matches_the_paper() {
    for data in [0.5, 0.3] {
        let process = Edm { sigma_data: Some(data), ..Edm::default() };
        for sigma in [0.002, 0.1, 0.5, 3.0, 80.0] {
            let (sum, [c0, c1, ..]) = (sigma * sigma + data * data, process.to_x0_eps(sigma));
            close(c0, data * data / sum, 1e-12); // c_skip
            close(c1, sigma * data / sum.sqrt(), 1e-12); // c_out
            let view = process.parameterization(sigma);
            close(view.c_in, 1.0 / sum.sqrt(), 1e-12); // c_in
            close(view.time, 1000.0 * 0.25 * f64::ln(sigma), 1e-12); // c_noise
            // Input and target have variance 1 for data with this standard deviation (appendix
            // B.6).
            let at = process.marginal(sigma);
            close(view.c_in.powi(2) * (at.alpha.powi(2) * data * data + at.sigma.powi(2)), 1.0, 1e-12);
            close(view.target[0].powi(2) * data * data + view.target[1].powi(2), 1.0, 1e-12);
            // lambda(sigma) c_out², the weight of the error of the network's output.
            close(sum / (sigma * data).powi(2) * c1 * c1, 1.0, 1e-12);
        }
        assert!(LossWeighting::Simple.weights(&process).unwrap().iter().all(|&weight| weight == 1.0));
    }
}

/// The equations with the prediction v have the input and the target of EDM for data whose root mean
/// square is 1, except for the sign.
#[test]
fn velocity_of_an_equation_has_unit_input_and_target() {
    let unit = Edm { sigma_data: Some(1.0), ..Edm::default() };
    for name in ["vp", "sub_vp", "ve"] {
        let config: ProcessConfig = name.parse().unwrap();
        let process = config.build(|| panic!("{name} is not discrete")).unwrap();
        for t in [1e-3, 0.1, 0.5, 0.9, 1.0] {
            let (at, view) = (process.marginal(t), process.parameterization(t));
            let of_edm = unit.parameterization(at.sigma_ratio());
            close(view.c_in * at.alpha, of_edm.c_in, 1e-12);
            close(view.target[0], -of_edm.target[0], 1e-12);
            close(view.target[1], -of_edm.target[1], 1e-12);
        }
    }
}

/// For data whose mean is not zero, the second moment takes the place of the variance.
#[test]
fn edm_input_and_target_have_unit_second_moment_for_dark_images() {
    let second = DARK.mean * DARK.mean + DARK.variance;
    let moments = |sigma_data: f64| {
        let process = Edm { sigma_data: Some(sigma_data), ..Edm::default() };
        let of = |t: f64| {
            let view = process.parameterization(t);
            let [p, q] = view.target;
            [view.c_in * view.c_in * (second + t * t), p * p * second + q * q]
        };
        process.training_times().into_iter().chain(process.t_range()).map(of).collect::<Vec<_>>()
    };
    moments(second.sqrt()).into_iter().flatten().for_each(|moment| close(moment, 1.0, 1e-12));
    let largest = moments(DARK.variance.sqrt()).into_iter().map(|[_, target]| target).fold(0.0, f64::max);
    assert!(largest > 2.4, "the standard deviation gives {largest}");
}

#[test]
fn edm_training_reaches_the_levels_of_sampling() {
    let process = Edm::default();
    let (times, [first, last]) = (process.training_times(), process.t_range());
    assert!(times[16_383] >= first, "sampling starts at {first}, and training ends at {}", times[16_383]);
    assert!(times[0] <= last, "sampling ends at {last}, and training starts at {}", times[0]);
    assert_eq!(process.warning(), None);
    let low = Edm { p_mean: -1.2, p_std: 1.2, ..process };
    let warning = low.warning().unwrap();
    for part in ["up to 37.0", "sigma_max = 80", "p_mean = -1.2"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert_eq!(Edm { sigma_max: 36.0, ..low }.warning(), None);
}

#[test]
fn edm_training_noise_is_log_normal() {
    let times = Edm::default().training_times();
    let z: Vec<f64> = times.iter().map(|t| (t.ln() + 0.8) / 1.6).collect();
    assert_eq!(z.len(), 16_384);
    // The distribution function by Simpson's rule.
    let below = |z: f64| {
        let (steps, h) = (20_000, (z + 9.0) / 20_000.0);
        let density = |k: i32| (-0.5 * (h * f64::from(k) - 9.0).powi(2)).exp();
        let weight = |k: i32| if k == 0 || k == steps { 1.0 } else { f64::from(2 + 2 * (k % 2)) };
        (0..=steps).map(|k| weight(k) * density(k)).sum::<f64>() * h / 3.0 / (2.0 * std::f64::consts::PI).sqrt()
    };
    for k in [0, 1, 10, 500, 1228, 1229, 4000, 8191, 8192, 12_000, 15_154, 15_155, 16_000, 16_383] {
        let expected = (k as f64 + 0.5) / 16_384.0;
        assert!((below(z[k]) - expected).abs() < 1e-12 * expected.min(1.0 - expected).max(1e-2), "{k}: {}", z[k]);
    }
    assert!(z.windows(2).all(|z| z[0] < z[1]));
}

#[test]
fn flow_paths_are_straight() {
    let flow = Flow::default();
    for t in [0.0, 0.25, 1.0] {
        let (at, view) = (flow.marginal(t), flow.parameterization(t));
        assert_eq!((at.alpha, at.sigma, view.target, view.c_in), (1.0 - t, t, [-1.0, 1.0], 1.0));
        // x_0 = x - t v, eps = x + (1 - t) v for the velocity v = eps - x_0.
        assert_eq!(flow.to_x0_eps(t), [1.0, -t, 1.0, 1.0 - t]);
    }
    assert_eq!(flow.timesteps(4), [1.0, 0.75, 0.5, 0.25]);
    assert_eq!((flow.time_of_ratio(f64::INFINITY), flow.time_of_ratio(1.0), flow.time_of_ratio(0.0)), (1.0, 0.5, 0.0));
}

#[test]
fn process_inputs_of_the_network_are_bounded() {
    for process in processes() {
        let tables = TrainingTables::new(&*process);
        assert_eq!((tables.times.len(), tables.input_factors.len()), (tables.target.len(), tables.times.len()));
        for (time, [a, b]) in tables.times.iter().zip(&tables.input_factors) {
            assert!(time.abs() < 2000.0 && a.abs() <= 2.01 && b.abs() <= 1.0, "{} {time} {a} {b}", process.describe());
        }
    }
    close(Ve::default().parameterization(0.5).c_in, (0.25f64 + 0.5).sqrt().recip(), 1e-12); // sigma(1/2)² = 0.01 · 50
}

#[test]
fn process_config_is_read_by_name() {
    let discrete = || -> degrain::Result<Discrete> { panic!("the discrete process is not among them") };
    let named = ProcessConfig::all_defaults().into_iter().filter(|process| *process != ProcessConfig::Discrete);
    for process in named {
        let name = process.to_string();
        assert_eq!(name.parse::<ProcessConfig>().unwrap(), process.predicting(Prediction::VPrediction));
        // Files of earlier versions have no prediction: it was the noise.
        assert_eq!(serde_json::from_str::<ProcessConfig>(&format!(r#"{{"name":"{name}"}}"#)).unwrap(), process);
        let written = serde_json::to_string(&process).unwrap();
        assert_eq!(serde_json::from_str::<ProcessConfig>(&written).unwrap(), process, "{written}");
        assert!(serde_json::from_str::<ProcessConfig>(&format!(r#"{{"name":"{name}","sigma_mix":1}}"#)).is_err());
        process.build(discrete).unwrap();
    }
    let read = |text: &str| serde_json::from_str::<ProcessConfig>(text).unwrap().build(discrete);
    let half = read(r#"{"name":"edm","sigma_data":0.25}"#).unwrap();
    close(half.to_x0_eps(1.0)[1], 0.25 / (1.0f64 + 0.0625).sqrt(), 1e-12);
    close(read(r#"{"name":"sub_vp","beta_max":10}"#).unwrap().marginal(1.0).alpha, (-0.5f64 * 5.05).exp(), 1e-12);
    for (text, number) in [
        (r#"{"name":"vp","beta_min":0}"#, "beta_min = 0"),
        (r#"{"name":"sub_vp","beta_max":0.01}"#, "beta_max = 0.01"),
        (r#"{"name":"ve","sigma_min":60}"#, "sigma_min = 60"),
        (r#"{"name":"edm","sigma_max":0.001}"#, "sigma_max = 0.001"),
        (r#"{"name":"edm","sigma_data":0}"#, "sigma_data = 0"),
        (r#"{"name":"edm","p_std":-1}"#, "p_std = -1"),
    ] {
        let problem = refusal(read(text));
        assert!(problem.contains(number) && problem.contains("process "), "{problem}");
    }
    assert!(refusal("vpp".parse::<ProcessConfig>()).contains("`vpp`"));
}
