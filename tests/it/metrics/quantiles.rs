use super::{close, expected, numbers};
use degrain::metrics::Quantiles;

#[test]
fn quantiles_are_those_of_numpy() {
    for case in expected("quantiles").as_array().unwrap() {
        let values = numbers(&case["values"]);
        let q = Quantiles::of(&values);
        assert_eq!(q.count as usize, values.len());
        let got = [q.least, q.percentile_1, q.quartile_1, q.median, q.quartile_3];
        for (got, expected) in got.into_iter().zip(numbers(&case["quantiles"])) {
            close(got, expected, 1e-13);
        }
    }
}

#[test]
fn an_infinite_value_leaves_the_others_what_they_are() {
    let q = Quantiles::of(&[1.0, f64::INFINITY, 0.0, 2.0, 3.0]);
    assert_eq!([q.least, q.quartile_1, q.median, q.quartile_3], [0.0, 1.0, 2.0, 3.0]);
}

#[test]
#[should_panic(expected = "the quantiles of nothing")]
fn no_values_have_no_quantiles() {
    Quantiles::of(&[]);
}
