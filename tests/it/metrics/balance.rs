use super::{close, expected, numbers};
use degrain::metrics::balance::{Balance, Proportion};

#[test]
fn intervals_are_those_of_statsmodels() {
    for case in expected("wilson").as_array().unwrap() {
        let case = numbers(case);
        let proportion = Proportion::of(case[0] as u32, case[1] as u32);
        assert!((proportion.low - case[2]).abs() < 1e-12 && (proportion.high - case[3]).abs() < 1e-12, "{case:?}");
        assert_eq!(proportion.share(), case[0] / case[1]);
        assert!(proportion.low <= proportion.share() && proportion.share() <= proportion.high, "{proportion:?}");
    }
}

#[test]
fn no_success_and_no_failure_reach_the_ends_exactly() {
    for count in 1..2000 {
        assert_eq!(Proportion::of(0, count).low, 0.0);
        assert_eq!(Proportion::of(count, count).high, 1.0);
    }
}

#[test]
fn nothing_is_known_without_tries() {
    let nothing = Proportion::of(0, 0);
    assert_eq!([nothing.low, nothing.high], [0.0, 1.0]);
    assert!(nothing.share().is_nan());
}

#[test]
fn balance_is_that_of_scipy() {
    for case in expected("chi_square").as_array().unwrap() {
        let counts: Vec<u32> = numbers(&case["counts"]).into_iter().map(|x| x as u32).collect();
        let balance = Balance::of(&counts, &numbers(&case["shares"]));
        close(balance.chi_square, case["statistic"].as_f64().unwrap(), 1e-12);
        close(balance.p_value, case["p"].as_f64().unwrap(), 1e-9);
        assert_eq!(balance.expected, numbers(&case["expected"]));
        assert_eq!((balance.counts, balance.degrees), (counts.clone(), counts.len() as u32 - 1));
    }
}

#[test]
fn a_class_that_should_have_no_images_counts_only_if_it_has_some() {
    let without = Balance::of(&[12, 20, 0], &[0.5, 0.5, 0.0]);
    let alone = Balance::of(&[12, 20], &[0.5, 0.5]);
    assert_eq!((without.chi_square, without.degrees, without.p_value), (alone.chi_square, 1, alone.p_value));
    assert_eq!(without.expected, [16.0, 16.0, 0.0]);
    let with = Balance::of(&[12, 20, 1], &[0.5, 0.5, 0.0]);
    assert_eq!((with.chi_square, with.p_value), (f64::MAX, 0.0));
}

#[test]
fn where_nothing_can_be_refuted_nothing_is() {
    for balance in [Balance::of(&[0, 0], &[0.3, 0.7]), Balance::of(&[9], &[1.0])] {
        assert_eq!((balance.chi_square, balance.p_value), (0.0, 1.0), "{balance:?}");
    }
}
