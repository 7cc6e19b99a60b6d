//! Names of the buffers of training, except the model's and the objective's.

/// Exponential moving average (EMA) of the parameters. Samples, evaluations and checkpoints use
/// these weights.
pub const EMA: &str = "ema";
/// Adam's first moments.
pub const FIRST_MOMENT: &str = "adam.first";
/// Adam's second moments.
pub const SECOND_MOMENT: &str = "adam.second";
/// The log on the device: one row for each of the last steps.
pub const LOG: &str = "log";
/// Losses of a batch of validation images, `[B]`.
pub const VALIDATION_LOSS: &str = "validation.loss";
/// Indices of the training times of these images, u32 `[B]`.
pub const VALIDATION_TIMESTEPS: &str = "validation.timesteps";
