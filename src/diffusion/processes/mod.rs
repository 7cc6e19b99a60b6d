//! The processes. Each has a file here and a line in the list below. The name in front of the colon
//! is the module and the name in settings and checkpoints.
//!
//! A file holds a struct with the parameters, their usual values as its `Default`, a method `check`
//! that refuses invalid values, and an implementation of [`Process`]. The discrete process is not
//! in the list: it is built from a schedule and a prediction, which checkpoints store in diffusers'
//! scheduler_config.json.

mod discrete;
mod normal;

pub use discrete::Discrete;

use super::prediction::Prediction;
use super::process::Process;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Number of quantiles into which continuous training times are discretized; large enough that
/// repeats within a batch are rare.
const TIMES: u32 = 16_384;

/// The centers of [`TIMES`] equal parts of [0, 1].
fn middles() -> impl Iterator<Item = f64> {
    (0..TIMES).map(|k| (f64::from(k) + 0.5) / f64::from(TIMES))
}

macro_rules! processes {
    ($($(#[$meta:meta])* $name:ident: $type:ident,)*) => {
        $(mod $name; pub use $name::$type;)*

        /// The processes by name. In a configuration: `{ name = "vp", beta_max = 20 }`; on a
        /// command line: the name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(from = "InFile", into = "InFile")]
        pub enum ProcessConfig {
            /// T discrete timesteps: see [`Discrete`].
            #[default]
            Discrete,
            $($(#[$meta])* $type($type),)*
        }

        /// The form in files: serde takes the name of a variant, and no macro as its attribute.
        #[allow(non_camel_case_types)]
        #[derive(Serialize, Deserialize)]
        #[serde(tag = "name", expecting = "a table such as `process = { name = \"vp\" }`")]
        enum InFile {
            #[serde(deserialize_with = "super::no_parameters")]
            discrete,
            $($name($type),)*
        }

        impl From<InFile> for ProcessConfig {
            fn from(process: InFile) -> ProcessConfig {
                match process {
                    InFile::discrete => ProcessConfig::Discrete,
                    $(InFile::$name(process) => ProcessConfig::$type(process),)*
                }
            }
        }

        impl From<ProcessConfig> for InFile {
            fn from(process: ProcessConfig) -> InFile {
                match process {
                    ProcessConfig::Discrete => InFile::discrete,
                    $(ProcessConfig::$type(process) => InFile::$name(process),)*
                }
            }
        }

        impl fmt::Display for ProcessConfig {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(match self {
                    ProcessConfig::Discrete => "discrete",
                    $(ProcessConfig::$type(_) => stringify!($name),)*
                })
            }
        }

        impl ProcessConfig {
            /// Every process with its default values.
            pub fn all_defaults() -> Vec<ProcessConfig> {
                vec![ProcessConfig::Discrete, $(ProcessConfig::$type($type::default()),)*]
            }

            /// Builds the process. `discrete` builds the discrete process.
            ///
            /// # Errors
            /// [`Error::Config`] for invalid parameters, and the errors of `discrete`.
            pub fn build(&self, discrete: impl FnOnce() -> Result<Discrete>) -> Result<Box<dyn Process>> {
                Ok(match self {
                    ProcessConfig::Discrete => Box::new(discrete()?),
                    $(ProcessConfig::$type(process) => {
                        process.check().map_err(|problem| Error::Config(format!("process {self}: {problem}")))?;
                        Box::new(*process)
                    })*
                })
            }
        }
    };
}

processes! {
    /// Variance preserving stochastic differential equation.
    vp: Vp,
    /// Sub-variance preserving stochastic differential equation.
    sub_vp: SubVp,
    /// Variance exploding stochastic differential equation.
    ve: Ve,
    /// EDM: the time is the noise level, and the network is preconditioned (Karras et al. 2022).
    edm: Edm,
    /// Flow matching on straight paths (Lipman et al. 2023).
    flow: Flow,
}

impl ProcessConfig {
    /// The process with this prediction, if it has the choice: an equation.
    pub fn predicting(self, prediction: Prediction) -> ProcessConfig {
        match self {
            ProcessConfig::Vp(vp) => ProcessConfig::Vp(Vp { prediction, ..vp }),
            ProcessConfig::SubVp(SubVp(vp)) => ProcessConfig::SubVp(SubVp(Vp { prediction, ..vp })),
            ProcessConfig::Ve(ve) => ProcessConfig::Ve(Ve { prediction, ..ve }),
            other => other,
        }
    }

    /// Fills in the parameters measured on the data. `rms` is the root mean square of its pixels in
    /// [-1, 1].
    pub fn measured(self, rms: f64) -> ProcessConfig {
        match self {
            ProcessConfig::Edm(edm) => {
                ProcessConfig::Edm(Edm { sigma_data: Some(edm.sigma_data.unwrap_or(rms)), ..edm })
            }
            other => other,
        }
    }
}

impl FromStr for ProcessConfig {
    type Err = Error;

    /// The process with the default values. The network of an equation predicts v. The paper predicts
    /// the noise, with which samples of the probability flow are far worse (`docs/gallery.md`).
    fn from_str(name: &str) -> Result<ProcessConfig> {
        super::from_name("the process", name).map(|process: ProcessConfig| process.predicting(Prediction::VPrediction))
    }
}
