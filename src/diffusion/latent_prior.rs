//! The distribution that an autoencoder's latents are drawn from: N(0, 1), or a mixture of
//! Gaussians that is fitted to the latents of training images after training (Ghosh et al. 2020,
//! "From variational to deterministic autoencoders", section 4: ex-post density estimation).

use crate::rng::{key, normal4, philox, uniform};
use crate::tape::stream;
use crate::{Error, Result, memory};
use nalgebra::{DMatrix, DVector};
use std::f64::consts::TAU;

/// Steps of k-means before the first step of the EM algorithm.
const K_MEANS_STEPS: usize = 10;
/// Steps of the EM algorithm.
const EM_STEPS: usize = 30;
/// Added to the variances of every component.
const REGULARIZATION: f64 = 1e-3;

/// A distribution of latents.
#[derive(Clone, Debug)]
pub enum LatentPrior {
    /// N(0, 1) in this number of dimensions.
    Normal(usize),
    /// A mixture of Gaussians.
    Mixture(Mixture),
}

/// A mixture of Gaussians with full covariances.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    components: Vec<Component>,
}

/// A weighted Gaussian.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its probability.
    pub weight: f64,
    /// Its mean, `[latent]`.
    pub mean: DVector<f64>,
    /// The lower Cholesky factor of its covariance, `[latent, latent]`.
    pub factor: DMatrix<f64>,
}

impl LatentPrior {
    /// The mixture if there is one, or else N(0, 1) in `width` dimensions.
    pub fn new(width: u32, mixture: Option<Mixture>) -> LatentPrior {
        mixture.map_or(LatentPrior::Normal(width as usize), LatentPrior::Mixture)
    }

    /// The latent of the sample with this number.
    pub fn draw(&self, seed: u64, number: u32) -> Vec<f32> {
        let words = |at: u32, block: usize| philox([stream::PRIOR, at, number, block as u32], key(seed));
        let normal = |width: usize| -> Vec<f64> {
            (0..width.div_ceil(4)).flat_map(|block| normal4(words(0, block))).take(width).collect()
        };
        let latent = match self {
            LatentPrior::Normal(width) => normal(*width),
            LatentPrior::Mixture(mixture) => {
                let component = mixture.component(uniform(words(1, 0)[0]));
                let eps = DVector::from_vec(normal(component.mean.len()));
                (&component.mean + &component.factor * eps).iter().copied().collect()
            }
        };
        latent.into_iter().map(|x| x as f32).collect()
    }

    /// Number of Gaussians of a mixture; 0 for N(0, 1).
    pub fn components(&self) -> u32 {
        match self {
            LatentPrior::Normal(_) => 0,
            LatentPrior::Mixture(mixture) => mixture.components.len() as u32,
        }
    }

    /// The natural logarithm of the density at each row of `latents`, `[N, latent]`.
    ///
    /// # Panics
    /// If `latents` is not a whole number of rows.
    #[track_caller]
    pub fn log_densities(&self, latents: &[f32]) -> Vec<f64> {
        let width = self.width();
        assert!(latents.len().is_multiple_of(width), "{} numbers in rows of {width}", latents.len());
        let constant = -0.5 * TAU.ln() * width as f64;
        match self {
            LatentPrior::Normal(_) => {
                let squares = |row: &[f32]| row.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>();
                latents.chunks(width).map(|row| constant - 0.5 * squares(row)).collect()
            }
            LatentPrior::Mixture(mixture) => {
                let data = columns(latents, width);
                let each: Vec<_> = mixture.components.iter().map(|component| component.log_densities(&data)).collect();
                let log_sum = |column: usize| {
                    let largest = each.iter().map(|x| x[column]).fold(f64::NEG_INFINITY, f64::max);
                    largest + each.iter().map(|x| (x[column] - largest).exp()).sum::<f64>().ln()
                };
                (0..data.ncols()).map(|column| constant + log_sum(column)).collect()
            }
        }
    }

    /// Dimensions of a latent.
    fn width(&self) -> usize {
        match self {
            LatentPrior::Normal(width) => *width,
            LatentPrior::Mixture(mixture) => mixture.width(),
        }
    }
}

impl Mixture {
    /// A mixture of these components.
    ///
    /// # Errors
    /// A message for no components, components of different sizes, weights that are not positive or
    /// do not add up to 1, and a mean or factor that is not finite or not that of a covariance.
    pub fn new(components: Vec<Component>) -> std::result::Result<Mixture, String> {
        let Some(first) = components.first() else { return Err("there are no components".into()) };
        let width = first.mean.len();
        for (k, Component { weight, mean, factor }) in components.iter().enumerate() {
            if mean.len() != width || factor.shape() != (width, width) || width == 0 {
                return Err(format!("component {k} does not have the size of the others"));
            }
            if !(mean.iter().chain(factor.iter()).all(|x| x.is_finite()) && *weight > 0.0) {
                return Err(format!("component {k} has a weight that is not positive, or numbers that are not finite"));
            }
            if factor.diagonal().iter().any(|&x| x <= 0.0)
                || factor.upper_triangle() != DMatrix::from_diagonal(&factor.diagonal())
            {
                return Err(format!(
                    "component {k} has a factor that is not lower triangular with a positive diagonal"
                ));
            }
        }
        let total: f64 = components.iter().map(|component| component.weight).sum();
        if (total - 1.0).abs() > 1e-6 {
            return Err(format!("the weights add up to {total}, not 1"));
        }
        Ok(Mixture { components })
    }

    /// The components.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Dimensions of a latent.
    pub fn width(&self) -> usize {
        self.components[0].mean.len()
    }

    /// Fits a mixture to rows of `width` numbers by the EM algorithm (Dempster et al. 1977), which
    /// starts from k-means.
    ///
    /// # Errors
    /// [`Error::Config`] for no components, fewer than twice as many rows as components, or more of
    /// them than the memory holds;
    /// [`Error::NonFinite`] for rows that are not finite.
    ///
    /// # Panics
    /// If `latents` is not a whole number of rows.
    #[track_caller]
    pub fn fit(latents: &[f32], width: usize, components: usize) -> Result<Mixture> {
        assert!(width > 0 && latents.len().is_multiple_of(width), "{} numbers in rows of {width}", latents.len());
        let count = latents.len() / width;
        if components == 0 || 2 * components > count {
            return Err(Error::Config(format!(
                "--latent-components {components}: use 1 to {}, half of the number of latents",
                count / 2
            )));
        }
        if latents.iter().any(|x| !x.is_finite()) {
            return Err(Error::NonFinite("the latents of training images are not finite: the model diverged".into()));
        }
        // The densities of all latents in each component (old, new, and by component), and the
        // covariances' factors (old and new).
        let bytes = 8 * components as u128 * (3 * count as u128 + 2 * (width as u128).pow(2));
        if !memory::fits(bytes) {
            return Err(Error::Config(format!(
                "--latent-components {components}: the fit needs {:.1} GB of memory, more than this system has. Use fewer",
                bytes as f64 * 1e-9
            )));
        }
        let data = columns(latents, width);
        let mut shares = nearest_centers(&data, components);
        let mut mixture = Mixture::weighted(&data, &shares)?;
        for _ in 0..EM_STEPS {
            mixture.responsibilities(&data, &mut shares);
            mixture = Mixture::weighted(&data, &shares)?;
        }
        Ok(mixture)
    }

    /// The components for the shares of data `[width, count]` that belong to each, `[count,
    /// components]`. Components without data are left out.
    fn weighted(data: &DMatrix<f64>, shares: &DMatrix<f64>) -> Result<Mixture> {
        let count = data.ncols() as f64;
        let component = |column: usize| -> Option<Result<Component>> {
            let share = shares.column(column);
            let total = share.sum();
            if total < 1e-6 {
                return None;
            }
            let mean = data * share / total;
            let mut weighted = data.clone();
            for (mut latent, &share) in weighted.column_iter_mut().zip(share.iter()) {
                latent -= &mean;
                latent *= (share / total).sqrt();
            }
            let mut covariance = &weighted * weighted.transpose();
            for i in 0..covariance.nrows() {
                covariance[(i, i)] += REGULARIZATION;
            }
            let singular = || Error::NonFinite("the covariance of the latents is singular".into());
            let factor = covariance.cholesky().ok_or_else(singular).map(|cholesky| cholesky.l());
            Some(factor.map(|factor| Component { weight: total / count, mean, factor }))
        };
        let components = (0..shares.ncols()).filter_map(component).collect::<Result<_>>()?;
        Ok(Mixture { components })
    }

    /// The probability of each component given each latent: the E step.
    fn responsibilities(&self, data: &DMatrix<f64>, shares: &mut DMatrix<f64>) {
        let columns = self.components.iter().map(|component| component.log_densities(data)).collect::<Vec<_>>();
        *shares = DMatrix::from_columns(&columns);
        for mut row in shares.row_iter_mut() {
            let largest = row.max();
            row.apply(|x| *x = (*x - largest).exp());
            let sum = row.sum();
            row /= sum;
        }
    }

    /// The component at a quantile of the weights, above 0 and at most 1.
    fn component(&self, quantile: f64) -> &Component {
        let mut left = quantile;
        let found = self.components.iter().find(|component| {
            left -= component.weight;
            left <= 0.0
        });
        found.unwrap_or(&self.components[self.components.len() - 1])
    }
}

impl Component {
    /// log(weight) + log density at each column of the data, without the constant of all components.
    fn log_densities(&self, data: &DMatrix<f64>) -> DVector<f64> {
        let mut centered = data.clone();
        centered.column_iter_mut().for_each(|mut latent| latent -= &self.mean);
        self.factor.solve_lower_triangular_mut(&mut centered);
        let log_determinant: f64 = self.factor.diagonal().iter().map(|x| x.ln()).sum();
        let constant = self.weight.ln() - log_determinant;
        DVector::from_iterator(data.ncols(), centered.column_iter().map(|x| constant - 0.5 * x.norm_squared()))
    }
}

/// A matrix with a column for each latent.
fn columns(latents: &[f32], width: usize) -> DMatrix<f64> {
    DMatrix::from_iterator(width, latents.len() / width, latents.iter().map(|&x| f64::from(x)))
}

/// k-means: 1 for the nearest of the centers, 0 for the others, `[count, components]`. The first
/// centers are different latents.
fn nearest_centers(data: &DMatrix<f64>, components: usize) -> DMatrix<f64> {
    let count = data.ncols();
    let word = |k: usize| philox([stream::MIXTURE, 0, k as u32, 0], key(0))[0] as usize;
    // One latent of each of as many equal parts.
    let first = |k: usize| {
        let (begin, end) = (k * count / components, (k + 1) * count / components);
        begin + word(k) % (end - begin)
    };
    let mut centers = DMatrix::from_columns(&(0..components).map(|k| data.column(first(k))).collect::<Vec<_>>());
    let mut nearest = vec![0; count];
    for _ in 0..K_MEANS_STEPS {
        // |x - c|^2 without |x|^2, which all centers share.
        let products = centers.transpose() * data;
        let squares: Vec<f64> = centers.column_iter().map(|center| center.norm_squared()).collect();
        for (nearest, products) in nearest.iter_mut().zip(products.column_iter()) {
            let distance = |k: usize| squares[k] - 2.0 * products[k];
            *nearest = (0..components).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
        }
        let mut counts = vec![0.0; components];
        let mut sums = DMatrix::zeros(data.nrows(), components);
        for (&k, latent) in nearest.iter().zip(data.column_iter()) {
            counts[k] += 1.0;
            let mut sum = sums.column_mut(k);
            sum += latent;
        }
        for k in (0..components).filter(|&k| counts[k] > 0.0) {
            centers.set_column(k, &(sums.column(k) / counts[k]));
        }
    }
    DMatrix::from_fn(count, components, |row, k| f64::from(u8::from(nearest[row] == k)))
}
