//! Model files: a state dict in safetensors, with the names of diffusers. Reading is strict where
//! diffusers only warns: a tensor that is missing, unknown or of another shape is an error, because
//! a model with a random tensor would still sample images.

use super::not_the_file::not_the_file;
use crate::nn::{Parameter, Parameters};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Number of problems of a file that are listed. The others are only counted.
const NAMED: usize = 10;

/// Names of attention layers before diffusers 0.13, as in all google/ddpm-* files, and their new
/// names.
const LEGACY: [(&str, &str); 4] = [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// Reads the files of a state dict (one, or several shards) into a flat buffer of parameters,
/// followed by the running statistics. 16-bit values are converted to f32.
///
/// # Errors
/// [`Error::Io`], or [`Error::File`] that lists the tensors that are missing, unknown or of another
/// shape, up to ten.
pub fn read(paths: &[PathBuf], parameters: &Parameters) -> Result<Vec<f32>> {
    let files: Vec<Vec<u8>> =
        paths.iter().map(|path| std::fs::read(path).map_err(Error::io(path))).collect::<Result<_>>()?;
    let shards = paths.iter().zip(&files).map(|(path, bytes)| {
        SafeTensors::deserialize(bytes).map_err(|error| Error::file(path, explain(&error, bytes)))
    });
    let shards = shards.collect::<Result<Vec<_>>>()?;
    // A missing tensor is in none of the shards, so the message names their folder.
    let place = match paths {
        [path] => path.clone(),
        _ => paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).into(),
    };
    merge(&shards, parameters).map_err(|problem| Error::file(place, problem))
}

/// Writes a flat buffer as a state dict; the old file stays until the new one is complete.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, parameters: &Parameters, values: &[f32]) -> Result<()> {
    crate::files::write_atomically(path, &to_bytes(parameters, values))
}

/// [`read`] of one file in memory; the error says what is wrong.
///
/// # Errors
/// A message that names the tensors that are missing, unknown, of another shape or not finite, or
/// says how the file is damaged.
pub fn from_bytes(bytes: &[u8], parameters: &Parameters) -> std::result::Result<Vec<f32>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| explain(&error, bytes))?;
    merge(&[file], parameters)
}

fn merge(shards: &[SafeTensors<'_>], parameters: &Parameters) -> std::result::Result<Vec<f32>, String> {
    let mut tensors: BTreeMap<String, TensorView<'_>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, tensor) in shards.iter().flat_map(SafeTensors::iter) {
        let name = current(name);
        if tensors.contains_key(&name) {
            problems.push(format!("`{name}` occurs twice: in two shards, or under its old and its new name"));
        }
        tensors.insert(name, tensor);
    }
    let mut fitting = vec![];
    for parameter in parameters.iter() {
        let name = &parameter.name;
        let Some(tensor) = tensors.remove(name) else {
            problems.push(format!("`{name}` is missing"));
            continue;
        };
        let wanted: Vec<usize> = parameter.shape.dims().iter().map(|&d| d as usize).collect();
        if tensor.shape() != wanted {
            problems.push(format!("`{name}` has the shape {:?}, not {wanted:?}", tensor.shape()));
        } else {
            fitting.push((parameter, tensor));
        }
    }
    problems.extend(tensors.keys().map(|name| format!("`{name}` is not a tensor of this model")));
    // A config can promise any size. It is allocated when the file has as many values.
    let mut all = if problems.is_empty() { vec![0.0; parameters.length()] } else { vec![] };
    for (parameter, tensor) in fitting {
        let name = &parameter.name;
        match widen(&tensor) {
            None => problems.push(format!("`{name}` is of type {}, not F32, F16 or BF16", tensor.dtype())),
            Some(values) if values.iter().any(|x| !x.is_finite()) => {
                problems.push(format!("`{name}` holds values that are not finite"));
            }
            Some(values) if !all.is_empty() => all[parameters.place(parameter)].copy_from_slice(&values),
            Some(_) => {}
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(list(&problems)) }
}

/// A flat buffer as a file in memory.
///
/// # Panics
/// If `values` does not have the length of the parameters.
#[track_caller]
pub fn to_bytes(parameters: &Parameters, values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len(), parameters.length(), "the values do not have the length of the parameters");
    let view = |parameter: &Parameter| {
        let shape = parameter.shape.dims().iter().map(|&d| d as usize).collect();
        let data = bytemuck::cast_slice(&values[parameters.place(parameter)]);
        let view = TensorView::new(Dtype::F32, shape, data).expect("shape and data come from one parameter");
        (parameter.name.clone(), view)
    };
    // The map's type is inferred, because safetensors uses another crate's map without std.
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize(parameters.iter().map(view), Some(metadata))
        .expect("names and shapes can be written as JSON")
}

/// The current name of a tensor.
fn current(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let renamed = |(i, part): (usize, &&str)| {
        let in_attention = i >= 2 && parts[i - 2] == "attentions";
        LEGACY.iter().find(|(old, _)| in_attention && old == part).map_or(part.to_string(), |(_, new)| new.to_string())
    };
    parts.iter().enumerate().map(renamed).collect::<Vec<_>>().join(".")
}

/// The values of a tensor of F32, F16 or BF16; `None` for another type.
fn widen(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = tensor.data();
    let words = || data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match tensor.dtype() {
        Dtype::F32 => Some(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::BF16 => Some(words().map(|w| f32::from_bits(u32::from(w) << 16)).collect()),
        Dtype::F16 => Some(words().map(widen_half).collect()),
        _ => None,
    }
}

/// IEEE 754 half precision: sign, 5 bits of exponent, 10 of mantissa.
fn widen_half(word: u16) -> f32 {
    let magnitude = u32::from(word & 0x7fff) << 13;
    // Read as f32 bits, this is the value times 2^-112, including subnormal values.
    let value = if magnitude >= 0x7c00 << 13 {
        f32::from_bits(magnitude | 0x7f80_0000)
    } else {
        f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)
    };
    if word >> 15 == 1 { -value } else { value }
}

fn list(problems: &[String]) -> String {
    let named = problems[..problems.len().min(NAMED)].join("\n  ");
    let more = problems.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("this is not a state dict of this model:\n  {named}{rest}")
}

fn explain(error: &SafeTensorError, bytes: &[u8]) -> String {
    use SafeTensorError as E;
    if let Some(problem) = not_the_file(bytes) {
        return problem.into();
    }
    if bytes.starts_with(b"PK") {
        return "this is a zip archive, such as PyTorch's old .bin files: save the model as safetensors".into();
    }
    let length = bytes.len();
    let header = || bytes.get(..8).map_or(0, |b| b.iter().rev().fold(0, |n, &x| n << 8 | u64::from(x)));
    match error {
        E::HeaderTooSmall => format!("not a safetensors file: it has only {length} bytes"),
        E::HeaderTooLarge | E::InvalidHeaderLength => {
            format!(
                "not a safetensors file, or cut short: the header should have {} bytes, but the file has {length}",
                header()
            )
        }
        E::MetadataIncompleteBuffer => {
            format!("cut short, or something was appended: its header does not fit its length of {length} bytes")
        }
        other => format!("a damaged safetensors file: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Initial, Initialization};
    use crate::tape::Shape;

    fn model() -> Parameters {
        let mut p = Parameters::new();
        p.add("mid_block.attentions.0.to_q.weight".into(), Shape::f32([3, 5]), Initial::Normal);
        p.add("mid_block.attentions.0.to_out.0.bias".into(), Shape::f32([3]), Initial::Normal);
        p.add("conv.weight".into(), Shape::f32([2, 3, 3, 3]), Initial::Normal);
        p
    }

    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors.iter().map(|&(name, dtype, shape, data)| {
            (name.to_owned(), TensorView::new(dtype, shape.to_vec(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn state_dict_is_read_as_written() {
        let values = model().initialize(3, Initialization::PyTorch);
        let bytes = to_bytes(&model(), &values);
        assert_eq!(from_bytes(&bytes, &model()).unwrap(), values);
        assert!(String::from_utf8_lossy(&bytes).contains(r#""__metadata__":{"format":"pt"}"#));
    }

    #[test]
    fn state_dict_translates_old_names() {
        assert_eq!(current("mid_block.attentions.0.query.weight"), "mid_block.attentions.0.to_q.weight");
        assert_eq!(current("up_blocks.1.attentions.2.proj_attn.bias"), "up_blocks.1.attentions.2.to_out.0.bias");
        assert_eq!(current("key.weight"), "key.weight");
    }

    #[test]
    fn state_dict_names_every_problem() {
        let zeros = [0u8; 60];
        let bytes = file(&[
            ("mid_block.attentions.0.query.weight", Dtype::F32, &[5, 3], &zeros[..60]),
            ("conv.weight", Dtype::U8, &[2, 3, 3, 3], &zeros[..54]),
            ("stranger", Dtype::F32, &[1], &zeros[..4]),
        ]);
        let error = from_bytes(&bytes, &model()).unwrap_err();
        for part in [
            "`mid_block.attentions.0.to_q.weight` has the shape [5, 3], not [3, 5]",
            "`mid_block.attentions.0.to_out.0.bias` is missing",
            "`conv.weight` is of type U8",
            "`stranger` is not a tensor of this model",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let mut large = model();
        for i in 0..20 {
            large.add(format!("layer.{i}"), Shape::f32([1]), Initial::Zeros);
        }
        let error = from_bytes(&bytes, &large).unwrap_err();
        assert!(error.contains("and 14 more"), "{error}");
        let nan = f32::NAN.to_le_bytes();
        let mut one = Parameters::new();
        one.add("x".into(), Shape::f32([1]), Initial::Zeros);
        assert!(from_bytes(&file(&[("x", Dtype::F32, &[1], &nan)]), &one).unwrap_err().contains("not finite"));
    }

    #[test]
    fn state_dict_refuses_damaged_files() {
        let bytes = to_bytes(&model(), &model().initialize(3, Initialization::PyTorch));
        let error = |bytes: &[u8]| from_bytes(bytes, &model()).unwrap_err();
        assert!(error(&[]).contains("only 0 bytes"));
        assert!(error(&bytes[..100]).contains("but the file has 100"));
        assert!(error(&bytes[..bytes.len() - 1]).contains("cut short"));
        assert!(error(&[&bytes[..], &[0]].concat()).contains("appended"));
        assert!(error(&[&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()).contains("18446744073709551615"));
        let mut bad = bytes.clone();
        bad[8] = b'!';
        assert!(error(&bad).contains("damaged"), "{}", error(&bad));
        assert!(error(b"PK\x03\x04 and so on").contains(".bin"));
    }

    #[test]
    fn state_dict_widens_half_precision() {
        let cases: [(u16, f32); 7] = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
        ];
        for (half, value) in cases {
            assert_eq!(widen_half(half), value);
        }
        assert!(widen_half(0x7e00).is_nan());
        assert_eq!(widen_half(0xfc00), f32::NEG_INFINITY);
        let mut p = Parameters::new();
        p.add("x".into(), Shape::f32([2]), Initial::Zeros);
        let read = |dtype, data: &[u8]| from_bytes(&file(&[("x", dtype, &[2], data)]), &p).unwrap()[..2].to_vec();
        assert_eq!(read(Dtype::BF16, &[0x80, 0x3f, 0x20, 0xc0]), [1.0, -2.5]);
        assert_eq!(read(Dtype::F16, &[0x00, 0x3c, 0x00, 0xc1]), [1.0, -2.5]);
    }
}
