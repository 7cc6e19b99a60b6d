//! Nearest neighbours in a space of features or of pixels: precision and recall of a distribution, and the image that one comes closest to.
//!
//! Squared distances are |q|² + |r|² - 2 q·r, block by block by matrix products. That cancels, so it only bounds a distance: wherever the
//! bounds leave open which of two is closer, the difference of the rows decides. All results are those of comparing every pair directly.

use super::features;
use crate::{Error, Result};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// Neighbours that span a ball (Kynkäänniemi et al. 2019, section 3).
pub const NEIGHBOURS: usize = 3;

/// Queries, and rows, of a block of distances.
const BLOCK: [usize; 2] = [512, 256];

/// Precision and recall of drawn features against real ones, [count, width] each (Kynkäänniemi et al. 2019, "Improved precision and recall
/// metric for assessing generative models", eqs. 1 and 2): the share of drawn images within reach of a real one, and the share of real images
/// within reach of a drawn one. An image's reach is the distance to the k-th nearest other image of its own set.
///
/// Both depend on the counts: compare results of equal counts only.
///
/// # Errors
/// [`Error::Config`] for a set of k images or fewer; [`Error::NonFinite`] for features that are not finite.
///
/// # Panics
/// If features are not whole rows, or k is 0.
#[track_caller]
pub fn precision_recall(real: &[f32], drawn: &[f32], width: usize, k: usize) -> Result<(f64, f64)> {
    assert!(k > 0, "the zeroth neighbour");
    for (name, set) in [("real", real), ("drawn", drawn)] {
        let count = features::finite(set, width)?;
        if count <= k {
            return Err(Error::Config(format!(
                "the {k} nearest others of an image need {} images, and here are {count} {name} ones",
                k + 1
            )));
        }
    }
    Ok((covered(drawn, real, width, k), covered(real, drawn, width, k)))
}

/// The share of queries within reach of one of `among`.
fn covered(queries: &[f32], among: &[f32], width: usize, k: usize) -> f64 {
    let own = Pairs { queries: among, among, width };
    let see = |near: &mut Near, pair: Pair| {
        if pair.query != pair.row {
            near.see(pair, k);
        }
    };
    let near: Vec<Near> = own.sweep(see);
    let reaches: Vec<f64> = near.iter().enumerate().map(|(row, near)| near.closest(&own, row)[k - 1].0).collect();
    let pairs = Pairs { queries, among, width };
    let inside: Vec<bool> = pairs.sweep(|inside: &mut bool, pair| {
        let reach = reaches[pair.row];
        *inside = *inside || pair.low <= reach && (pair.high <= reach || pairs.squared(pair.query, pair.row) <= reach);
    });
    inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
}

/// For each query, [count, width], the number of the nearest row of `among`, [others, width], and its Euclidean distance: the first of several
/// at the same distance, which is exactly 0 for a copy.
///
/// A row that is not finite is never the nearest. A query that is not finite has none: it answers row 0 at an infinite distance.
///
/// # Panics
/// If either are not whole rows, or `among` has none.
#[track_caller]
pub fn nearest(queries: &[f32], among: &[f32], width: usize) -> Vec<(usize, f64)> {
    let counts = [queries, among].map(|rows| features::count(rows, width));
    assert!(counts[1] > 0, "the nearest of nothing");
    let pairs = Pairs { queries, among, width };
    let near: Vec<Near> = pairs.sweep(|near: &mut Near, pair| near.see(pair, 1));
    let first = |(query, near): (usize, &Near)| match near.closest(&pairs, query).first() {
        Some(&(square, row)) => (row, square.sqrt()),
        None => (0, f64::INFINITY),
    };
    near.iter().enumerate().map(first).collect()
}

/// The rows that may be among the nearest k of a query.
#[derive(Default)]
struct Near {
    /// Lower bounds of squared distances, and rows.
    candidates: Vec<(f64, usize)>,
    /// The k smallest upper bounds, in order.
    uppers: Vec<f64>,
}

impl Near {
    fn see(&mut self, pair: Pair, k: usize) {
        // A distance that is not a number is below no bound.
        let open = self.uppers.len() < k && pair.high.is_finite();
        if !open && !self.uppers.last().is_some_and(|upper| pair.low <= *upper) {
            return;
        }
        self.candidates.push((pair.low, pair.row));
        let place = self.uppers.partition_point(|upper| *upper <= pair.high);
        self.uppers.insert(place, pair.high);
        self.uppers.truncate(k);
    }

    /// Exact squared distances and rows of those that may be the nearest, in order: the first k are the nearest.
    fn closest(&self, pairs: &Pairs, query: usize) -> Vec<(f64, usize)> {
        let upper = self.uppers.last().copied().unwrap_or(0.0);
        let open = self.candidates.iter().filter(|(low, _)| *low <= upper);
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

/// Every query against every row.
struct Pairs<'a> {
    queries: &'a [f32],
    among: &'a [f32],
    width: usize,
}

impl Pairs<'_> {
    /// The squared distance of a query and a row by their difference.
    fn squared(&self, query: usize, row: usize) -> f64 {
        let [a, b] = [(self.queries, query), (self.among, row)].map(|(rows, i)| &rows[i * self.width..][..self.width]);
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    }

    /// A state for each query, which sees every row in order. The queries are divided among threads.
    fn sweep<S: Default + Send>(&self, see: impl Fn(&mut S, Pair) + Sync) -> Vec<S> {
        let count = self.queries.len() / self.width;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let part = count.div_ceil(threads).max(1);
        let norms = squared_norms(self.among, self.width);
        thread::scope(|scope| {
            let (norms, see) = (&norms, &see);
            let work = |first: usize| {
                move || {
                    let blocks = (first..(first + part).min(count)).step_by(BLOCK[0]);
                    blocks
                        .flat_map(|at| self.block(at..(at + BLOCK[0]).min(first + part).min(count), norms, see))
                        .collect()
                }
            };
            let threads: Vec<_> = (0..count).step_by(part).map(|first| scope.spawn(work(first))).collect();
            let join =
                |thread: thread::ScopedJoinHandle<'_, Vec<S>>| thread.join().unwrap_or_else(|e| resume_unwind(e));
            threads.into_iter().flat_map(join).collect()
        })
    }

    /// The states of some queries.
    fn block<S: Default>(&self, queries: std::ops::Range<usize>, norms: &[f64], see: &impl Fn(&mut S, Pair)) -> Vec<S> {
        let width = self.width;
        let own = features::widen(&self.queries[queries.start * width..queries.end * width]);
        let own_norms = squared_norms(&self.queries[queries.start * width..queries.end * width], width);
        let mut states: Vec<S> = queries.clone().map(|_| S::default()).collect();
        for (number, rows) in self.among.chunks(BLOCK[1] * width).enumerate() {
            let products = features::gram(&features::widen(rows), &own, width);
            for (query, state) in states.iter_mut().enumerate() {
                for (i, product) in products.column(query).iter().enumerate() {
                    let row = number * BLOCK[1] + i;
                    let norms = own_norms[query] + norms[row];
                    let (square, off) = (norms - 2.0 * product, rounding(width) * norms);
                    see(state, Pair { query: queries.start + query, row, low: square - off, high: square + off });
                }
            }
        }
        states
    }
}

/// Bound of the rounding of |q|² + |r|² - 2 q·r and of the sum of squared differences, as a share of |q|² + |r|². A sum of `width` products is
/// off by at most width · u of their magnitudes (Higham 2002, section 3.1), those of 2 q·r are no more than the norms, those of the
/// differences no more than twice them, and ε = 2 u: width · ε for each of the two, and some for the last few operations.
fn rounding(width: usize) -> f64 {
    (2 * width + 8) as f64 * f64::EPSILON
}

fn squared_norms(rows: &[f32], width: usize) -> Vec<f64> {
    rows.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum()).collect()
}
