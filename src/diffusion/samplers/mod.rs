//! The samplers. Each is a file here and a line in the list below; names on the command line and classes of diffusers follow from it.
//!
//! A file holds a struct with `KEYS` (its options that stand in scheduler_config.json), `OPTIONS` (all its options), `new`, and an
//! implementation of [`Sampler`].

use super::sampler::{Sampler, SamplerOptions};
use crate::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

macro_rules! samplers {
    ($($(#[$meta:meta])* $name:ident: $type:ident = $class:literal,)*) => {
        $(mod $name; pub use $name::$type;)*

        /// The samplers by name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
        #[serde(rename_all = "snake_case")]
        #[value(rename_all = "snake_case")]
        pub enum SamplerName {
            $($(#[$meta])* $type,)*
        }

        impl SamplerName {
            /// Every sampler.
            pub const ALL: &[SamplerName] = &[$(SamplerName::$type),*];

            /// Its name in settings and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(SamplerName::$type => stringify!($name)),* }
            }

            /// The class in diffusers that does the same.
            pub fn class(self) -> &'static str {
                match self { $(SamplerName::$type => $class),* }
            }

            /// Its options that stand in diffusers' scheduler_config.json.
            pub(super) fn keys(self) -> &'static [&'static str] {
                match self { $(SamplerName::$type => $type::KEYS),* }
            }

            /// The sampler with these options.
            ///
            /// # Errors
            /// [`Error::Config`](crate::Error::Config) for an option that it does not have or that is out of range.
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
    /// Ancestral sampling (Ho et al. 2020).
    #[default]
    ddpm: Ddpm = "DDPMScheduler",
    /// Implicit sampling (Song et al. 2021).
    ddim: Ddim = "DDIMScheduler",
}
