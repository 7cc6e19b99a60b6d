use super::{close, expected, numbers};
use degrain::metrics::balance::Balance;
use degrain::metrics::proportion::Proportion;

#[test]
fn wilson_interval_matches_statsmodels() {
    for case in expected("wilson").as_array().unwrap() {
        let case = numbers(case);
        let proportion = Proportion::new(case[0] as u32, case[1] as u32);
        assert!((proportion.low - case[2]).abs() < 1e-12 && (proportion.high - case[3]).abs() < 1e-12, "{case:?}");
        assert_eq!(proportion.share(), case[0] / case[1]);
        assert!(proportion.low <= proportion.share() && proportion.share() <= proportion.high, "{proportion:?}");
    }
}

#[test]
fn wilson_interval_reaches_0_and_1_exactly() {
    for count in 1..2000 {
        assert_eq!(Proportion::new(0, count).low, 0.0);
        assert_eq!(Proportion::new(count, count).high, 1.0);
    }
}

#[test]
fn wilson_interval_without_trials_is_0_to_1() {
    let nothing = Proportion::new(0, 0);
    assert_eq!([nothing.low, nothing.high], [0.0, 1.0]);
    assert!(nothing.share().is_nan());
}

#[test]
fn class_balance_matches_scipy() {
    for case in expected("chi_square").as_array().unwrap() {
        let counts: Vec<u32> = numbers(&case["counts"]).into_iter().map(|x| x as u32).collect();
        let balance = Balance::new(&counts, &numbers(&case["shares"]));
        close(balance.chi_square, case["statistic"].as_f64().unwrap(), 1e-12);
        close(balance.p_value, case["p"].as_f64().unwrap(), 1e-9);
        assert_eq!(balance.expected, numbers(&case["expected"]));
        assert_eq!((balance.counts, balance.degrees_of_freedom), (counts.clone(), counts.len() as u32 - 1));
    }
}

#[test]
fn class_balance_ignores_a_class_without_expected_and_counted_images() {
    let without = Balance::new(&[12, 20, 0], &[0.5, 0.5, 0.0]);
    let alone = Balance::new(&[12, 20], &[0.5, 0.5]);
    assert_eq!((without.chi_square, without.degrees_of_freedom, without.p_value), (alone.chi_square, 1, alone.p_value));
    assert_eq!(without.expected, [16.0, 16.0, 0.0]);
    let with = Balance::new(&[12, 20, 1], &[0.5, 0.5, 0.0]);
    assert_eq!((with.chi_square, with.p_value), (f64::MAX, 0.0));
}

#[test]
fn class_balance_of_no_images_or_one_class_has_p_value_1() {
    for balance in [Balance::new(&[0, 0], &[0.3, 0.7]), Balance::new(&[9], &[1.0])] {
        assert_eq!((balance.chi_square, balance.p_value), (0.0, 1.0), "{balance:?}");
    }
}
