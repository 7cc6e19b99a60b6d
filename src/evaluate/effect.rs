//! Options of an evaluation without an effect: a user who gives one expects something that will not
//! happen.

use super::options::EvalOptions;
use super::target::{EvalTarget, ImageSource, WEIGHTS};
use crate::nn::Likelihood;
use crate::{Error, Result};

/// Options of the sampler, by their names in [`EvalOptions`].
const SAMPLING: &[&str] = &[
    "guidance",
    "guidance_rescale",
    "guidance_interval",
    "sampler",
    "steps",
    "variance_type",
    "eta",
    "set_alpha_to_one",
    "use_clipped_model_output",
    "churn",
    "snr",
    "rtol",
    "atol",
    "spacing",
];

/// How bits per dimension are measured.
enum Likelihoods {
    /// The variational bound of discrete timesteps.
    Bound,
    /// The probability flow of continuous time.
    Flow,
    /// The evidence lower bound of an autoencoder.
    Elbo,
    None,
}

impl EvalOptions {
    /// Refuses the options in `given`, names of fields of this struct and of its sampling options,
    /// that have no effect on this evaluation.
    ///
    /// # Errors
    /// [`Error::Config`] with the option and what it needs.
    pub fn check_effect(&self, target: &EvalTarget, given: &[&str]) -> Result<()> {
        if let ImageSource::Denoiser(checkpoint) = &target.source {
            let sampling = checkpoint.sampling(self.sampling)?;
            checkpoint.check_effect(&self.sampling, &sampling)?;
        }
        for option in given {
            if let Some(needs) = self.needs(target, option)? {
                let option = if *option == "variance_type" { "variance" } else { option };
                return Err(Error::Config(format!(
                    "--{} has no effect here: {needs}. Leave the option out",
                    option.replace('_', "-")
                )));
            }
        }
        Ok(())
    }

    /// What an option needs to have an effect, if the evaluation does not have it.
    fn needs(&self, target: &EvalTarget, option: &str) -> Result<Option<String>> {
        let source = &target.source;
        let from_file = matches!(source, ImageSource::Images(..));
        let denoises = matches!(source, ImageSource::Denoiser(_));
        let unless = |condition: bool, needs: &str| (!condition).then(|| needs.to_string());
        let model = "the images of --samples are there already";
        Ok(match option {
            "count" => unless(!from_file, "all images of --samples are evaluated"),
            "batch" => unless(!from_file, model),
            "null_class" | "padded" => unless(!from_file, model),
            "sweep" | "sweep_count" if from_file => Some(model.into()),
            "sweep" => unless(denoises, "an autoencoder has no sampler"),
            "sweep_count" => unless(!self.sweep.is_empty(), "it needs --sweep"),
            "balance_count" if self.balance_count != Some(0) => unless(
                self.has_labels(target)? && null_class(target),
                "it is for class-conditional denoisers with a null class, and samples with labels",
            ),
            "cas_steps" if self.cas_steps > 0 => {
                unless(self.has_labels(target)?, "the classification accuracy score needs images with classes")
            }
            "latent_components" => unless(matches!(source, ImageSource::Autoencoder { .. }), "it is for autoencoders"),
            "likelihood_images" if self.likelihood_images == Some(0) => None,
            "likelihood_images" | "likelihood_draws" | "likelihood_tolerance" => {
                let none = "bits per dimension are not measured here";
                match likelihoods(target)? {
                    Likelihoods::None => Some(none.into()),
                    _ if option != "likelihood_images" && self.likelihood_images == Some(0) => Some(none.into()),
                    Likelihoods::Flow => {
                        unless(option != "likelihood_draws", "it is for discrete timesteps and autoencoders")
                    }
                    Likelihoods::Bound | Likelihoods::Elbo => {
                        unless(option != "likelihood_tolerance", "it is for processes in continuous time")
                    }
                }
            }
            option if SAMPLING.contains(&option) && from_file => Some(model.into()),
            option if SAMPLING.contains(&option) => unless(denoises, "an autoencoder has no sampler"),
            _ => None,
        })
    }

    /// Whether the samples have classes.
    fn has_labels(&self, target: &EvalTarget) -> Result<bool> {
        Ok(match &target.source {
            ImageSource::Images(_, labels) => labels.is_some(),
            ImageSource::Autoencoder { .. } => false,
            ImageSource::Denoiser(checkpoint) => {
                target.info.conditional && checkpoint.sampling(self.sampling)?.guidance != 0.0
            }
        })
    }
}

fn null_class(target: &EvalTarget) -> bool {
    match &target.source {
        ImageSource::Denoiser(checkpoint) => {
            checkpoint.metadata.denoiser.labels.is_some_and(|labels| labels.null_class().is_some())
        }
        _ => false,
    }
}

fn likelihoods(target: &EvalTarget) -> Result<Likelihoods> {
    Ok(match &target.source {
        ImageSource::Denoiser(checkpoint) if checkpoint.denoiser(WEIGHTS)?.process.schedule().is_some() => {
            Likelihoods::Bound
        }
        ImageSource::Denoiser(_) if target.padding.has_border() => Likelihoods::None,
        ImageSource::Denoiser(_) => Likelihoods::Flow,
        ImageSource::Autoencoder { vae, .. } if vae.likelihood() == Likelihood::DiscretizedLogistic => {
            Likelihoods::Elbo
        }
        ImageSource::Autoencoder { .. } | ImageSource::Images(..) => Likelihoods::None,
    })
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::SAMPLING;
    use crate::diffusion::SamplingOptions;
    use clap::{Args, Command};

    #[test]
    fn every_sampling_option_is_known() {
        let command = SamplingOptions::augment_args(Command::new("evaluate"));
        let names: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(SAMPLING.contains(&name), "{name}");
        }
    }
}
