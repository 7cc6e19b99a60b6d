//! The U-Net of denoising diffusion (Ho et al. 2020), as diffusers' `UNet2DModel` computes it from the same `config.json` and state dict.
//!
//! ```text
//! e = linear_2(silu(linear_1(sinusoid(timestep)))) + class embedding
//! h = conv_in(x)                            every h on the way down is kept
//! each level down: residual block, [attention], ... ; halve, except in the last
//! residual block, [attention], residual block
//! each level up: concat with the last kept h, residual block, [attention], ... ; double, except in the last
//! y = conv_out(silu(norm(h)))
//! ```

use super::layers::{Conv, Linear, Norm};
use super::network::{Conditions, Model, Network};
use super::parameters::{Initial, ParameterId, Parameters, Weights};
use super::unet_choices::Activation;
use super::unet_config::UNet2dConfig;
use super::unet_levels::{Level, Mid, down, mid, up};
use crate::Result;
use crate::gpu::Target;
use crate::ops::add::add;
use crate::ops::affine::affine;
use crate::ops::concat::concat;
use crate::ops::embedding::embedding;
use crate::ops::silu::silu;
use crate::ops::upsample::upsample;
use crate::tape::{Shape, Tape, Tensor};

/// A U-Net: its parameters' names and shapes, and how they are computed with.
#[derive(Clone, Debug)]
pub struct UNet2d {
    config: UNet2dConfig,
    parameters: Parameters,
    time: [Linear; 2],
    classes: Option<ParameterId>,
    conv_in: Conv,
    down: Vec<Level>,
    mid: Option<Mid>,
    up: Vec<Level>,
    norm_out: Norm,
    conv_out: Conv,
}

impl UNet2d {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the config cannot be computed.
    pub fn new(config: UNet2dConfig) -> Result<UNet2d> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let first = config.block_out_channels[0];
        let time_width = config.time_width();
        Ok(UNet2d {
            conv_in: Conv::same(p, "conv_in", config.in_channels, first),
            time: [
                Linear::new(p, "time_embedding.linear_1", first, time_width),
                Linear::new(p, "time_embedding.linear_2", time_width, time_width),
            ],
            classes: config
                .num_class_embeds
                .map(|count| p.add("class_embedding.weight".into(), Shape::f32([count, time_width]), Initial::Normal)),
            down: down(p, &config),
            mid: config.mid_block_type.map(|_| mid(p, &config)),
            up: up(p, &config),
            norm_out: Norm::new(p, "conv_norm_out", first, config.norm_num_groups, config.norm_eps as f32),
            conv_out: Conv::same(p, "conv_out", first, config.out_channels).last(p),
            config,
            parameters,
        })
    }

    /// Its settings.
    pub fn config(&self) -> &UNet2dConfig {
        &self.config
    }

    /// The time and class embedding, activated as every residual block takes it.
    #[track_caller]
    fn embed(&self, t: &mut Tape, w: &Weights, conditions: Conditions) -> Tensor {
        let Some(time) = conditions.time else { panic!("the model must be told the time") };
        let mut e = self.time[0].rows(t, w, time);
        e = silu(t, e);
        e = self.time[1].rows(t, w, e);
        match (self.classes, conditions.labels) {
            (Some(table), Some(labels)) => {
                let class = embedding(t, labels, w.get(table));
                e = add(t, e, class);
            }
            (None, None) => (),
            (Some(_), None) => panic!("the model has classes, but no labels are given"),
            (None, Some(_)) => panic!("labels are given, but the model has no classes"),
        }
        self.config.act_fn.apply(t, e)
    }

    /// Floating-point operations of one forward pass for one picture.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the size does not fit.
    pub fn flops(&self, height: u32, width: u32) -> Result<u64> {
        self.config.check_size(height, width)?;
        let mut t = Tape::new(Target::TILES);
        let w = self.parameters.fixed(&mut t, super::PARAMETERS);
        let x = t.memory("x", Shape::f32([1, self.config.in_channels, height, width]));
        let time = Some(t.memory("time", Shape::f32([1, self.time_width()])));
        let labels = self.classes.map(|_| t.memory("labels", Shape::u32([1])));
        self.forward(&mut t, &w, x, Conditions { time, labels });
        let shapes = |inputs: &[Tensor]| inputs.iter().map(|&x| t.shape(x)).collect::<Vec<_>>();
        Ok(t.nodes().iter().map(|node| node.op.flops(&shapes(&node.inputs))).sum())
    }
}

impl Model for UNet2d {
    fn class(&self) -> &'static str {
        "UNet2DModel"
    }

    fn config_json(&self) -> String {
        self.config.to_json()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image(&self) -> Option<[u32; 3]> {
        let [height, width] = self.config.sample_size?.height_width();
        Some([self.config.in_channels, height, width])
    }
}

impl Network for UNet2d {
    fn time_width(&self) -> u32 {
        self.config.block_out_channels[0]
    }

    /// The sines and cosines of [`sinusoid`].
    fn time_row(&self, time: f64) -> Vec<f64> {
        let c = &self.config;
        sinusoid(time, c.block_out_channels[0] as usize, c.flip_sin_to_cos, c.freq_shift)
    }

    fn classes(&self) -> Option<u32> {
        self.config.num_class_embeds
    }

    fn check_size(&self, height: u32, width: u32) -> Result<()> {
        self.config.check_size(height, width)
    }

    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let [_, _, height, width] = t.shape(x).as_array();
        self.config.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let e = self.embed(t, w, conditions);

        let x = if self.config.center_input_sample { affine(t, x, 2.0, -1.0) } else { x };
        let mut h = self.conv_in.forward(t, w, x);
        let mut kept = vec![h];
        for level in &self.down {
            for layer in &level.layers {
                h = layer.forward(t, w, h, e);
                kept.push(h);
            }
            if let Some(halve) = &level.resample {
                h = halve.forward(t, w, h);
                kept.push(h);
            }
        }
        if let Some(Mid { first, second }) = &self.mid {
            h = first.forward(t, w, h, e);
            h = second.forward(t, w, h, e);
        }
        for level in &self.up {
            for layer in &level.layers {
                let skip = kept.pop().expect("as many maps are kept as there are layers on the way up");
                h = concat(t, h, skip);
                h = layer.forward(t, w, h, e);
            }
            if let Some(after) = &level.resample {
                h = upsample(t, h);
                h = after.forward(t, w, h);
            }
        }
        assert!(kept.is_empty(), "every kept map is used");
        h = self.norm_out.activated(t, w, h, Activation::Silu);
        self.conv_out.forward(t, w, h)
    }
}

/// [cos, sin] or [sin, cos] of `time` times falling frequencies, and a zero if the width is odd (Vaswani et al. 2017).
pub fn sinusoid(time: f64, width: usize, cosines_first: bool, shift: f64) -> Vec<f64> {
    let half = width / 2;
    let angle = |k: usize| time * (-(10_000f64.ln()) * k as f64 / (half as f64 - shift)).exp();
    let (sines, cosines) = ((0..half).map(|k| angle(k).sin()), (0..half).map(|k| angle(k).cos()));
    let mut row: Vec<f64> = if cosines_first { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    row.resize(width, 0.0);
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{DownBlock, UpBlock};

    /// The config whose levels of number `attention` and above have attention.
    fn config(channels: &[u32], attention: usize) -> UNet2dConfig {
        let levels = channels.len();
        let (with, without) = ((attention..levels), (0..attention));
        UNet2dConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: channels.to_vec(),
            down_block_types: without
                .clone()
                .map(|_| DownBlock::Plain)
                .chain(with.clone().map(|_| DownBlock::Attention))
                .collect(),
            up_block_types: with.map(|_| UpBlock::Attention).chain(without.map(|_| UpBlock::Plain)).collect(),
            ..UNet2dConfig::default()
        }
    }

    fn count(config: UNet2dConfig) -> usize {
        UNet2d::new(config).unwrap().parameters().count()
    }

    /// Counts that diffusers gives for the same configs.
    #[test]
    fn parameter_counts() {
        assert_eq!(count(config(&[32, 64, 64], 1)), 1_707_009);
        assert_eq!(count(config(&[32, 64, 128], 1)), 4_023_233);
        assert_eq!(count(config(&[64, 128, 128], 1)), 6_801_409);
        assert_eq!(count(config(&[64, 128, 256], 1)), 16_054_145);

        use {
            DownBlock::Attention as ADown, DownBlock::Plain as Down, UpBlock::Attention as AUp, UpBlock::Plain as Up,
        };
        let classes = UNet2dConfig {
            norm_num_groups: 8,
            num_class_embeds: Some(11),
            down_block_types: vec![Down, ADown, Down],
            up_block_types: vec![Up, AUp, Up],
            ..config(&[32, 64, 64], 1)
        };
        let model = UNet2d::new(classes).unwrap();
        assert_eq!((model.parameters().count(), model.parameters().iter().len()), (1_624_577, 269));

        let cifar = UNet2dConfig {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![Down, ADown, Down, Down],
            up_block_types: vec![Up, Up, AUp, Up],
            attention_head_dim: None,
            ..config(&[128, 256, 256, 256], 1)
        };
        assert_eq!(count(cifar), 35_746_307);

        let unconditional = UNet2dConfig {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![Down, Down, Down, Down, ADown, Down],
            up_block_types: vec![Up, AUp, Up, Up, Up, Up],
            ..config(&[128, 128, 256, 256, 512, 512], 4)
        };
        assert_eq!(count(unconditional), 113_673_219);
    }

    /// Values of diffusers' `get_timestep_embedding` for width 8.
    #[test]
    fn sinusoids() {
        let close = |row: Vec<f64>, expected: [f64; 8]| {
            row.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 6e-8 + 1e-7 * 999.0, "{a} {b}"));
        };
        close(
            sinusoid(1.0, 8, true, 0.0),
            [0.5403023, 0.9950042, 0.99995, 0.9999995, 0.841471, 0.0998334, 0.0099998, 0.001],
        );
        close(
            sinusoid(999.0, 8, true, 0.0),
            [0.9996498, 0.8074551, -0.8444698, 0.5411435, -0.0264608, -0.5899291, -0.5356032, 0.8409302],
        );
        close(
            sinusoid(999.0, 8, false, 1.0),
            [-0.0264608, 0.6848614, 0.8356485, 0.0997339, 0.9996498, -0.7286733, -0.5492647, 0.9950141],
        );
        assert_eq!(sinusoid(3.0, 5, true, 0.0).len(), 5);
        assert_eq!(sinusoid(3.0, 5, true, 0.0)[4], 0.0);
    }
}
