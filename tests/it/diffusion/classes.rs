use super::golden;
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::Prediction;
use serde_json::Value;

/// Every class of schedulers with betas, as diffusers saves it (with NaN and infinity as Python
/// writes them) and with its defaults left out.
#[test]
fn scheduler_classes_have_the_betas_of_diffusers() {
    let golden = golden("scheduler_classes.json");
    let index: Vec<usize> = serde_json::from_value(golden["index"].clone()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 19 * 4 - 1);
    for case in cases {
        let saved = case["saved"].as_str().unwrap();
        for text in [saved.to_string(), case["minimal"].to_string()] {
            let (config, _) = SchedulerConfig::from_json(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let noise = config.noise_schedule().unwrap();
            for (&t, expected) in index.iter().zip(case["alphas_cumprod"].as_array().unwrap()) {
                let (found, expected) = (noise.alphas_cumprod()[t], expected.as_f64().unwrap());
                // diffusers multiplies up to 20 factors in float32.
                assert!((found - expected).abs() < 20.0 * f64::from(f32::EPSILON), "{text}: {found} at {t}");
            }
            let prediction: Value = serde_json::to_value(config.prediction).unwrap();
            let named = case["minimal"].get("prediction_type").cloned();
            assert_eq!(prediction, named.unwrap_or(serde_json::to_value(Prediction::Epsilon).unwrap()), "{text}");
        }
    }
    assert!(cases.iter().any(|case| case["saved"].as_str().unwrap().contains("-Infinity")), "a number of Python");
}
