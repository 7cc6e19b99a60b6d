use super::{close, refusal};
use degrain::diffusion::{Labels, LossWeighting, NoiseSchedule, Prediction, Schedule, Target};

fn linear() -> NoiseSchedule {
    NoiseSchedule::new(&Schedule::default(), 1000, false).unwrap()
}

const PREDICTIONS: [Prediction; 3] = [Prediction::Epsilon, Prediction::Sample, Prediction::VPrediction];

#[test]
fn what_is_predicted_gives_image_and_noise_back() {
    let noise = linear();
    let table = noise.noising_table();
    let (image, eps) = (0.25, -1.5);
    for prediction in PREDICTIONS {
        let conversion = prediction.conversion(&noise).unwrap();
        for t in [0, 1, 499, 999] {
            let [a, b] = table[t].map(f64::from);
            let x = a * image + b * eps;
            let m = match prediction.target(&noise).unwrap() {
                Target::Noise => eps,
                Target::Image => image,
                Target::Velocity(table) => f64::from(table[t][0]) * image + f64::from(table[t][1]) * eps,
            };
            let [c0, c1, c2, c3] = conversion[t];
            // f32 tables: image and noise are lost by the factors with which they stand in x.
            assert!((c0 * x + c1 * m - image).abs() < 1e-6 / a, "{prediction} {t}");
            assert!((c2 * x + c3 * m - eps).abs() < 1e-6 / b, "{prediction} {t}");
        }
    }
}

#[test]
fn weightings_weigh_the_same_error_alike() {
    let noise = linear();
    let weights =
        |weighting: LossWeighting| PREDICTIONS.map(|prediction| weighting.weights(prediction, &noise).unwrap());
    assert!(weights(LossWeighting::Simple).iter().flatten().all(|&w| w == 1.0));
    let (min_snr, p2, snr_weights) =
        (weights("min_snr".parse().unwrap()), weights("p2".parse().unwrap()), weights("snr".parse().unwrap()));
    let mild = weights(LossWeighting::P2 { k: 2.0, gamma: 0.5 });
    for t in [0, 10, 250, 500, 999] {
        let (bar, snr) = (noise.alphas_cumprod()[t], noise.snr()[t]);
        let expect = |found: &[Vec<f32>; 3], expected: [f64; 3]| {
            found.iter().zip(expected).for_each(|(found, expected)| close(f64::from(found[t]), expected, 1e-6));
        };
        // Hang et al. 2023, section 3.4; Choi et al. 2022, eq. 8.
        let capped = snr.min(5.0);
        expect(&min_snr, [capped / snr, capped, capped / (snr + 1.0)]);
        expect(&p2, [1.0 / (1.0 + snr), snr / (1.0 + snr), bar / (1.0 + snr)]);
        expect(&mild, [(2.0 + snr).powf(-0.5), snr * (2.0 + snr).powf(-0.5), bar * (2.0 + snr).powf(-0.5)]);
        expect(&snr_weights, [1.0, snr, bar]);
    }
    assert!(min_snr[0][0] < 0.01 && min_snr[0][999] == 1.0);
    for gamma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(LossWeighting::MinSnr { gamma }.weights(Prediction::Sample, &noise)).contains("positive"));
    }
    assert!(refusal("min_snt".parse::<LossWeighting>()).contains("min_snr"));
    let zero = NoiseSchedule::new(&Schedule::default(), 1000, true).unwrap();
    let v = LossWeighting::MinSnr { gamma: 5.0 }.weights(Prediction::VPrediction, &zero).unwrap();
    assert!(v.iter().all(|w| w.is_finite()));
}

#[test]
fn guidance_needs_a_null_class() {
    let labels = Labels { classes: 10, dropout: 0.1 };
    assert_eq!((labels.null_class(), labels.embeddings()), (Some(10), 11));
    assert_eq!(labels.batch(&[3, 7], 2.0).unwrap(), [10, 10, 3, 7]);
    assert_eq!(labels.batch(&[3, 7], 1.0).unwrap(), [3, 7]);
    assert_eq!(labels.batch(&[3], 0.0).unwrap(), [10, 3]);
    assert!(refusal(labels.batch(&[10], 1.0)).contains("no class 10"));
    for scale in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(refusal(labels.guided(scale)).contains("guidance scale of"));
    }
    let undropped = Labels { classes: 10, dropout: 0.0 };
    assert_eq!((undropped.null_class(), undropped.embeddings()), (None, 10));
    assert!(refusal(undropped.batch(&[3], 2.0)).contains("dropout"));
    assert_eq!(undropped.batch(&[3], 1.0).unwrap(), [3]);
}
