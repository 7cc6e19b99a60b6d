use super::{WIDTH, close, expected, features, normal, numbers, refusal};
use degrain::metrics::neighbors::{NEIGHBOURS, nearest, precision_recall};

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

#[test]
fn precision_and_recall_are_those_of_brute_force_in_numpy() {
    assert_eq!(NEIGHBOURS, 3);
    for (k, pair) in expected("precision_recall").as_object().unwrap() {
        let (precision, recall) = precision_recall(&features("a"), &features("b"), WIDTH, k.parse().unwrap()).unwrap();
        assert_eq!(vec![precision, recall], numbers(pair), "{k} neighbours");
    }
}

/// The share of queries within reach of one of `among`, by the definition.
fn covered(queries: &[f32], among: &[f32], width: usize, k: usize) -> f64 {
    let reach = |x: &[f32]| {
        let mut squares: Vec<f64> = among.chunks(width).map(|y| squared(x, y)).collect();
        squares.sort_by(f64::total_cmp);
        squares[k] // the first is the image itself
    };
    let reaches: Vec<f64> = among.chunks(width).map(reach).collect();
    let near = |x: &&[f32]| among.chunks(width).zip(&reaches).any(|(y, reach)| squared(x, y) <= *reach);
    queries.chunks(width).filter(near).count() as f64 / (queries.len() / width) as f64
}

/// Sets of several blocks and threads.
#[test]
fn precision_and_recall_of_many_images_are_those_of_all_blocks() {
    let (width, k) = (6, 2);
    let (real, drawn) = (normal(1300 * width, 1), normal(700 * width, 2));
    let drawn: Vec<f32> = drawn.iter().map(|x| 0.7 * x + 0.4).collect();
    let (precision, recall) = precision_recall(&real, &drawn, width, k).unwrap();
    assert_eq!((precision, recall), (covered(&drawn, &real, width, k), covered(&real, &drawn, width, k)));
    assert!(precision < 1.0 && recall < precision, "{precision} {recall}");
}

/// Where features are 4096 and reaches 0.002, products alone would find everything within reach of everything.
#[test]
fn reach_does_not_suffer_from_cancellation() {
    let (real, drawn) = (features("far"), features("far_queries"));
    let (precision, recall) = precision_recall(&real, &drawn, WIDTH, 1).unwrap();
    assert_eq!((precision, recall), (covered(&drawn, &real, WIDTH, 1), covered(&real, &drawn, WIDTH, 1)));
    assert!(precision < 1.0 && recall < 1.0, "{precision} {recall}");
}

/// Copies reach their equals though their own reach is 0, which needs distances without rounding.
#[test]
fn equal_sets_are_within_reach_of_each_other() {
    let twice: Vec<f32> = normal(60 * WIDTH, 1).chunks(WIDTH).flat_map(|row| [row, row]).flatten().copied().collect();
    assert_eq!(precision_recall(&twice, &twice, WIDTH, 1).unwrap(), (1.0, 1.0));
    let beside: Vec<f32> = twice.iter().map(|x| x + 1e-3).collect();
    assert_eq!(precision_recall(&twice, &beside, WIDTH, 1).unwrap(), (0.0, 0.0));
}

#[test]
fn nearest_are_those_of_brute_force_in_numpy() {
    for (queries, among, name) in [("b", "a", "nearest"), ("far_queries", "far", "nearest_far")] {
        let expected = expected(name);
        let found = nearest(&features(queries), &features(among), WIDTH);
        let rows: Vec<f64> = found.iter().map(|(row, _)| *row as f64).collect();
        assert_eq!(rows, numbers(&expected["rows"]), "{name}");
        for ((_, distance), expected) in found.iter().zip(numbers(&expected["distances"])) {
            close(*distance, expected, 1e-14);
        }
    }
}

/// Where features are 4096 and neighbours 0.002 apart, products alone would not find a copy.
#[test]
fn a_copy_is_at_distance_zero() {
    assert_eq!(nearest(&features("far_queries"), &features("far"), WIDTH)[7], (131, 0.0));
    let rows = features("a");
    for (query, found) in nearest(&rows, &rows, WIDTH).into_iter().enumerate() {
        assert_eq!(found, (query, 0.0));
    }
}

/// Sets of several blocks and threads, with rows that come twice.
#[test]
fn nearest_of_many_rows_is_the_first_at_the_least_distance() {
    let width = 9;
    let mut among = normal(900 * width, 1);
    among.extend_from_within(..300 * width);
    let mut queries = normal(1200 * width, 2);
    queries[..5 * width].copy_from_slice(&among[290 * width..295 * width]);
    let found = nearest(&queries, &among, width);
    assert_eq!(found.len(), 1200);
    for (query, (row, distance)) in queries.chunks(width).zip(found) {
        let squares: Vec<f64> = among.chunks(width).map(|other| squared(query, other)).collect();
        let least = squares.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!((Some(row), distance), (squares.iter().position(|x| *x == least), least.sqrt()));
    }
}

/// Rows a few steps of f32 apart, whose products round by more than the difference of their distances.
#[test]
fn rounding_does_not_choose_the_nearest() {
    let base: Vec<f32> = normal(WIDTH, 1).iter().map(|x| 1000.0 * x).collect();
    let beside = |count: usize, seed| -> Vec<f32> {
        let steps = normal(count * WIDTH, seed);
        steps.iter().enumerate().map(|(i, step)| base[i % WIDTH] * (1.0 + 2e-7 * step)).collect()
    };
    let (queries, among) = (beside(50, 2), beside(200, 3));
    for (query, (_, distance)) in queries.chunks(WIDTH).zip(nearest(&queries, &among, WIDTH)) {
        let squares = among.chunks(WIDTH).map(|other| squared(query, other));
        assert_eq!(distance, squares.fold(f64::INFINITY, f64::min).sqrt());
    }
}

#[test]
fn rows_that_are_not_finite_are_nobodys_neighbours() {
    let among = [f32::NAN, 0.0, 1.0, 1.0, f32::INFINITY, 0.0, 3.0, 3.0];
    let queries = [0.0, 0.0, 2.5, 2.5, f32::NAN, 0.0];
    let found = nearest(&queries, &among, 2);
    assert_eq!(found, [(1, 2_f64.sqrt()), (3, 0.5_f64.sqrt()), (0, f64::INFINITY)]);
    assert_eq!(nearest(&[], &among, 2), []);
}

#[test]
fn sets_without_enough_neighbours_are_refused() {
    let set = normal(40, 1);
    let message = refusal(precision_recall(&set, &set[..12], 4, 3));
    assert!(message.contains("need 4 images") && message.contains("here are 3 drawn ones"), "{message}");
    assert!(precision_recall(&set, &set[..16], 4, 3).is_ok());
    let mut broken = set.clone();
    broken[0] = f32::NAN;
    assert!(refusal(precision_recall(&broken, &set, 4, 3)).contains("not finite"));
}
