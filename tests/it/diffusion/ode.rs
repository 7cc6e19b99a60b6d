//! The adaptive solver against solutions in closed form, and on the probability flow of a mixture
//! against itself with a smaller tolerance.

use super::linear::processes;
use super::mixture::expected;
use super::refusal;
use degrain::Error;
use degrain::diffusion::ode::{Settings, Solution, solve};

fn settings(tolerance: f64, rows: usize) -> Settings {
    Settings { relative: tolerance, absolute: tolerance, rows, ..Settings::default() }
}

fn solved(
    mut f: impl FnMut(f64, &[f64]) -> Vec<f64>,
    span: [f64; 2],
    x: &[f64],
    settings: Settings,
) -> degrain::Result<Solution> {
    let mut calls = 0;
    let mut counted = |t: f64, x: &[f64]| {
        let [low, high] = if span[0] < span[1] { span } else { [span[1], span[0]] };
        assert!((low..=high).contains(&t), "{t} is outside {span:?}");
        calls += 1;
        Ok(f(t, x))
    };
    let solution = solve(&mut counted, span, x.to_vec(), settings, &mut |_| Ok(()))?;
    assert_eq!(solution.evaluations, calls);
    Ok(solution)
}

#[test]
fn ode_solver_matches_closed_forms() {
    for tolerance in [1e-3, 1e-5, 1e-8, 1e-11] {
        let near = |solution: Solution, expected: &[f64]| {
            for (found, expected) in solution.x.iter().zip(expected) {
                assert!((found - expected).abs() < 20.0 * tolerance, "{tolerance:e}: {found} is not {expected}");
            }
        };
        // Decay, forwards and backwards.
        let decay = |span: [f64; 2], x: f64| solved(|_, x| vec![-x[0]], span, &[x], settings(tolerance, 1)).unwrap();
        near(decay([0.0, 2.0], 1.0), &[(-2f64).exp()]);
        near(decay([1.0, -0.5], 1.0), &[1.5f64.exp()]);
        // An oscillator, and a right-hand side of time alone.
        let turn = |_: f64, x: &[f64]| vec![x[1], -x[0]];
        near(solved(turn, [0.0, 3.0], &[0.0, 1.0], settings(tolerance, 1)).unwrap(), &[3f64.sin(), 3f64.cos()]);
        let of_time = |t: f64, _: &[f64]| vec![3.0 * t * t - 1.0 / (1.0 + t * t)];
        near(solved(of_time, [-1.0, 2.0], &[0.5], settings(tolerance, 1)).unwrap(), &[9.5 - 2f64.atan() - 1f64.atan()]);
        // x' = x² (1 + t), not linear.
        let square = |t: f64, x: &[f64]| vec![x[0] * x[0] * (1.0 + t)];
        near(solved(square, [0.0, 1.0], &[0.4], settings(tolerance, 1)).unwrap(), &[1.0 / (2.5 - 1.5)]);
    }
}

#[test]
fn ode_solver_has_order_five() {
    // At order p, the evaluations grow with the tolerance to the power -1/p: by 10 for 1e-5.
    let turn = |_: f64, x: &[f64]| vec![x[1], -x[0]];
    let [few, many] = [1e-6, 1e-11].map(|tolerance| {
        f64::from(solved(turn, [0.0, 20.0], &[0.0, 1.0], settings(tolerance, 1)).unwrap().evaluations)
    });
    assert!((7.0..13.0).contains(&(many / few)), "{few} {many}");
    // The solution is a polynomial of degree 4, which the method integrates exactly in few steps.
    let quartic = solved(|t, _| vec![5.0 * t.powi(4)], [0.0, 1.0], &[0.0], settings(1e-3, 1)).unwrap();
    assert!((quartic.x[0] - 1.0).abs() < 1e-14, "{}", quartic.x[0]);
}

#[test]
fn ode_solver_keeps_each_row_within_the_tolerance() {
    // One of a hundred images oscillates. The mean over all images hides its error, so that the
    // image alone is solved with more steps.
    let turn = |_: f64, x: &[f64]| {
        let mut slope = vec![0.0; x.len()];
        (slope[0], slope[1]) = (10.0 * x[1], -10.0 * x[0]);
        slope
    };
    let mut start = vec![1.0; 200];
    (start[0], start[1]) = (0.0, 1.0);
    let of = |rows| solved(turn, [0.0, 2.0], &start, settings(1e-6, rows)).unwrap();
    let alone = solved(turn, [0.0, 2.0], &[0.0, 1.0], settings(1e-6, 1)).unwrap();
    let (by_image, together) = (of(100), of(1));
    // The same steps, up to the rounding of their sizes.
    by_image.x[..2].iter().zip(&alone.x).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} {b}"));
    assert!((together.x[0] - 20f64.sin()).abs() > 2.0 * (by_image.x[0] - 20f64.sin()).abs());
    assert!(together.evaluations < by_image.evaluations);
}

/// The last number of each row is an integral. In the mean over the row its error would hardly count.
#[test]
fn ode_solver_keeps_single_numbers_within_the_tolerance() {
    let rate = |t: f64| 10.0 * (10.0 * t).cos();
    let wave = |t: f64, x: &[f64]| {
        let mut slope = vec![0.0; x.len()];
        slope[99] = rate(t);
        slope
    };
    let of = |alone| solved(wave, [0.0, 2.0], &[0.0; 200], Settings { alone, ..settings(1e-6, 2) }).unwrap();
    let single = solved(|t, _| vec![rate(t)], [0.0, 2.0], &[0.0], settings(1e-6, 1)).unwrap();
    let (alone, together) = (of(1), of(0));
    assert!((alone.x[99] - single.x[0]).abs() < 1e-12, "{} {}", alone.x[99], single.x[0]);
    assert_eq!(alone.evaluations, single.evaluations);
    assert!((together.x[99] - 20f64.sin()).abs() > 2.0 * (alone.x[99] - 20f64.sin()).abs());
}

#[test]
fn ode_solver_follows_the_flow_of_a_mixture() {
    for process in processes().into_iter().filter(|process| process.schedule().is_none()) {
        let scale = process.prior_std();
        let start: Vec<f64> = (-8..=8).map(|k| scale * 0.25 * f64::from(k)).collect();
        let flow = |t: f64, x: &[f64]| {
            let at = process.marginal(t);
            let slope = |x: &f64| {
                let [image, eps] = expected(&at, *x);
                at.alpha_rate * image + at.sigma_rate * eps
            };
            x.iter().map(slope).collect::<Vec<f64>>()
        };
        let of = |tolerance| solved(flow, process.t_range(), &start, settings(tolerance, start.len())).unwrap();
        let (usual, fine) = (of(1e-5), of(1e-8));
        let worst =
            usual.x.iter().zip(&fine.x).map(|(x, fine)| (x - fine).abs() / (1.0 + fine.abs())).fold(0.0, f64::max);
        assert!(worst < 1e-5, "{}: {worst:e}", process.describe());
        // A fifth-order method needs 10^(1/5) times the steps for a tenth of the tolerance.
        assert!(usual.evaluations < 320 && fine.evaluations < 800, "{} {}", usual.evaluations, fine.evaluations);
    }
}

#[test]
fn ode_solver_reports_progress_and_can_be_stopped() {
    let mut told = Vec::new();
    let mut decay = |_: f64, x: &[f64]| Ok(x.iter().map(|x| -x).collect());
    let mut tell = |t: f64| {
        told.push(t);
        Ok(())
    };
    solve(&mut decay, [1.0, 0.0], vec![1.0, 2.0], settings(1e-8, 2), &mut tell).unwrap();
    assert!(told.len() > 3 && told.windows(2).all(|t| t[1] < t[0]) && told.last() == Some(&0.0), "{told:?}");
    let stop = solve(&mut decay, [1.0, 0.0], vec![1.0], settings(1e-8, 1), &mut |_| Err(Error::Config("stop".into())));
    assert_eq!(refusal(stop), "stop");
    let mut broken = |_: f64, _: &[f64]| Err(Error::Config("broken".into()));
    assert_eq!(refusal(solve(&mut broken, [1.0, 0.0], vec![1.0], settings(1e-8, 1), &mut |_| Ok(()))), "broken");
    let nothing = solve(&mut broken, [0.5, 0.5], vec![1.0], settings(1e-8, 1), &mut |_| Ok(())).unwrap();
    assert_eq!((nothing.x, nothing.evaluations), (vec![1.0], 0));
}

#[test]
fn ode_solver_reports_that_it_has_no_steps_left() {
    let few = Settings { most_evaluations: 100, ..settings(1e-10, 1) };
    let turn = |_: f64, x: &[f64]| vec![x[1], -x[0]];
    let problem = refusal(solved(turn, [0.0, 100.0], &[0.0, 1.0], few));
    for part in [
        "between 0 and 100",
        "98 evaluations",
        "too many",
        "relative tolerance of 1e-10",
        "absolute one of 1e-10",
        "fixed steps",
    ] {
        assert!(problem.contains(part), "{part}: {problem}");
    }
    // A right-hand side that is NaN, from the beginning or from the middle on.
    for from in [0.0, 0.5] {
        let broken = |t: f64, _: &[f64]| vec![if t >= from { f64::NAN } else { 1.0 }];
        let problem = refusal(solved(broken, [0.0, 1.0], &[0.0], settings(1e-5, 1)));
        assert!(problem.contains("its steps vanish") && problem.contains(&format!("at time {from:.4}")), "{problem}");
    }
    // The solution 1/(1 - t) is infinite at 1.
    let problem = refusal(solved(|_, x| vec![x[0] * x[0]], [0.0, 2.0], &[1.0], settings(1e-5, 1)));
    assert!(problem.contains("at time 1.0000") && problem.contains("its steps vanish"), "{problem}");
}

#[test]
fn ode_solver_panics_if_lengths_differ() {
    let of = |rows: usize, answer: usize| {
        std::panic::catch_unwind(move || {
            let _ = solved(|_, _| vec![0.0; answer], [0.0, 1.0], &[0.0; 4], settings(1e-5, rows));
        })
    };
    assert!(of(2, 4).is_ok());
    assert!(of(3, 4).is_err() && of(0, 4).is_err() && of(2, 3).is_err());
}
