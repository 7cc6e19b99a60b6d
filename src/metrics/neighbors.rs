//! Nearest neighbors in a space of features or pixels: precision and recall of a distribution, and
//! the nearest image to each image.
//!
//! Squared distances are computed as |q|² + |r|² - 2 q·r, block by block with matrix products. The
//! cancellation makes this inexact, so it only gives bounds. If the bounds do not decide which of
//! two rows is nearer, the difference of the rows does. All results equal a direct comparison of
//! every pair.

use super::rows;
use crate::{Error, Result};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// k, the number of neighbors that define a radius (Kynkäänniemi et al. 2019, section 3).
pub const NEIGHBORS: usize = 3;

/// Numbers of queries and of rows in a block of distances.
const BLOCK: [usize; 2] = [512, 256];

/// Precision and recall of generated features against real ones, `[count, width]` each
/// (Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative
/// models", eqs. 1 and 2). The radius of an image is the distance to its k-th nearest neighbor in
/// its own set. Precision is the share of generated images within the radius of a real image.
/// Recall is the share of real images within the radius of a generated image.
///
/// Both depend on the numbers of images: compare only results of equal counts.
///
/// ```
/// use degrain::metrics::neighbors::precision_recall;
///
/// let real = [0.0, 1.0, 2.0, 3.0];
/// let generated = [0.1, 0.2, 0.3, 9.0];
/// let (precision, recall) = precision_recall(&real, &generated, 1, 1)?;
/// // The image at 9 is far from all real images.
/// assert_eq!(precision, 0.75);
/// // The radius of 0.1 contains 0. The radius of 9 is 8.7 and contains 1, 2 and 3.
/// assert_eq!(recall, 1.0);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a set of k images or fewer; [`Error::NonFinite`] for features that are not
/// finite.
///
/// # Panics
/// If the features are not a whole number of rows, or k is 0.
#[track_caller]
pub fn precision_recall(real: &[f32], generated: &[f32], width: usize, k: usize) -> Result<(f64, f64)> {
    assert!(k > 0, "k must be at least 1");
    for (name, set) in [("real", real), ("generated", generated)] {
        let count = rows::finite(set, width)?;
        if count <= k {
            return Err(Error::Config(format!(
                "precision and recall with k = {k} need at least {} images, and there are {count} {name} images",
                k + 1
            )));
        }
    }
    Ok((covered(generated, real, width, k), covered(real, generated, width, k)))
}

/// The share of queries within the radius of a row of `among`.
fn covered(queries: &[f32], among: &[f32], width: usize, k: usize) -> f64 {
    let own = Pairs { queries: among, among, width };
    let visit = |nearest: &mut Candidates, pair: Pair| {
        if pair.query != pair.row {
            nearest.add(pair, k);
        }
    };
    let candidates: Vec<Candidates> = own.for_each_query(visit);
    let radii: Vec<f64> =
        candidates.iter().enumerate().map(|(row, candidates)| candidates.sorted(&own, row)[k - 1].0).collect();
    let pairs = Pairs { queries, among, width };
    let inside: Vec<bool> = pairs.for_each_query(|inside: &mut bool, pair| {
        let radius = radii[pair.row];
        *inside =
            *inside || pair.low <= radius && (pair.high <= radius || pairs.squared(pair.query, pair.row) <= radius);
    });
    inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
}

/// For each query `[count, width]`, the index of the nearest row of `among` `[others, width]` and
/// its Euclidean distance. Of several rows at the same distance it is the first. The distance of a
/// copy is exactly 0.
///
/// A row that is not finite is never the nearest. A query that is not finite gives row 0 at an
/// infinite distance.
///
/// ```
/// use degrain::metrics::neighbors::nearest;
///
/// assert_eq!(nearest(&[2.5], &[0.0, 2.0, 7.0], 1), [(1, 0.5)]);
/// ```
///
/// # Panics
/// If the features are not a whole number of rows, or `among` is empty.
#[track_caller]
pub fn nearest(queries: &[f32], among: &[f32], width: usize) -> Vec<(usize, f64)> {
    let counts = [queries, among].map(|set| rows::count(set, width));
    assert!(counts[1] > 0, "the nearest of no rows");
    let pairs = Pairs { queries, among, width };
    let candidates: Vec<Candidates> = pairs.for_each_query(|nearest: &mut Candidates, pair| nearest.add(pair, 1));
    let first = |(query, candidates): (usize, &Candidates)| match candidates.sorted(&pairs, query).first() {
        Some(&(square, row)) => (row, square.sqrt()),
        None => (0, f64::INFINITY),
    };
    candidates.iter().enumerate().map(first).collect()
}

/// The rows that may be among the k nearest of a query.
#[derive(Default)]
struct Candidates {
    /// Lower bounds of squared distances, and rows.
    rows: Vec<(f64, usize)>,
    /// The k smallest upper bounds, in order.
    uppers: Vec<f64>,
}

impl Candidates {
    fn add(&mut self, pair: Pair, k: usize) {
        // A distance that is NaN is below no bound.
        let open = self.uppers.len() < k && pair.high.is_finite();
        if !open && !self.uppers.last().is_some_and(|upper| pair.low <= *upper) {
            return;
        }
        self.rows.push((pair.low, pair.row));
        let place = self.uppers.partition_point(|upper| *upper <= pair.high);
        self.uppers.insert(place, pair.high);
        self.uppers.truncate(k);
    }

    /// Exact squared distances and rows of the candidates, nearest first. The first k are the
    /// nearest of all rows.
    fn sorted(&self, pairs: &Pairs, query: usize) -> Vec<(f64, usize)> {
        let upper = self.uppers.last().copied().unwrap_or(0.0);
        let open = self.rows.iter().filter(|(low, _)| *low <= upper);
        let mut exact: Vec<(f64, usize)> = open.map(|&(_, row)| (pairs.squared(query, row), row)).collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        exact
    }
}

/// A query and a row, and bounds of their squared distance.
#[derive(Clone, Copy)]
struct Pair {
    query: usize,
    row: usize,
    low: f64,
    high: f64,
}

/// All pairs of a query and a row.
struct Pairs<'a> {
    queries: &'a [f32],
    among: &'a [f32],
    width: usize,
}

impl Pairs<'_> {
    /// The squared distance of a query and a row, computed from their difference.
    fn squared(&self, query: usize, row: usize) -> f64 {
        let [a, b] = [(self.queries, query), (self.among, row)].map(|(rows, i)| &rows[i * self.width..][..self.width]);
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    }

    /// Makes a state for each query and calls `visit` with it and every row in order. The queries
    /// are divided among threads.
    fn for_each_query<S: Default + Send>(&self, visit: impl Fn(&mut S, Pair) + Sync) -> Vec<S> {
        let count = self.queries.len() / self.width;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let part = count.div_ceil(threads).max(1);
        let norms = squared_norms(self.among, self.width);
        thread::scope(|scope| {
            let (norms, visit) = (&norms, &visit);
            let work = |first: usize| {
                move || {
                    let blocks = (first..(first + part).min(count)).step_by(BLOCK[0]);
                    blocks
                        .flat_map(|at| self.block(at..(at + BLOCK[0]).min(first + part).min(count), norms, visit))
                        .collect()
                }
            };
            let threads: Vec<_> = (0..count).step_by(part).map(|first| scope.spawn(work(first))).collect();
            let join =
                |thread: thread::ScopedJoinHandle<'_, Vec<S>>| thread.join().unwrap_or_else(|e| resume_unwind(e));
            threads.into_iter().flat_map(join).collect()
        })
    }

    /// The states of a block of queries.
    fn block<S: Default>(
        &self,
        queries: std::ops::Range<usize>,
        norms: &[f64],
        visit: &impl Fn(&mut S, Pair),
    ) -> Vec<S> {
        let width = self.width;
        let own = rows::widen(&self.queries[queries.start * width..queries.end * width]);
        let own_norms = squared_norms(&self.queries[queries.start * width..queries.end * width], width);
        let mut states: Vec<S> = queries.clone().map(|_| S::default()).collect();
        for (number, rows) in self.among.chunks(BLOCK[1] * width).enumerate() {
            let products = rows::gram(&rows::widen(rows), &own, width);
            for (query, state) in states.iter_mut().enumerate() {
                for (i, product) in products.column(query).iter().enumerate() {
                    let row = number * BLOCK[1] + i;
                    let norms = own_norms[query] + norms[row];
                    let (square, off) = (norms - 2.0 * product, rounding(width) * norms);
                    visit(state, Pair { query: queries.start + query, row, low: square - off, high: square + off });
                }
            }
        }
        states
    }
}

/// Bound of the rounding error of |q|² + |r|² - 2 q·r and of the sum of squared differences,
/// relative to |q|² + |r|². A sum of `width` products is off by at most width · u times the sum of
/// their magnitudes (Higham 2002, section 3.1). For 2 q·r this sum is at most the norms, and for
/// the squared differences at most twice the norms. With ε = 2 u this gives width · ε for each of
/// the two, plus a few last operations.
fn rounding(width: usize) -> f64 {
    (2 * width + 8) as f64 * f64::EPSILON
}

fn squared_norms(rows: &[f32], width: usize) -> Vec<f64> {
    rows.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum()).collect()
}
