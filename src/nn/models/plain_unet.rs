//! A convolutional U-Net without residual blocks: batch normalization and ReLU, and the timestep
//! as channels of the coarsest map.
//!
//! ```text
//! block(h) = relu(norm(conv(relu(norm(conv(h))))))                         3x3, the size stays
//! h = pad(x)
//! each level down but the last: h = block(h), which is kept; h = max_pool(h)
//! h = block(h)                             the last level: 256 channels of 7x7
//! h = concat(h, map(time), map(class))     128 channels each: 384 or 512 in total
//! h = block(h)
//! each level up: h = conv(upsample(h)); h = block(concat(h, kept))
//! y = crop(conv_out(h))                                                    1x1
//!
//! map(time)  = linear_2(relu(linear_1(time / T)))   1 number to `hidden` to 128 · 7 · 7, as a map
//! map(class) = linear_2(relu(table[label]))         a row is a linear layer of the one-hot label
//! ```

use crate::nn::choices::Activation;
use crate::nn::config::ModelConfig;
use crate::nn::config_rules::{Rule, channels, check_sides, levels_at_least, map_values, positive};
use crate::nn::layers::{BatchNorm, Conv, Linear};
use crate::nn::network::{Conditions, Model, Network};
use crate::nn::padding::{halvable, height_width, resized};
use crate::nn::parameters::{Initial, ParameterId, Parameters, Weights};
use crate::nn::repeated::repeated;
use crate::ops::{concat, embedding, max_pool, relu, upsample};
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The settings of a [`PlainUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlainUNetConfig {
    /// Height and width of the images. No other size works, because the maps of time and class have
    /// weights for each pixel.
    pub sample_size: [u32; 2],
    /// Channels of the noisy image.
    pub in_channels: u32,
    /// Channels of the prediction.
    pub out_channels: u32,
    /// Channels of each level, from the finest; at least two levels.
    pub block_out_channels: Vec<u32>,
    /// Channels of the map of the time.
    pub time_channels: u32,
    /// Channels of the map of the class.
    pub class_channels: u32,
    /// Width of the hidden layer of the networks of time and class.
    pub hidden: u32,
    /// Number of classes, including a null class; null for an unconditional model.
    pub num_class_embeds: Option<u32>,
    /// Number of timesteps T. The network takes t / T.
    pub num_train_timesteps: u32,
}

impl Default for PlainUNetConfig {
    fn default() -> PlainUNetConfig {
        PlainUNetConfig {
            sample_size: [28, 28],
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![64, 128, 256],
            time_channels: 128,
            class_channels: 128,
            hidden: 128,
            num_class_embeds: None,
            num_train_timesteps: 1000,
        }
    }
}

impl ModelConfig for PlainUNetConfig {
    const CLASS: &'static str = "PlainUNet";

    fn check(&self) -> Rule {
        levels_at_least(&self.block_out_channels, 2)?;
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("time_channels", self.time_channels),
            ("class_channels", self.class_channels),
            ("hidden", self.hidden),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ] {
            channels(key, value)?;
        }
        positive("num_train_timesteps", self.num_train_timesteps)?;
        let [height, width] = self.sample_size;
        check_sides(height, width).map_err(|problem| format!("`sample_size`: {problem}"))?;
        map_values(self.time_channels.max(self.class_channels), bottom_size(self))
    }
}

/// Two convolutions, each followed by batch normalization and ReLU.
#[derive(Clone, Debug)]
struct Block {
    layers: [(Conv, BatchNorm); 2],
}

impl Block {
    fn new(p: &mut Parameters, name: &str, inputs: u32, outputs: u32) -> Block {
        let mut layer = |number: u32, inputs: u32| {
            let conv = Conv::same(p, &format!("{name}.conv{number}"), inputs, outputs);
            (conv, BatchNorm::new(p, &format!("{name}.norm{number}"), outputs))
        };
        Block { layers: [layer(1, inputs), layer(2, outputs)] }
    }

    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, mut h: Tensor) -> Tensor {
        for (conv, norm) in &self.layers {
            h = conv.forward(t, w, h);
            h = norm.activated(t, w, h, Activation::Relu);
        }
        h
    }
}

/// The network of the class; its first layer is a table.
#[derive(Clone, Debug)]
struct ClassNetwork {
    table: ParameterId,
    out: Linear,
}

/// A plain U-Net.
#[derive(Clone, Debug)]
pub struct PlainUNet {
    config: PlainUNetConfig,
    parameters: Parameters,
    down: Vec<Block>,
    time: [Linear; 2],
    class: Option<ClassNetwork>,
    bottom: Block,
    /// From the coarsest.
    up: Vec<(Conv, Block)>,
    conv_out: Conv,
}

impl PlainUNet {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`] if the config cannot be computed.
    pub fn new(config: PlainUNetConfig) -> Result<PlainUNet> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let [height, width] = bottom_size(&config);
        let down = (0..=last)
            .map(|i| {
                let inputs = if i == 0 { config.in_channels } else { channels[i - 1] };
                Block::new(p, &format!("down_blocks.{i}"), inputs, channels[i])
            })
            .collect();
        let map = |p: &mut Parameters, name: &str, channels: u32| {
            Linear::new(p, &format!("{name}.linear_2"), config.hidden, channels * height * width)
        };
        let time =
            [Linear::new(p, "time_network.linear_1", 1, config.hidden), map(p, "time_network", config.time_channels)];
        let class = config.num_class_embeds.map(|classes| {
            let initial = Initial::Uniform { fan_in: classes };
            let table = p.add("class_network.table.weight".into(), Shape::f32([classes, config.hidden]), initial);
            ClassNetwork { table, out: map(p, "class_network", config.class_channels) }
        });
        let told = config.time_channels + class.as_ref().map_or(0, |_| config.class_channels);
        let bottom = Block::new(p, "mid_block", channels[last] + told, channels[last]);
        let up = (0..last)
            .rev()
            .enumerate()
            .map(|(number, i)| {
                let name = format!("up_blocks.{number}");
                let conv = Conv::same(p, &format!("{name}.upsampler"), channels[i + 1], channels[i]);
                (conv, Block::new(p, &name, 2 * channels[i], channels[i]))
            })
            .collect();
        let conv_out = Conv::pointwise(p, "conv_out", channels[0], config.out_channels).last(p);
        parameters.check_size()?;
        Ok(PlainUNet { down, time, class, bottom, up, conv_out, config, parameters })
    }

    /// Its settings.
    pub fn config(&self) -> &PlainUNetConfig {
        &self.config
    }

    /// The maps of time and class, concatenated.
    #[track_caller]
    fn told(&self, t: &mut Tape, w: &Weights, conditions: Conditions) -> Tensor {
        let time = conditions.time(true).expect("time(true) returns the time");
        let hidden = self.time[0].rows(t, w, time);
        let time = self.map(t, w, &self.time[1], hidden);
        match self.class.as_ref().zip(conditions.labels(self.class.is_some())) {
            Some((class, labels)) => {
                let hidden = embedding(t, labels, w.get(class.table));
                let class = self.map(t, w, &class.out, hidden);
                concat(t, time, class)
            }
            None => time,
        }
    }

    /// The second half of a network with one hidden layer, as a map of the coarsest level.
    #[track_caller]
    fn map(&self, t: &mut Tape, w: &Weights, layer: &Linear, hidden: Tensor) -> Tensor {
        let hidden = relu(t, hidden);
        let rows = layer.rows(t, w, hidden);
        let [batch, values] = t.shape(rows).as_array();
        let [height, width] = bottom_size(&self.config);
        let channels = values / (height * width);
        t.reshape(rows, Shape::f32([batch, channels, height, width]))
    }
}

/// Height and width of the coarsest map.
fn bottom_size(config: &PlainUNetConfig) -> [u32; 2] {
    let levels = config.block_out_channels.len();
    halvable(levels, config.sample_size).map(|side| side >> (levels - 1))
}

impl Model for PlainUNet {
    fn class(&self) -> &'static str {
        PlainUNetConfig::CLASS
    }

    fn config_json(&self) -> String {
        self.config.to_json()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        let [height, width] = self.config.sample_size;
        Some([self.config.in_channels, height, width])
    }

    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        halvable(self.config.block_out_channels.len(), size)
    }
}

impl Network for PlainUNet {
    fn channels(&self) -> [u32; 2] {
        [self.config.in_channels, self.config.out_channels]
    }

    fn time_width(&self) -> u32 {
        1
    }

    /// The time as a fraction of T.
    fn time_row(&self, time: f64) -> Vec<f64> {
        vec![time / f64::from(self.config.num_train_timesteps)]
    }

    fn classes(&self) -> Option<u32> {
        self.config.num_class_embeds
    }

    fn check_size(&self, height: u32, width: u32) -> Result<()> {
        let [h, w] = self.config.sample_size;
        if [height, width] == [h, w] {
            Ok(())
        } else {
            Err(Error::Config(format!(
                "images of {height}x{width} do not fit a PlainUNet whose `sample_size` is {h}x{w}: \
                 it has weights for each pixel"
            )))
        }
    }

    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let size @ [height, width] = height_width(t, x);
        self.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let mut h = resized(t, x, self.padded_size(size));
        let mut kept = vec![];
        for (i, block) in self.down.iter().enumerate() {
            if i > 0 {
                kept.push(h);
                h = max_pool(t, h);
            }
            h = block.forward(t, w, h);
        }
        let told = self.told(t, w, conditions);
        let images = t.shape(told).dims()[0];
        h = repeated(t, h, images);
        h = concat(t, h, told);
        h = self.bottom.forward(t, w, h);
        for ((conv, block), skip) in self.up.iter().zip(kept.into_iter().rev()) {
            h = upsample(t, h);
            h = conv.forward(t, w, h);
            let skip = repeated(t, skip, images);
            h = concat(t, h, skip);
            h = block.forward(t, w, h);
        }
        let y = self.conv_out.forward(t, w, h);
        resized(t, y, size)
    }
}
