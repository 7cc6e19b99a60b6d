use super::{close, refusal};
use degrain::diffusion::processes::{Edm, SubVp, Vp};
use degrain::diffusion::{
    BetaSchedule, Discrete, Labels, LossWeighting, NoiseSchedule, Prediction, Process, TrainingTables,
};

fn linear() -> NoiseSchedule {
    NoiseSchedule::new(&BetaSchedule::default(), 1000, false).unwrap()
}

const PREDICTIONS: [Prediction; 3] = [Prediction::Epsilon, Prediction::Sample, Prediction::VPrediction];

fn along(noise: &NoiseSchedule, prediction: Prediction) -> Discrete {
    Discrete::new(noise.clone(), prediction).unwrap()
}

#[test]
fn prediction_targets_give_x0_and_eps_back() {
    let noise = linear();
    let (image, eps) = (0.25, -1.5);
    for prediction in PREDICTIONS {
        let process = along(&noise, prediction);
        let tables = TrainingTables::new(&process);
        assert_eq!((tables.times[0], tables.times[999], tables.times.len()), (0.0, 999.0, 1000));
        for t in [0, 1, 499, 999] {
            let bar = noise.alphas_cumprod()[t];
            assert_eq!(tables.input_factors[t], [bar.sqrt() as f32, (1.0 - bar).sqrt() as f32]);
            let [a, b] = tables.input_factors[t].map(f64::from);
            let x = a * image + b * eps;
            let [p, q] = tables.target[t].map(f64::from);
            let expected = match prediction {
                Prediction::Epsilon => [0.0, 1.0],
                Prediction::Sample => [1.0, 0.0],
                Prediction::VPrediction => [-b, a],
            };
            assert_eq!([p, q], expected, "{prediction} {t}");
            let m = p * image + q * eps;
            let [c0, c1, c2, c3] = process.to_x0_eps(t as f64);
            // The tables are f32: the smaller the factor of x_0 or eps in x_t, the larger its
            // error.
            assert!((c0 * x + c1 * m - image).abs() < 1e-6 / a, "{prediction} {t}");
            assert!((c2 * x + c3 * m - eps).abs() < 1e-6 / b, "{prediction} {t}");
        }
    }
}

#[test]
fn loss_weighting_is_equal_for_all_predictions() {
    let noise = linear();
    let weights =
        |weighting: LossWeighting| PREDICTIONS.map(|prediction| weighting.weights(&along(&noise, prediction)).unwrap());
    assert!(weights(LossWeighting::Simple).iter().flatten().all(|&w| w == 1.0));
    let (min_snr, p2, snr_weights) =
        (weights("min_snr".parse().unwrap()), weights("p2".parse().unwrap()), weights("snr".parse().unwrap()));
    let plus_one = weights("min_snr_plus_one".parse().unwrap());
    let mild = weights(LossWeighting::P2 { k: 2.0, gamma: 0.5 });
    for t in [0, 10, 250, 500, 999] {
        let (bar, snr) = (noise.alphas_cumprod()[t], noise.snr()[t]);
        let expect = |found: &[Vec<f32>; 3], expected: [f64; 3]| {
            found.iter().zip(expected).for_each(|(found, expected)| close(f64::from(found[t]), expected, 1e-6));
        };
        // Hang et al. 2023, section 3.4; Choi et al. 2022, eq. 8.
        let capped = snr.min(5.0);
        expect(&min_snr, [capped / snr, capped, capped / (snr + 1.0)]);
        let capped = (snr + 1.0).min(5.0);
        expect(&plus_one, [capped / snr, capped, capped / (snr + 1.0)]);
        expect(&p2, [1.0 / (1.0 + snr), snr / (1.0 + snr), bar / (1.0 + snr)]);
        expect(&mild, [(2.0 + snr).powf(-0.5), snr * (2.0 + snr).powf(-0.5), bar * (2.0 + snr).powf(-0.5)]);
        expect(&snr_weights, [1.0, snr, bar]);
    }
    assert!(min_snr[0][0] < 0.01 && min_snr[0][999] == 1.0);
    for gamma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            refusal(LossWeighting::MinSnr { gamma }.weights(&along(&noise, Prediction::Sample))).contains("positive")
        );
    }
    assert!(refusal("min_snt".parse::<LossWeighting>()).contains("min_snr"));
    let zero = NoiseSchedule::new(&BetaSchedule::default(), 1000, true).unwrap();
    // The weights of the error of the image are 0 in pure noise.
    for weighting in
        [LossWeighting::Snr, LossWeighting::MinSnr { gamma: 5.0 }, LossWeighting::P2 { k: 1.0, gamma: 1.0 }]
    {
        for prediction in [Prediction::VPrediction, Prediction::Sample] {
            let problem = refusal(weighting.weights(&along(&zero, prediction)));
            assert!(problem.contains("--loss-weighting") && problem.contains("--zero-terminal-snr"), "{problem}");
        }
    }
    let v = |weighting: LossWeighting| weighting.weights(&along(&zero, Prediction::VPrediction)).unwrap();
    assert!(v(LossWeighting::Simple).iter().all(|w| *w == 1.0));
    assert_eq!(v(LossWeighting::MinSnrPlusOne { gamma: 5.0 })[999], 1.0);
}

#[test]
fn likelihood_weighting_matches_the_diffusion_coefficient() {
    let (vp, sub_vp) = (Vp::default(), SubVp::default());
    let cases: [&dyn Process; 2] = [&vp, &sub_vp];
    for process in cases {
        let weights = LossWeighting::Likelihood.weights(process).unwrap();
        for (&t, &weight) in process.training_times().iter().zip(&weights).step_by(1000) {
            // Song et al. 2021c, theorem 1: g² |score error|², where the output is the score times
            // -sigma.
            let integral = 0.1 * t + 0.5 * 19.9 * t * t;
            let exact = -(-integral).exp_m1();
            let (g2, sigma) = if process.describe().starts_with("sub") {
                ((0.1 + 19.9 * t) * -(-2.0 * integral).exp_m1(), exact)
            } else {
                (0.1 + 19.9 * t, exact.sqrt())
            };
            close(f64::from(weight), g2 / (sigma * sigma), 1e-6);
        }
    }
    for process in [&Edm::default() as &dyn Process, &along(&linear(), Prediction::Epsilon)] {
        assert!(refusal(LossWeighting::Likelihood.weights(process)).contains("stochastic differential equation"));
    }
}

#[test]
fn guidance_needs_a_null_class() {
    let labels = Labels { classes: 10, dropout: 0.1 };
    assert_eq!((labels.null_class(), labels.embeddings()), (Some(10), 11));
    assert_eq!(labels.batch(&[3, 7], 2.0).unwrap(), [10, 10, 3, 7]);
    assert_eq!(labels.batch(&[3, 7], 1.0).unwrap(), [3, 7]);
    assert_eq!(labels.batch(&[3], 0.0).unwrap(), [10], "no label: the null class alone");
    assert!(!labels.guided(0.0).unwrap() && labels.guided(0.5).unwrap());
    assert!(refusal(labels.batch(&[10], 1.0)).contains("no class 10"));
    for scale in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(refusal(labels.guided(scale)).contains("guidance scale of"));
    }
    let undropped = Labels { classes: 10, dropout: 0.0 };
    assert_eq!((undropped.null_class(), undropped.embeddings()), (None, 10));
    assert!(refusal(undropped.batch(&[3], 2.0)).contains("dropout"));
    assert_eq!(undropped.batch(&[3], 1.0).unwrap(), [3]);
}
