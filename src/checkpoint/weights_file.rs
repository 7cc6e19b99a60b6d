//! The files of the weights next to a `config.json`: `diffusion_pytorch_model.safetensors`, the
//! shards of an index, or the only safetensors file of another name.

use super::folder::WEIGHTS;
use super::python_json::{self, quote_non_finite};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The end of the name of a list of shards.
const INDEX: &str = ".safetensors.index.json";
/// Ends of the names of pickles.
const PICKLES: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];

/// The list of shards that huggingface's libraries write.
#[derive(Deserialize)]
struct ShardIndex {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// The files of the weights in a model's folder, with a message for the user if they do not have
/// the usual name.
///
/// # Errors
/// A folder without weights, with pickled weights only, or with several files of which none has the
/// usual name; a list of shards that is damaged, or whose shards are missing.
pub(super) fn find(folder: &Path) -> Result<(Vec<PathBuf>, Option<String>)> {
    let usual = folder.join(WEIGHTS);
    if usual.is_file() {
        return Ok((vec![usual], None));
    }
    let names = file_names(folder)?;
    let with_end = |end: &str| names.iter().filter(|name| name.ends_with(end)).collect::<Vec<_>>();
    let full = with_end(INDEX).into_iter().filter(|name| !name.contains(".fp16."));
    if let Some(index) = full.chain(with_end(INDEX)).next() {
        let shards = shards(&folder.join(index))?;
        return Ok((shards, Some(format!("{}: the weights are read from the shards of {index}", folder.display()))));
    }
    match with_end(".safetensors")[..] {
        [only] => {
            let note = format!("{}: the weights are read from {only}", folder.display());
            Ok((vec![folder.join(only)], Some(note)))
        }
        [] => Err(without_safetensors(folder, &names)),
        ref several => {
            let list: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            let problem = format!(
                "holds several files of weights: {}. Rename the one to use to {WEIGHTS}, or shards without their index \
                 need {WEIGHTS}.index.json",
                list.join(", ")
            );
            Err(Error::file(folder, problem))
        }
    }
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The error of a folder without safetensors files.
fn without_safetensors(folder: &Path, names: &[String]) -> Error {
    let pickle = names.iter().find(|name| PICKLES.iter().any(|end| name.ends_with(end)));
    if let Some(pickle) = pickle {
        let (from, to) = (folder.join(pickle), folder.join(WEIGHTS));
        let problem = format!(
            "a pickle can run code and is not read. If you trust it, convert it: python -c \"import torch; from \
             safetensors.torch import save_file; save_file(torch.load('{}', map_location='cpu', weights_only=True), \
             '{}')\"",
            from.display(),
            to.display()
        );
        return Error::file(from, problem);
    }
    let there = if names.is_empty() { "nothing".into() } else { names.join(", ") };
    let problem = format!("there is no such file and no other safetensors file in its folder, only {there}");
    Error::file(folder.join(WEIGHTS), problem)
}

/// The shards of an index, without repetition.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let text = quote_non_finite(&python_json::read(index)?);
    let list: ShardIndex =
        serde_json::from_str(&text).map_err(|e| Error::file(index, format!("not a list of shards: {e}")))?;
    let names: BTreeSet<&String> = list.weight_map.values().collect();
    if names.is_empty() {
        return Err(Error::file(index, "not a list of shards: `weight_map` is empty"));
    }
    let folder = index.parent().unwrap_or(Path::new(""));
    let shard = |name: &&String| {
        if Path::new(name.as_str()).file_name() != Some(name.as_ref()) {
            return Err(Error::file(index, format!("the shard `{name}` is not a file of this folder")));
        }
        let path = folder.join(name.as_str());
        if !path.is_file() {
            let problem = format!("the shard {name} is missing: download it into this folder");
            return Err(Error::file(index, problem));
        }
        Ok(path)
    };
    names.iter().map(shard).collect()
}
