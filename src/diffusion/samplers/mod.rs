//! The samplers. Each has a file here and a line in the list below, which also gives its name and
//! its class in diffusers. The name in front of the colon is the module, the name on the command
//! line and the name in files.
//!
//! A file holds a struct with `KEYS` (its options in scheduler_config.json), `OPTIONS` (all its
//! options), `new`, and an implementation of [`Sampler`]. A sampler without a class in diffusers is
//! written to scheduler_config.json as `DDPMScheduler`, which diffusers loads for any model with
//! discrete timesteps. `probability_flow` and `reverse_sde` hold code that several samplers share.

mod probability_flow;
mod reverse_sde;

use super::sampler::{Sampler, SamplerOptions};
use crate::Result;
use serde::{Deserialize, Serialize};

/// Version of the samplers. A change that gives other samples for equal settings increases it, so
/// that kept samples of the earlier version are not continued.
pub const SAMPLERS_VERSION: u32 = 2;

macro_rules! samplers {
    ($($(#[$meta:meta])* $name:ident: $type:ident = $class:expr,)*) => {
        $(mod $name; pub use $name::$type;)*

        /// The samplers by name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
        #[serde(from = "InFile", into = "InFile")]
        pub enum SamplerName {
            $($(#[$meta])* #[cfg_attr(feature = "cli", value(name = stringify!($name)))] $type,)*
        }

        /// The names in files: serde takes the name of a variant, and no macro as its attribute.
        #[allow(non_camel_case_types)]
        #[derive(Serialize, Deserialize)]
        enum InFile {
            $($name,)*
        }

        impl From<InFile> for SamplerName {
            fn from(name: InFile) -> SamplerName {
                match name { $(InFile::$name => SamplerName::$type),* }
            }
        }

        impl From<SamplerName> for InFile {
            fn from(name: SamplerName) -> InFile {
                match name { $(SamplerName::$type => InFile::$name),* }
            }
        }

        impl SamplerName {
            /// Every sampler.
            pub const ALL: &[SamplerName] = &[$(SamplerName::$type),*];

            /// The name in settings and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(SamplerName::$type => stringify!($name)),* }
            }

            /// The class in diffusers that implements this sampler with the same option names, if
            /// any.
            pub fn diffusers_class(self) -> Option<&'static str> {
                match self { $(SamplerName::$type => $class),* }
            }

            /// The options in diffusers' scheduler_config.json.
            pub fn keys(self) -> &'static [&'static str] {
                match self { $(SamplerName::$type => $type::KEYS),* }
            }

            /// The names of all its options.
            pub fn options(self) -> &'static [&'static str] {
                match self { $(SamplerName::$type => $type::OPTIONS),* }
            }

            /// Builds the sampler with these options.
            ///
            /// # Errors
            /// [`Error::Config`](crate::Error::Config) for an option that it does not have or that
            /// is out of range.
            pub fn build(self, options: &SamplerOptions) -> Result<Box<dyn Sampler>> {
                match self {
                    $(SamplerName::$type => {
                        options.only(stringify!($name), $type::OPTIONS)?;
                        Ok(Box::new($type::new(options)?))
                    })*
                }
            }
        }
    };
}

samplers! {
    /// DDPM, ancestral sampling (Ho et al. 2020).
    #[default]
    ddpm: Ddpm = Some(DDPM),
    /// DDIM, deterministic for eta 0 (Song et al. 2021).
    ddim: Ddim = Some("DDIMScheduler"),
    /// DPM-Solver++(2M), deterministic for eta 0 (Lu et al. 2022).
    dpm_solver: DpmSolver = None,
    /// Euler's method for the probability flow.
    euler: Euler = None,
    /// Heun's method for the probability flow (Karras et al. 2022).
    heun: Heun = None,
    /// The midpoint method for flow matching.
    midpoint: Midpoint = None,
    /// Euler-Maruyama method for the reverse SDE (Song et al. 2021).
    euler_maruyama: EulerMaruyama = None,
    /// Reverse diffusion with Langevin corrections (Song et al. 2021).
    predictor_corrector: PredictorCorrector = None,
    /// Adaptive solver of the probability flow, to a tolerance.
    ode: Ode = None,
}

/// The class written for every sampler that diffusers does not have.
const DDPM: &str = "DDPMScheduler";

impl SamplerName {
    /// The class to write to scheduler_config.json, which diffusers can load.
    pub fn class(self) -> &'static str {
        self.diffusers_class().unwrap_or(DDPM)
    }
}
