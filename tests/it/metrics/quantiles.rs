use super::{close, expected, numbers};
use degrain::metrics::Quantiles;

#[test]
fn quantiles_match_numpy() {
    for case in expected("quantiles").as_array().unwrap() {
        let values = numbers(&case["values"]);
        let q = Quantiles::from_values(&values);
        assert_eq!(q.count as usize, values.len());
        let got = [q.min, q.percentile_1, q.quartile_1, q.median, q.quartile_3];
        for (got, expected) in got.into_iter().zip(numbers(&case["quantiles"])) {
            close(got, expected, 1e-13);
        }
    }
}

#[test]
fn quantiles_with_an_infinite_value_stay_finite_below_it() {
    let q = Quantiles::from_values(&[1.0, f64::INFINITY, 0.0, 2.0, 3.0]);
    assert_eq!([q.min, q.quartile_1, q.median, q.quartile_3], [0.0, 1.0, 2.0, 3.0]);
}

#[test]
#[should_panic(expected = "the quantiles of no values")]
fn quantiles_of_no_values_panic() {
    Quantiles::from_values(&[]);
}
