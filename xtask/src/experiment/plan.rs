//! The file of an experiment: which runs are trained, and how each is evaluated.
//!
//! ```toml
//! title = "Schedules"
//! document = "docs/benchmarks.md"             # receives the results with --document
//! pictures = "docs/gallery"                   # receives the pictures with --document
//! page = "docs/comparisons/schedules.html"    # receives the page with --document
//! evaluate = "--count 500 --cas-steps 0"      # options of every evaluation
//!
//! [[runs]]
//! name = "cosine"
//! train = "--preset ddpm --size tiny --schedule cosine"
//! seeds = [0, 1, 2]                           # trained with each; none: once, with the preset's seed
//!
//! [[runs.samples]]                            # none: one, with the name of the run and its sampler
//! name = "cosine-dpm"
//! options = "--sampler dpm_solver --steps 20" # of `sample` and `evaluate`
//! classifier = "classifier"                   # a run of this experiment that guides
//! ```

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An experiment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Title of the table.
    pub title: String,
    /// The document that shows the results.
    pub document: Option<PathBuf>,
    /// The folder for pictures in documents.
    pub pictures: Option<PathBuf>,
    /// The file that receives the page of `evaluate --compare`.
    pub page: Option<PathBuf>,
    /// Options of every evaluation.
    pub evaluate: String,
    /// The runs, in the order of training.
    pub runs: Vec<Run>,
    /// The folder of the runs without `--out`: `runs/` and the name of the file.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A run of an experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of its folder.
    pub name: String,
    /// Options of `train`.
    pub train: String,
    /// Seeds to train it with, as the runs NAME-SEED.
    #[serde(default)]
    pub seeds: Vec<u32>,
    /// Whether it has samples: a classifier has none.
    #[serde(default = "yes")]
    pub sampled: bool,
    /// Ways to sample from it.
    #[serde(default)]
    pub samples: Vec<Samples>,
}

/// A way to sample from a run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Name in the table, and of the picture.
    pub name: String,
    /// Options of `sample` and `evaluate`.
    #[serde(default)]
    pub options: String,
    /// The run that guides the samples.
    pub classifier: Option<String>,
    /// The name that the samples of all seeds share, of a run with several.
    #[serde(skip)]
    pub group: Option<String>,
}

fn yes() -> bool {
    true
}

impl Run {
    /// This run once for each seed.
    fn of_seeds(&self) -> Vec<Run> {
        if self.seeds.is_empty() {
            return vec![self.clone()];
        }
        let of_seed = |seed: &u32| Run {
            name: format!("{}-{seed}", self.name),
            train: format!("{} --seed {seed}", self.train),
            samples: self.samples.iter().map(|samples| samples.of_seed(*seed)).collect(),
            ..self.clone()
        };
        self.seeds.iter().map(of_seed).collect()
    }
}

impl Samples {
    fn of_seed(&self, seed: u32) -> Samples {
        Samples { name: format!("{}-{seed}", self.name), group: Some(self.name.clone()), ..self.clone() }
    }
}

impl Experiment {
    /// Reads an experiment and checks its names.
    pub fn read(path: &Path) -> Result<Experiment, String> {
        let named = |problem: String| format!("{}: {problem}", path.display());
        let text = std::fs::read_to_string(path).map_err(|problem| named(problem.to_string()))?;
        let folder = Path::new("runs").join(path.file_stem().unwrap_or_default());
        Ok(Experiment { folder, ..Experiment::parse(&text).map_err(named)? })
    }

    fn parse(text: &str) -> Result<Experiment, String> {
        let mut experiment: Experiment = toml::from_str(text).map_err(|problem| problem.to_string())?;
        for run in &mut experiment.runs {
            if run.sampled && run.samples.is_empty() {
                run.samples = vec![Samples { name: run.name.clone(), ..Samples::default() }];
            }
        }
        experiment.runs = experiment.runs.iter().flat_map(Run::of_seeds).collect();
        experiment.check()?;
        Ok(experiment)
    }

    /// Names are unique folder names, and classifiers are runs.
    fn check(&self) -> Result<(), String> {
        let runs: BTreeSet<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        let samples: Vec<&Samples> = self.runs.iter().flat_map(|run| &run.samples).collect();
        let names: BTreeSet<&str> = samples.iter().map(|samples| samples.name.as_str()).collect();
        if runs.len() < self.runs.len() || names.len() < samples.len() {
            return Err("two runs, or two samples, have the same name".into());
        }
        for name in runs.union(&names) {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
                return Err(format!("the name `{name}` is not made of letters, digits, - and _"));
            }
        }
        let mut trained = BTreeSet::new();
        for run in &self.runs {
            let guides = run.samples.iter().filter_map(|samples| samples.classifier.as_deref());
            if let Some(name) = guides.into_iter().find(|name| !trained.contains(name)) {
                return Err(format!("no run `{name}`, which guides samples of `{}`, comes before it", run.name));
            }
            trained.insert(run.name.as_str());
        }
        if samples.iter().any(|samples| samples.classifier.is_some()) && super::count(&self.evaluate).is_empty() {
            return Err("`evaluate` needs `--count NUMBER`: samples with a classifier are sampled by `sample`".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "title = 'a'\nevaluate = ''\n";

    fn problem(runs: &str) -> String {
        Experiment::parse(&format!("{HEAD}{runs}")).unwrap_err()
    }

    #[test]
    fn run_without_samples_is_sampled_once() {
        let plan = Experiment::parse(&format!(
            "{HEAD}[[runs]]\nname = 'a'\ntrain = ''\n[[runs]]\nname = 'b'\ntrain = ''\nsampled = false"
        ));
        let runs = plan.unwrap().runs;
        assert_eq!((runs[0].samples.len(), runs[1].samples.len()), (1, 0));
        assert_eq!((runs[0].samples[0].name.as_str(), runs[0].samples[0].options.as_str()), ("a", ""));
    }

    #[test]
    fn run_with_seeds_is_trained_with_each() {
        let text = "[[runs]]\nname = 'a'\ntrain = '--steps 2'\nseeds = [0, 7]\n[[runs.samples]]\nname = 'b'";
        let runs = Experiment::parse(&format!("{HEAD}{text}")).unwrap().runs;
        let found = runs.iter().map(|run| (&*run.name, &*run.train, &*run.samples[0].name));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [("a-0", "--steps 2 --seed 0", "b-0"), ("a-7", "--steps 2 --seed 7", "b-7")]
        );
        assert!(runs.iter().all(|run| run.samples[0].group.as_deref() == Some("b")));
    }

    #[test]
    fn names_that_cannot_be_folders_are_refused() {
        let twice = "[[runs]]\nname = 'a'\ntrain = ''\n".repeat(2);
        assert!(problem(&twice).contains("same name"));
        assert!(problem("[[runs]]\nname = '../a'\ntrain = ''").contains("`../a`"));
        let guided = "[[runs]]\nname = 'a'\ntrain = ''\n[[runs.samples]]\nname = 'b'\nclassifier = 'c'";
        assert!(problem(guided).contains("no run `c`"));
        assert!(problem("[[runs]]\nname = 'a'\ntrain = ''\nsteps = 3").contains("steps"));
    }

    #[test]
    fn samples_with_a_classifier_need_a_count() {
        let guide = "[[runs]]\nname = 'a'\ntrain = ''\nsampled = false\n";
        let guided = "[[runs]]\nname = 'b'\ntrain = ''\n[[runs.samples]]\nname = 'c'\nclassifier = 'a'";
        assert!(problem(&format!("{guide}{guided}")).contains("--count"));
    }
}
