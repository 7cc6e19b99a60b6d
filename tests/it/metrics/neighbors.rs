use super::{WIDTH, close, expected, features, normal, numbers, refusal};
use degrain::metrics::neighbors::{NEIGHBORS, nearest, precision_recall};

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

#[test]
fn precision_recall_matches_brute_force_in_numpy() {
    assert_eq!(NEIGHBORS, 3);
    for (k, pair) in expected("precision_recall").as_object().unwrap() {
        let (precision, recall) = precision_recall(&features("a"), &features("b"), WIDTH, k.parse().unwrap()).unwrap();
        assert_eq!(vec![precision, recall], numbers(pair), "{k} neighbors");
    }
}

/// The share of queries within the radius of a row of `among`, by the definition.
fn covered(queries: &[f32], among: &[f32], width: usize, k: usize) -> f64 {
    let radius = |x: &[f32]| {
        let mut squares: Vec<f64> = among.chunks(width).map(|y| squared(x, y)).collect();
        squares.sort_by(f64::total_cmp);
        squares[k] // the first is the image itself
    };
    let radii: Vec<f64> = among.chunks(width).map(radius).collect();
    let near = |x: &&[f32]| among.chunks(width).zip(&radii).any(|(y, radius)| squared(x, y) <= *radius);
    queries.chunks(width).filter(near).count() as f64 / (queries.len() / width) as f64
}

/// Sets of several blocks and threads.
#[test]
fn precision_recall_of_several_blocks_matches_the_definition() {
    let (width, k) = (6, 2);
    let (real, generated) = (normal(1300 * width, 1), normal(700 * width, 2));
    let generated: Vec<f32> = generated.iter().map(|x| 0.7 * x + 0.4).collect();
    let (precision, recall) = precision_recall(&real, &generated, width, k).unwrap();
    assert_eq!((precision, recall), (covered(&generated, &real, width, k), covered(&real, &generated, width, k)));
    assert!(precision < 1.0 && recall < precision, "{precision} {recall}");
}

/// The features are about 4096 and the radii 0.002. With products alone every image would be within
/// every radius.
#[test]
fn precision_recall_does_not_suffer_from_cancellation() {
    let (real, generated) = (features("far"), features("far_queries"));
    let (precision, recall) = precision_recall(&real, &generated, WIDTH, 1).unwrap();
    assert_eq!((precision, recall), (covered(&generated, &real, WIDTH, 1), covered(&real, &generated, WIDTH, 1)));
    assert!(precision < 1.0 && recall < 1.0, "{precision} {recall}");
}

/// The radius of an image with a copy is 0. It contains the copies in the other set only if
/// distances have no rounding errors.
#[test]
fn precision_recall_of_equal_sets_is_1() {
    let twice: Vec<f32> = normal(60 * WIDTH, 1).chunks(WIDTH).flat_map(|row| [row, row]).flatten().copied().collect();
    assert_eq!(precision_recall(&twice, &twice, WIDTH, 1).unwrap(), (1.0, 1.0));
    let shifted: Vec<f32> = twice.iter().map(|x| x + 1e-3).collect();
    assert_eq!(precision_recall(&twice, &shifted, WIDTH, 1).unwrap(), (0.0, 0.0));
}

#[test]
fn nearest_matches_brute_force_in_numpy() {
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

/// The features are about 4096 and neighbors are 0.002 apart. Products alone would not find a copy.
#[test]
fn nearest_of_a_copy_is_at_distance_zero() {
    assert_eq!(nearest(&features("far_queries"), &features("far"), WIDTH)[7], (131, 0.0));
    let rows = features("a");
    for (query, found) in nearest(&rows, &rows, WIDTH).into_iter().enumerate() {
        assert_eq!(found, (query, 0.0));
    }
}

/// Sets of several blocks and threads, with duplicate rows.
#[test]
fn nearest_of_several_blocks_is_the_first_at_the_least_distance() {
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

/// Rows that differ by a few units in the last place of f32. The rounding errors of their products
/// are larger than the differences of their distances.
#[test]
fn nearest_is_not_affected_by_rounding() {
    let base: Vec<f32> = normal(WIDTH, 1).iter().map(|x| 1000.0 * x).collect();
    let nearby = |count: usize, seed| -> Vec<f32> {
        let steps = normal(count * WIDTH, seed);
        steps.iter().enumerate().map(|(i, step)| base[i % WIDTH] * (1.0 + 2e-7 * step)).collect()
    };
    let (queries, among) = (nearby(50, 2), nearby(200, 3));
    for (query, (_, distance)) in queries.chunks(WIDTH).zip(nearest(&queries, &among, WIDTH)) {
        let squares = among.chunks(WIDTH).map(|other| squared(query, other));
        assert_eq!(distance, squares.fold(f64::INFINITY, f64::min).sqrt());
    }
}

#[test]
fn nearest_skips_rows_that_are_not_finite() {
    let among = [f32::NAN, 0.0, 1.0, 1.0, f32::INFINITY, 0.0, 3.0, 3.0];
    let queries = [0.0, 0.0, 2.5, 2.5, f32::NAN, 0.0];
    let found = nearest(&queries, &among, 2);
    assert_eq!(found, [(1, 2_f64.sqrt()), (3, 0.5_f64.sqrt()), (0, f64::INFINITY)]);
    assert_eq!(nearest(&[], &among, 2), []);
}

#[test]
fn precision_recall_of_too_few_images_or_nan_is_an_error() {
    let set = normal(40, 1);
    let message = refusal(precision_recall(&set, &set[..12], 4, 3));
    assert!(
        message.contains("need at least 4 images") && message.contains("there are 3 generated images"),
        "{message}"
    );
    assert!(precision_recall(&set, &set[..16], 4, 3).is_ok());
    let mut broken = set.clone();
    broken[0] = f32::NAN;
    assert!(refusal(precision_recall(&broken, &set, 4, 3)).contains("not finite"));
}
