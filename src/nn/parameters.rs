//! The parameters of a model: an ordered list of named tensors in one flat buffer, their initial
//! values, and their binding to a tape.
//!
//! Several flat buffers have this layout: the parameters, their gradients, Adam's moments, the EMA
//! of the weights. So Adam, gradient clipping and the EMA are one kernel call each, and a model can
//! be sampled with the weights of any of these buffers.
//!
//! Tensors that one kernel call uses together can be joined: they follow one another in the buffer,
//! and a tape has them as one tensor. Checkpoints have each of them by name.

use crate::gpu::Context;
use crate::rng::{key, normal, philox, uniform};
use crate::tape::{BufferOffset, Dtype, Shape, Tape, Tensor, stream};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Name of the buffer of the parameters, updated by training.
pub const PARAMETERS: &str = "parameters";
/// Name of the buffer of the gradients, written by backward calls.
pub const GRADIENTS: &str = "gradients";

/// Alignment in bytes of a tensor in a flat buffer, so that a kernel can bind it.
pub(super) const ALIGNMENT: u64 = 256;
/// A flat buffer is a multiple of this many bytes, like every tensor.
const PADDING: u64 = 16;
/// Largest flat buffer in bytes. Devices bind at most 4 GiB.
const MAX_BYTES: u64 = 1 << 32;

/// A tensor of a model, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterId(usize);

/// Several tensors of a model that a tape has as one, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedId(usize);

/// Distribution of the initial values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// All zero: biases of normalizations.
    Zeros,
    /// All one: weights of normalizations.
    Ones,
    /// Standard normal numbers: embeddings.
    Normal,
    /// Uniform in ±1/sqrt(n) for a layer whose outputs sum over n inputs: weights and biases of
    /// convolutions and linear layers (He et al. 2015 with a = sqrt(5), as PyTorch does).
    Uniform {
        /// Inputs that an output sums over.
        fan_in: u32,
    },
}

/// Initialization of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum Initialization {
    /// PyTorch's default for every layer.
    #[serde(rename = "pytorch")]
    #[cfg_attr(feature = "cli", value(name = "pytorch"))]
    PyTorch,
    /// The same, except that the last layer of every residual branch and of the model is zero:
    /// blocks start as the identity and the model's output as zero (Ho et al. 2020).
    #[default]
    ZeroLast,
}

/// A named tensor of a model.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the state dict of diffusers.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Offset in bytes in its flat buffer, which holds either the trained tensors or the running
    /// statistics.
    pub offset: u64,
    /// Distribution of its initial values.
    pub initial: Initial,
    /// Whether it belongs to the last layer of a residual branch or of the model.
    pub last: bool,
    /// Whether it is a running statistic: saved with the model, but written by a layer and not by
    /// the optimizer.
    pub statistic: bool,
}

impl Parameter {
    /// Its elements in its flat buffer of f32.
    pub fn range(&self) -> std::ops::Range<usize> {
        let first = self.offset as usize / 4;
        first..first + self.shape.len()
    }
}

/// The tensors of a model, in order.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// The joined tensors, as numbers in the list.
    joined: Vec<Vec<usize>>,
    /// Bytes of the flat buffer and of the statistics.
    ends: [u64; 2],
    dropouts: u32,
}

impl Parameters {
    /// An empty list. Layers add their tensors.
    pub fn new() -> Parameters {
        Parameters::default()
    }

    /// Adds a tensor.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn add(&mut self, name: String, shape: Shape, initial: Initial) -> ParameterId {
        self.push(name, shape, initial, false)
    }

    /// Adds a running statistic: saved with the model, but written by a layer and not by the
    /// optimizer.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn add_statistic(&mut self, name: String, shape: Shape, initial: Initial) -> ParameterId {
        self.push(name, shape, initial, true)
    }

    #[track_caller]
    fn push(&mut self, name: String, shape: Shape, initial: Initial, statistic: bool) -> ParameterId {
        assert!(self.list.iter().all(|p| p.name != name), "two parameters are called `{name}`");
        self.list.push(Parameter { name, shape, offset: 0, initial, last: false, statistic });
        self.append(self.list.len() - 1, ALIGNMENT);
        ParameterId(self.list.len() - 1)
    }

    /// Gives a tensor the next offset that is a multiple of `alignment`.
    fn append(&mut self, number: usize, alignment: u64) {
        let p = &mut self.list[number];
        let end = &mut self.ends[usize::from(p.statistic)];
        p.offset = end.next_multiple_of(alignment);
        *end = p.offset + (size_of::<f32>() * p.shape.len()) as u64;
    }

    /// Joins trained tensors that differ at most in the first dimension: on a tape they are one
    /// tensor, with one after another along that dimension. This moves tensors in the flat buffer.
    ///
    /// # Panics
    /// If the tensors have other shapes, are running statistics, or are joined twice.
    #[track_caller]
    pub fn join(&mut self, tensors: &[ParameterId]) -> JoinedId {
        let numbers: Vec<usize> = tensors.iter().map(|id| id.0).collect();
        let [first, ..] = numbers[..] else { panic!("no tensors to join") };
        for (i, &number) in numbers.iter().enumerate() {
            let p = &self.list[number];
            assert!(!numbers[..i].contains(&number), "`{}` is joined with itself", p.name);
            assert!(!p.statistic, "`{}` is a statistic, which cannot be joined", p.name);
            assert!(self.group(number).is_none(), "`{}` was joined before", p.name);
            let rest = |p: &Parameter| p.shape.dims()[1..].to_vec();
            assert_eq!(rest(p), rest(&self.list[first]), "`{}` does not fit `{}`", p.name, self.list[first].name);
        }
        self.joined.push(numbers);
        self.ends = [0; 2];
        for number in 0..self.list.len() {
            match self.group(number).cloned() {
                None => self.append(number, ALIGNMENT),
                Some(group) if group[0] == number => {
                    self.append(number, ALIGNMENT);
                    group[1..].iter().for_each(|&other| self.append(other, size_of::<f32>() as u64));
                }
                Some(_) => {}
            }
        }
        JoinedId(self.joined.len() - 1)
    }

    /// The joined tensors to which a tensor belongs.
    fn group(&self, number: usize) -> Option<&Vec<usize>> {
        self.joined.iter().find(|group| group.contains(&number))
    }

    /// Returns a new number for a dropout layer, so that no two layers share a mask.
    pub fn number_dropout(&mut self) -> u32 {
        self.dropouts += 1;
        self.dropouts - 1
    }

    /// Marks a tensor as belonging to the last layer of a branch: see [`Initialization::ZeroLast`].
    pub fn mark_last(&mut self, id: ParameterId) {
        self.list[id.0].last = true;
    }

    /// The tensors in the order in which layers added them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// A tensor by name.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.list.iter().find(|p| p.name == name)
    }

    /// Number of trained parameters.
    pub fn count(&self) -> usize {
        self.list.iter().filter(|p| !p.statistic).map(|p| p.shape.len()).sum()
    }

    /// Bytes of a flat buffer. Up to 252 bytes of padding between tensors stay zero.
    pub fn bytes(&self) -> u64 {
        self.end(false)
    }

    /// Checks that a device can hold the parameters in one buffer.
    ///
    /// # Errors
    /// [`Error::Config`] for more than 2^30 parameters, padding included.
    pub(super) fn check_size(&self) -> Result<()> {
        let bytes = self.end(false).max(self.end(true));
        if bytes <= MAX_BYTES {
            return Ok(());
        }
        Err(Error::Config(format!(
            "the model has {:.1} GB of parameters, and {:.1} GB are supported: use fewer channels or layers",
            bytes as f64 * 1e-9,
            MAX_BYTES as f64 * 1e-9
        )))
    }

    fn end(&self, statistic: bool) -> u64 {
        self.ends[usize::from(statistic)].next_multiple_of(PADDING)
    }

    /// Shape of all running statistics as one tensor; `None` for a model without any.
    pub fn statistics(&self) -> Option<Shape> {
        let bytes = self.end(true);
        (bytes > 0).then(|| Shape::f32([(bytes / 4) as u32]))
    }

    /// Number of f32 in a flat buffer and its statistics.
    pub fn length(&self) -> usize {
        self.flat_shape().len() + self.statistics().map_or(0, |s| s.len())
    }

    /// Range of a tensor in a flat buffer followed by its statistics: the layout of a model's
    /// values on the host.
    pub fn place(&self, p: &Parameter) -> std::ops::Range<usize> {
        let before = if p.statistic { self.flat_shape().len() } else { 0 };
        before + p.range().start..before + p.range().end
    }

    /// Writes a model's values (a flat buffer, followed by its statistics) to the named buffer
    /// `buffer`, which is created if necessary.
    ///
    /// # Errors
    /// Out of memory.
    pub fn write(&self, ctx: &mut Context, buffer: &str, values: &[f32]) -> Result<()> {
        let (trained, statistics) = values.split_at(self.flat_shape().len());
        for (name, values) in [(buffer.to_owned(), trained), (statistics_of(buffer), statistics)] {
            if !values.is_empty() {
                ctx.require(&name, size_of_val(values) as u64)?;
                ctx.write(&name, 0, values)?;
            }
        }
        Ok(())
    }

    /// Reads a model's values from the named buffer `buffer`: the flat buffer, followed by its
    /// statistics.
    pub fn read(&self, ctx: &Context, buffer: &str) -> Result<Vec<f32>> {
        let mut values = ctx.read(buffer, 0, self.flat_shape().len())?;
        if let Some(statistics) = self.statistics() {
            values.extend(ctx.read::<f32>(&statistics_of(buffer), 0, statistics.len())?);
        }
        Ok(values)
    }

    /// Shape of a whole flat buffer as one tensor.
    pub fn flat_shape(&self) -> Shape {
        Shape::f32([(self.bytes() / 4) as u32])
    }

    /// The initial values: a flat buffer, followed by its statistics. The values of a tensor depend
    /// only on the seed and the tensor's number.
    pub fn initialize(&self, seed: u64, how: Initialization) -> Vec<f32> {
        let mut values = vec![0.0; self.length()];
        for (number, parameter) in self.list.iter().enumerate() {
            if !(parameter.last && how == Initialization::ZeroLast) {
                draw(&mut values[self.place(parameter)], parameter.initial, seed, number as u32);
            }
        }
        values
    }

    /// Binds the tensors to a tape for training: values from [`PARAMETERS`], gradients to
    /// [`GRADIENTS`].
    pub fn trained(&self, t: &mut Tape) -> Weights {
        let statistics = statistics_of(PARAMETERS);
        self.bind(true, |p, shape| {
            if p.statistic {
                t.view(&statistics, p.offset, shape)
            } else {
                t.parameter(shape, BufferOffset::new(PARAMETERS, p.offset), BufferOffset::new(GRADIENTS, p.offset))
            }
        })
    }

    /// Binds the tensors to a tape that only reads them, from a named buffer.
    pub fn fixed(&self, t: &mut Tape, buffer: &str) -> Weights {
        let statistics = statistics_of(buffer);
        self.bind(false, |p, shape| t.view(if p.statistic { &statistics } else { buffer }, p.offset, shape))
    }

    /// Calls `bind` for every tensor of a tape, with the first of the joined ones and their shape.
    fn bind(&self, training: bool, mut bind: impl FnMut(&Parameter, Shape) -> Tensor) -> Weights {
        let alone = |(number, p): (usize, &Parameter)| match self.group(number) {
            None => Ok(bind(p, p.shape)),
            Some(_) => Err(p.name.clone()),
        };
        let tensors = self.list.iter().enumerate().map(alone).collect();
        let together = |group: &Vec<usize>| {
            let first = &self.list[group[0]];
            let mut dims = first.shape.dims().to_vec();
            dims[0] = group.iter().map(|&number| self.list[number].shape.dims()[0]).sum();
            bind(first, Shape::new(&dims, Dtype::F32))
        };
        let joined = self.joined.iter().map(together).collect();
        Weights { tensors, joined, training }
    }
}

/// Name of the buffer of the running statistics that belong to a flat buffer.
pub fn statistics_of(buffer: &str) -> String {
    format!("{buffer}.statistics")
}

/// A model's tensors on one tape.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The tensors that are not joined, or the names of those that are.
    tensors: Vec<std::result::Result<Tensor, String>>,
    joined: Vec<Tensor>,
    training: bool,
}

impl Weights {
    /// A tensor on the tape.
    ///
    /// # Panics
    /// If it was joined with others: [`Weights::joined`] returns them.
    #[track_caller]
    pub fn get(&self, id: ParameterId) -> Tensor {
        match &self.tensors[id.0] {
            Ok(tensor) => *tensor,
            Err(name) => panic!("`{name}` is joined with others, and not a tensor by itself"),
        }
    }

    /// Joined tensors on the tape, as one tensor.
    pub fn joined(&self, id: JoinedId) -> Tensor {
        self.joined[id.0]
    }

    /// Whether layers run in training mode: dropout drops, batch normalization uses and updates the
    /// batch's statistics.
    pub fn training(&self) -> bool {
        self.training
    }
}

fn draw(values: &mut [f32], initial: Initial, seed: u64, number: u32) {
    for (block, values) in values.chunks_mut(4).enumerate() {
        let words = || philox([stream::PARAMETER, number, block as u32, 0], key(seed));
        let drawn = match initial {
            Initial::Zeros => [0.0; 4],
            Initial::Ones => [1.0; 4],
            Initial::Normal => {
                let [a, b, c, d] = words();
                let ([a, b], [c, d]) = (normal([a, b]), normal([c, d]));
                [a, b, c, d]
            }
            Initial::Uniform { fan_in } => words().map(|w| (2.0 * uniform(w) - 1.0) / f64::from(fan_in).sqrt()),
        };
        values.iter_mut().zip(drawn).for_each(|(value, drawn)| *value = drawn as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Target;

    fn three() -> Parameters {
        let mut parameters = Parameters::new();
        parameters.add("a.weight".into(), Shape::f32([8, 3, 3, 3]), Initial::Uniform { fan_in: 27 });
        let last = parameters.add("b.weight".into(), Shape::f32([5]), Initial::Uniform { fan_in: 27 });
        parameters.mark_last(last);
        parameters.add("c.weight".into(), Shape::f32([40, 10]), Initial::Normal);
        parameters
    }

    #[test]
    fn parameters_are_aligned_and_have_buffers() {
        let parameters = three();
        let offsets: Vec<u64> = parameters.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [0, 1024, 1280]);
        assert_eq!((parameters.bytes(), parameters.count()), (1280 + 1600, 216 + 5 + 400));
        let mut tape = Tape::new(Target::LAVAPIPE);
        parameters.trained(&mut tape);
        let sizes = tape.buffer_sizes();
        assert_eq!(sizes[PARAMETERS], parameters.bytes());
        assert_eq!(sizes[GRADIENTS], parameters.bytes());
    }

    #[test]
    fn parameters_that_are_joined_follow_one_another_and_keep_their_values() {
        let mut parameters = Parameters::new();
        let mut add =
            |name: &str, rows| parameters.add(name.into(), Shape::f32([rows, 5]), Initial::Uniform { fan_in: 5 });
        let (a, b, c, d) = (add("a", 3), add("b", 2), add("c", 5), add("d", 1));
        let alone = parameters.clone();
        let joined = parameters.join(&[c, a]);
        let e = parameters.add("e".into(), Shape::f32([6]), Initial::Normal);
        let offsets: Vec<u64> = parameters.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [256 + 4 * 25, 0, 256, 512, 768]);

        let values = parameters.initialize(7, Initialization::PyTorch);
        let before = alone.initialize(7, Initialization::PyTorch);
        for (p, old) in parameters.iter().zip(alone.iter()) {
            assert_eq!(values[p.range()], before[old.range()], "{}", p.name);
        }

        let mut tape = Tape::new(Target::LAVAPIPE);
        let weights = parameters.trained(&mut tape);
        assert_eq!(tape.shape(weights.joined(joined)), Shape::f32([8, 5]));
        assert_eq!([b, d, e].map(|id| tape.shape(weights.get(id)).len()), [10, 5, 6]);
        assert_eq!(tape.buffer_sizes()[GRADIENTS], parameters.bytes());
        let problem = std::panic::catch_unwind(|| weights.get(a)).unwrap_err();
        assert!(problem.downcast_ref::<String>().unwrap().contains("`a` is joined"));
    }

    #[test]
    #[should_panic(expected = "`b.weight` does not fit `a.weight`")]
    fn parameters_of_other_shapes_are_not_joined() {
        three().join(&[ParameterId(0), ParameterId(1)]);
    }

    #[test]
    #[should_panic(expected = "`a.weight` was joined before")]
    fn parameters_are_joined_once() {
        let mut parameters = three();
        parameters.join(&[ParameterId(0)]);
        parameters.join(&[ParameterId(0)]);
    }

    #[test]
    fn parameters_are_initialized_from_the_seed_and_their_name() {
        let parameters = three();
        let values = parameters.initialize(7, Initialization::PyTorch);
        let of = |values: &[f32], name| values[parameters.find(name).unwrap().range()].to_vec();
        let bound = 1.0 / 27f32.sqrt();
        let largest = |v: &[f32]| v.iter().fold(0f32, |m, x| m.max(x.abs()));
        let weight = of(&values, "a.weight");
        assert!(largest(&weight) <= bound && largest(&weight) > 0.95 * bound);
        let mut distinct: Vec<u32> = values.iter().filter(|&&x| x != 0.0).map(|x| x.to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), parameters.count(), "a number was drawn twice, or is zero");
        let gaps = values.iter().enumerate().filter(|(i, _)| parameters.iter().all(|p| !p.range().contains(i)));
        assert!(gaps.map(|(_, x)| *x).all(|x| x == 0.0));

        let zero = parameters.initialize(7, Initialization::ZeroLast);
        assert_eq!(of(&zero, "b.weight"), [0.0; 5]);
        assert_eq!(of(&zero, "c.weight"), of(&values, "c.weight"), "depends on another tensor");
        assert_ne!(of(&parameters.initialize(8, Initialization::PyTorch), "a.weight"), weight);
        assert_ne!(of(&parameters.initialize(7 + (1 << 32), Initialization::PyTorch), "a.weight"), weight);
    }

    #[test]
    #[should_panic(expected = "two parameters are called `a.weight`")]
    fn parameters_refuse_a_name_twice() {
        three().add("a.weight".into(), Shape::f32([1]), Initial::Zeros);
    }
}
