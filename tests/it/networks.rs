//! Networks: every call of their forward and backward passes against its reference, the differences
//! between training and evaluation, and the configs that are refused.

use crate::common::{context, context_with_tiles};
use degrain::checkpoint::{AnyModel, model_from_json, read_model, state_dict};
use degrain::gpu::{Context, Target};
use degrain::nn::{
    Classifier, ClassifierConfig, Conditions, DownBlock, DownsampleType, GRADIENTS, Initialization, Likelihood, Model,
    ModelConfig, Network, PARAMETERS, PlainUNet, PlainUNetConfig, Pooling, ResidualUNet, ResidualUNetConfig,
    SampleSize, UNet2d, UNet2dConfig, UpBlock, Vae, VaeConfig, Weights,
};
use degrain::ops::add;
use degrain::tape::inspect::Verifier;
use degrain::tape::testing::{Fill, TEST_STEP};
use degrain::tape::{Program, Shape, Tape, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub fn plain(sample_size: [u32; 2], classes: Option<u32>) -> PlainUNet {
    let channels = vec![4, 6, 8];
    let small = PlainUNetConfig { sample_size, block_out_channels: channels, hidden: 5, ..Default::default() };
    PlainUNet::new(PlainUNetConfig { time_channels: 3, class_channels: 2, num_class_embeds: classes, ..small }).unwrap()
}

pub fn residual(sample_size: [u32; 2], downsample: DownsampleType, classes: Option<u32>) -> ResidualUNet {
    ResidualUNet::new(ResidualUNetConfig {
        sample_size,
        in_channels: 2,
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        downsample,
        dropout: 0.3,
        attention: vec![false, true],
        attention_head_dim: 4,
        norm_num_groups: 2,
        num_class_embeds: classes,
        ..Default::default()
    })
    .unwrap()
}

pub fn classifier(sample_size: [u32; 2], downsample: Pooling, noise_aware: bool) -> Classifier {
    Classifier::new(ClassifierConfig {
        sample_size,
        block_out_channels: vec![4, 6, 8],
        downsample,
        residual: noise_aware,
        dropout: 0.4,
        noise_aware,
        time_embedding_dim: 6,
        ..Default::default()
    })
    .unwrap()
}

/// A U-Net with dropout, which has one rate for all blocks as in diffusers.
pub fn unet2d(sample_size: [u32; 2]) -> UNet2d {
    UNet2d::new(UNet2dConfig {
        sample_size: Some(SampleSize::Rectangle(sample_size)),
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4, 8],
        down_block_types: vec![DownBlock::Plain, DownBlock::Plain],
        up_block_types: vec![UpBlock::Plain, UpBlock::Plain],
        layers_per_block: 1,
        norm_num_groups: 2,
        attention_head_dim: None,
        dropout: 0.25,
        ..Default::default()
    })
    .unwrap()
}

pub fn vae(sample_size: [u32; 2], likelihood: Likelihood) -> Vae {
    vae_with(sample_size, likelihood, None)
}

/// A VAE with or without hidden layers next to the latent.
fn vae_with(sample_size: [u32; 2], likelihood: Likelihood, hidden_channels: Option<u32>) -> Vae {
    Vae::new(VaeConfig {
        sample_size,
        latent_channels: 3,
        block_out_channels: vec![4, 6, 8],
        norm_num_groups: 2,
        hidden_channels,
        likelihood,
        ..Default::default()
    })
    .unwrap()
}

fn networks() -> Vec<Box<dyn Network>> {
    vec![
        Box::new(plain([8, 12], None)),
        Box::new(plain([8, 12], Some(4))),
        Box::new(residual([8, 12], DownsampleType::Conv, Some(4))),
        Box::new(residual([8, 12], DownsampleType::Average, None)),
        Box::new(classifier([9, 10], Pooling::Conv, true)),
        Box::new(classifier([9, 10], Pooling::Max, false)),
        Box::new(unet2d([8, 4])),
    ]
}

/// The tensors of a batch for a network: images, and the conditions that it takes.
pub fn batch(t: &mut Tape, network: &dyn Network, count: u32) -> (Tensor, Conditions) {
    let [channels, height, width] = network.image_shape().unwrap();
    let x = t.named("x", Shape::f32([count, channels, height, width]));
    let time = (network.time_width() > 0).then(|| t.named("time", Shape::f32([count, network.time_width()])));
    let labels = network.classes().map(|_| t.named("labels", Shape::u32([count])));
    (x, Conditions { time, labels })
}

/// Buffers of a tape with a model's initial values, images, times and labels.
pub fn filled(ctx: &Context, t: &Tape, model: &dyn Model, time: &[f32]) -> Context {
    let mut ctx = ctx.fork();
    for (name, bytes) in t.buffer_sizes() {
        ctx.require(&name, bytes).unwrap();
        let random = Fill::Normal(1.0).words(Shape::f32([(bytes / 4) as u32]), 9);
        match name.as_str() {
            "time" => ctx.write(&name, 0, time).unwrap(),
            "labels" => ctx.write(&name, 0, &[1u32, 3, 0][..(bytes / 4).min(3) as usize]).unwrap(),
            _ => ctx.write(&name, 0, &random).unwrap(),
        }
    }
    let values = model.parameters().initialize(7, Initialization::PyTorch);
    model.parameters().write(&mut ctx, PARAMETERS, &values).unwrap();
    ctx
}

pub fn times(network: &dyn Network) -> Vec<f32> {
    network.time_table(&[3.0, 500.0, 977.0])
}

/// Checks every call of the forward pass, and of the backward pass from a random gradient.
pub fn verify(ctx: &Context, model: &dyn Model, time: &[f32], record: impl FnOnce(&mut Tape, &Weights) -> Tensor) {
    let mut t = Tape::new(ctx.target());
    let weights = model.parameters().trained(&mut t);
    let out = record(&mut t, &weights);
    let dout = t.named("dout", t.shape(out));
    t.backward(out, dout);
    let mut ctx = filled(ctx, &t, model, time);
    let numbers = model.parameters().flat_shape().len();
    ctx.write(GRADIENTS, 0, &vec![f32::NAN; numbers]).unwrap();
    let verifier = Verifier::new(&mut ctx, &t, TEST_STEP).unwrap();
    if let Err(mismatch) = verifier.verify(|_, _| ()).unwrap() {
        panic!("{}: {mismatch}", model.class());
    }
    drop(verifier);
    let gradients: Vec<f32> = ctx.read(GRADIENTS, 0, numbers).unwrap();
    for p in model.parameters().iter().filter(|p| !p.statistic) {
        assert!(gradients[p.range()].iter().all(|x| x.is_finite()), "{}: no gradient of {}", model.class(), p.name);
    }
}

pub fn verify_network(ctx: &Context, network: &dyn Network) {
    verify(ctx, network, &times(network), |t, w| {
        let (x, conditions) = batch(t, network, 3);
        t.watch(x);
        network.forward(t, w, x, conditions)
    });
}

#[test]
fn networks_match_their_references() {
    networks().iter().for_each(|network| verify_network(&context(), &**network));
}

#[test]
fn networks_match_their_references_tiled() {
    networks().iter().for_each(|network| verify_network(&context_with_tiles(), &**network));
}

#[test]
fn vae_matches_its_references() {
    for (ctx, likelihood, hidden) in [
        (context(), Likelihood::Bernoulli, None),
        (context(), Likelihood::DiscretizedLogistic, Some(5)),
        (context_with_tiles(), Likelihood::DiscretizedLogistic, None),
        (context_with_tiles(), Likelihood::DiscretizedLogistic, Some(5)),
    ] {
        let model = vae_with([8, 4], likelihood, hidden);
        verify(&ctx, &model, &[], |t, w| {
            let x = t.named("x", Shape::f32([3, 1, 8, 4]));
            let (mean, log_variance) = model.encode(t, w, x);
            assert_eq!((t.shape(mean), t.shape(log_variance)), (Shape::f32([3, 3]), Shape::f32([3, 3])));
            let z = add(t, mean, log_variance);
            let out = model.decode(t, w, z);
            let channels = if likelihood == Likelihood::Bernoulli { 1 } else { 2 };
            assert_eq!(t.shape(out), Shape::f32([3, channels, 8, 4]));
            out
        });
    }
}

/// The operators of this name in a tape, with their settings.
pub fn operators(t: &Tape, name: &str) -> Vec<String> {
    t.nodes().iter().map(|node| format!("{:?}", node.op)).filter(|op| op.starts_with(name)).collect()
}

fn record(network: &dyn Network, training: bool, count: u32) -> (Tape, Tensor) {
    let mut t = Tape::new(context().target());
    let parameters = network.parameters();
    let w = if training { parameters.trained(&mut t) } else { parameters.fixed(&mut t, PARAMETERS) };
    let (x, conditions) = batch(&mut t, network, count);
    let out = network.forward(&mut t, &w, x, conditions);
    t.keep(out, "out");
    (t, out)
}

#[test]
fn dropout_is_recorded_for_training_only() {
    for (network, layers) in [
        (Box::new(residual([8, 12], DownsampleType::Conv, None)) as Box<dyn Network>, 8),
        (Box::new(classifier([9, 10], Pooling::Conv, true)), 1),
        (Box::new(unet2d([8, 4])), 8),
        (Box::new(plain([8, 12], None)), 0),
    ] {
        let mut drops = operators(&record(&*network, true, 2).0, "DropoutOp {");
        assert_eq!(drops.len(), layers, "{}", network.class());
        drops.sort();
        drops.dedup();
        assert_eq!(drops.len(), layers, "{}: layers that drop the same", network.class());
        assert_eq!(operators(&record(&*network, false, 2).0, "DropoutOp {").len(), 0, "{}", network.class());
    }
    let none = Classifier::new(ClassifierConfig { dropout: 0.0, ..Default::default() }).unwrap();
    assert_eq!(operators(&record(&none, true, 2).0, "DropoutOp {").len(), 0);
}

/// Output and running statistics of one pass over a batch of `count` images. `moved` is added to
/// every statistic before the pass.
fn pass(network: &dyn Network, training: bool, count: u32, moved: f32) -> (Vec<f32>, Vec<f32>) {
    let ctx = context();
    let (t, out) = record(network, training, count);
    let mut ctx = filled(&ctx, &t, network, &times(network)[..count as usize * network.time_width() as usize]);
    let trained = network.parameters().flat_shape().len();
    let mut values = network.parameters().initialize(7, Initialization::PyTorch);
    values[trained..].iter_mut().for_each(|x| *x += moved);
    network.parameters().write(&mut ctx, PARAMETERS, &values).unwrap();
    let program = Program::compile(&mut ctx, &t).unwrap();
    program.run(&ctx, &TEST_STEP).unwrap();
    let after = network.parameters().read(&ctx, PARAMETERS).unwrap();
    (ctx.read("out", 0, t.shape(out).len()).unwrap(), after[trained..].to_vec())
}

/// Training normalizes by the batch and updates the running statistics. Evaluation normalizes by
/// the running statistics, so that an image's output does not depend on its batch.
#[test]
fn running_statistics_are_used_in_evaluation_only() {
    for network in [
        Box::new(plain([8, 12], Some(4))) as Box<dyn Network>,
        Box::new(residual([8, 12], DownsampleType::Conv, None)),
        Box::new(classifier([9, 10], Pooling::Max, false)),
    ] {
        let (trained, statistics) = pass(&*network, true, 3, 0.0);
        let again = pass(&*network, true, 3, 0.25).0;
        assert!(trained == again, "{}: training reads running statistics", network.class());
        let (evaluated, kept) = pass(&*network, false, 3, 0.0);
        assert!(kept != statistics, "{}: training leaves the statistics", network.class());
        assert!(evaluated != trained, "{}", network.class());
        let moved = pass(&*network, false, 3, 0.25).0;
        assert!(evaluated != moved, "{}: evaluation ignores the statistics", network.class());
        let (alone, of_three) = (pass(&*network, false, 1, 0.0).0, &evaluated[..evaluated.len() / 3]);
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = of_three.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        assert!(apart(&alone, of_three) < 1e-4 * largest, "{}: an image depends on its batch", network.class());
        let alike = apart(of_three, &evaluated[evaluated.len() / 3..]);
        assert!(alike > 1e-3 * largest, "{}: every image has the same result", network.class());
    }
}

#[test]
fn networks_have_the_expected_shapes_and_counts() {
    let shape = |model: &dyn Model, name: &str| model.parameters().find(name).unwrap().shape;
    let plain = PlainUNet::new(PlainUNetConfig::default()).unwrap();
    assert_eq!(shape(&plain, "mid_block.conv1.weight"), Shape::f32([256, 384, 3, 3]));
    assert_eq!(shape(&plain, "time_network.linear_2.weight"), Shape::f32([128 * 7 * 7, 128]));
    let told = PlainUNet::new(PlainUNetConfig { num_class_embeds: Some(11), ..Default::default() }).unwrap();
    assert_eq!(shape(&told, "mid_block.conv1.weight"), Shape::f32([256, 512, 3, 3]));
    assert_eq!(shape(&told, "class_network.table.weight"), Shape::f32([11, 128]));
    assert_eq!((plain.classes(), told.classes()), (None, Some(11)));
    assert_eq!(plain.time_row(250.0), [0.25]);

    let classifier = Classifier::new(ClassifierConfig::default()).unwrap();
    assert!((100_000..400_000).contains(&classifier.parameters().count()), "{}", classifier.parameters().count());
    assert_eq!((classifier.time_width(), classifier.classes()), (0, None));
    let mut t = Tape::new(Target::DISCRETE_GPU);
    let w = classifier.parameters().fixed(&mut t, PARAMETERS);
    let (x, conditions) = batch(&mut t, &classifier, 2);
    let features = classifier.features(&mut t, &w, x, conditions);
    assert_eq!(t.shape(features), Shape::f32([2, 96]));
    let logits = classifier.forward(&mut t, &w, x, conditions);
    assert_eq!(t.shape(logits), Shape::f32([2, 10]));

    for network in networks() {
        let mut names: Vec<&str> = network.parameters().iter().map(|p| p.name.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{}", network.class());
        let (t, out) = record(&*network, false, 2);
        let [_, given] = network.channels();
        assert_eq!(t.shape(out).dims()[..2], [2, given], "{}", network.class());
        assert_eq!(network.time_row(3.0).len(), network.time_width() as usize, "{}", network.class());
    }
}

/// The message of a panic.
fn panic_of(f: impl FnOnce()) -> String {
    let problem = catch_unwind(AssertUnwindSafe(f)).expect_err("it should be refused");
    problem.downcast_ref::<String>().cloned().unwrap_or_else(|| problem.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn networks_refuse_wrong_sizes_and_conditions() {
    let wrong = |problem: degrain::Result<()>, parts: &[&str]| {
        let problem = problem.unwrap_err().to_string();
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    };
    wrong(plain([8, 12], None).check_size(12, 8), &["12x8", "8x12"]);
    wrong(residual([8, 12], DownsampleType::Conv, None).check_size(8, 0), &["8x0", "at least 1"]);
    wrong(classifier([9, 10], Pooling::Max, false).check_size(20_000, 9), &["20000x9", "at most 16384"]);
    wrong(vae([8, 4], Likelihood::Bernoulli).check_size(4, 8), &["4x8", "8x4"]);
    assert!(residual([8, 12], DownsampleType::Conv, None).check_size(6, 1).is_ok());
    assert!(classifier([9, 10], Pooling::Max, false).check_size(1, 9).is_ok());

    let forward = |network: &dyn Network, change: fn(&mut Tape, &mut Conditions)| {
        let mut t = Tape::new(Target::DISCRETE_GPU);
        let w = network.parameters().fixed(&mut t, PARAMETERS);
        let (x, mut conditions) = batch(&mut t, network, 2);
        change(&mut t, &mut conditions);
        panic_of(|| {
            network.forward(&mut t, &w, x, conditions);
        })
    };
    let labels = |t: &mut Tape, c: &mut Conditions| c.labels = Some(t.named("labels", Shape::u32([2])));
    for network in [
        Box::new(plain([8, 12], Some(4))) as Box<dyn Network>,
        Box::new(residual([8, 12], DownsampleType::Conv, Some(4))),
    ] {
        assert!(forward(&*network, |_, c| c.time = None).contains("needs the time"));
        assert!(forward(&*network, |_, c| c.labels = None).contains("no labels are given"));
    }
    for network in
        [Box::new(plain([8, 12], None)) as Box<dyn Network>, Box::new(classifier([9, 10], Pooling::Conv, true))]
    {
        assert!(forward(&*network, labels).contains("has no classes"));
    }
    let clean = classifier([9, 10], Pooling::Max, false);
    assert!(forward(&clean, |t, c| c.time = Some(t.named("time", Shape::f32([2, 6])))).contains("does not take it"));
}

#[test]
fn model_configs_are_read_as_written() {
    let all = networks().into_iter().map(|network| (network.class(), network.config_json()));
    let autoencoder = vae([8, 4], Likelihood::Bernoulli);
    for (class, json) in all.chain([(autoencoder.class(), autoencoder.config_json())]) {
        assert!(json.contains(&format!(r#""_class_name": "{class}""#)), "{json}");
        let (model, unknown) = model_from_json(&json).unwrap();
        assert_eq!((model.model().class(), model.model().config_json(), unknown.len()), (class, json, 0));
        let kind = match model {
            AnyModel::Vae(_) => "Vae",
            AnyModel::Classifier(_) => "Classifier",
            AnyModel::Denoiser(network) => network.class(),
        };
        assert_eq!(kind, class);
    }
    let (_, unknown) = model_from_json(r#"{"sample_size": 32, "decay": 0.9999}"#).unwrap();
    assert_eq!(unknown, ["decay"]);
    assert_eq!(VaeConfig::from_json(r#"{"_class_name": "Vae", "_version": 3}"#).unwrap(), VaeConfig::default());
}

#[test]
fn model_configs_refuse_invalid_values_with_an_alternative() {
    for (class, settings, parts) in [
        ("Transformer", "", &["Transformer", "PlainUNet", "ResidualUNet", "Classifier", "Vae", "UNet2DModel"][..]),
        ("PlainUNet", r#", "sample_size": [28, 0]"#, &["`sample_size`", "28x0", "at least 1"]),
        ("PlainUNet", r#", "sample_size": 28"#, &["`sample_size` = 28", "array"]),
        ("PlainUNet", r#", "block_out_channels": [64]"#, &["`block_out_channels` = [64]", "2 at least"]),
        ("PlainUNet", r#", "hidden": 0"#, &["`hidden` = 0", "at least 1"]),
        ("PlainUNet", r#", "width": 3"#, &["`width`", "`hidden`"]),
        ("ResidualUNet", r#", "downsample": "max""#, &["`downsample` = \"max\"", "conv", "average"]),
        ("ResidualUNet", r#", "dropout": 1.0"#, &["`dropout` = 1", "less than 1"]),
        ("ResidualUNet", r#", "norm_num_groups": 5"#, &["`norm_num_groups` = 5", "32 channels of level 0", "use 8"]),
        ("ResidualUNet", r#", "attention": [true]"#, &["`attention` has 1", "3"]),
        ("ResidualUNet", r#", "attention_head_dim": 64"#, &["`attention_head_dim` = 64", "32 channels of level 0"]),
        ("Classifier", r#", "classes": -1"#, &["`classes` = -1", "u32"]),
        ("Classifier", r#", "act_fn": "gelu""#, &["`act_fn`", "gelu", "silu", "relu"]),
        ("Classifier", r#", "downsample": "average""#, &["average", "conv", "max"]),
        ("Classifier", r#", "sample_size": [0, 28]"#, &["`sample_size`", "0x28", "at least 1"]),
        ("Classifier", r#", "block_out_channels": []"#, &["`block_out_channels` is empty", "1 at least"]),
        ("Vae", r#", "likelihood": "normal""#, &["`likelihood`", "normal", "bernoulli", "discretized_logistic"]),
        ("Vae", r#", "norm_num_groups": 3"#, &["`norm_num_groups` = 3", "16 channels of level 0", "use 4"]),
        ("Vae", r#", "latent_channels": 0"#, &["`latent_channels` = 0", "at least 1"]),
        ("UNet2DModel", r#", "act_fn": "mish""#, &["`act_fn`", "mish", "silu", "relu"]),
        (
            "UNet2DModel",
            r#", "down_block_types": ["KDownBlock2D"]"#,
            &["`down_block_types`", "KDownBlock2D", "AttnDownBlock2D"],
        ),
        ("UNet2DModel", r#", "time_embedding_type": "fourier""#, &["`time_embedding_type`", "fourier", "positional"]),
        ("UNet2DModel", r#", "class_embed_type": "timestep""#, &["`class_embed_type`", "timestep"]),
        ("UNet2DModel", r#", "downsample_type": "resnet""#, &["`downsample_type`", "resnet", "conv"]),
        ("UNet2DModel", r#", "resnet_time_scale_shift": "spatial""#, &["spatial", "scale_shift"]),
        ("UNet2DModel", r#", "in_channels": -1"#, &["`in_channels` = -1"]),
        ("UNet2DModel", r#", "layers_per_block": 0"#, &["`layers_per_block` = 0", "at least 1"]),
        ("UNet2DModel", r#", "dropout": 1"#, &["`dropout` = 1 ", "less than 1"]),
        ("UNet2DModel", r#", "dropout": -0.1"#, &["`dropout` = -0.1", "at least 0"]),
        ("UNet2DModel", r#", "norm_eps": 0"#, &["`norm_eps`"]),
        ("UNet2DModel", r#", "block_out_channels": [32, 64]"#, &["`down_block_types` has 4", "2"]),
        ("UNet2DModel", r#", "block_out_channels": [48, 96, 144, 192]"#, &["= 32", "48 channels of level 0", "use 12"]),
        ("UNet2DModel", r#", "attn_norm_num_groups": 5"#, &["`attn_norm_num_groups` = 5", "896", "use 32"]),
        ("UNet2DModel", r#", "attention_head_dim": 500"#, &["= 500", "448 channels of level 1"]),
    ] {
        let json = format!(r#"{{"_class_name": "{class}"{settings}}}"#);
        let error = model_from_json(&json).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
    }
    for text in ["[", "[]"] {
        assert!(model_from_json(text).unwrap_err().contains("not a JSON object"));
        assert!(UNet2dConfig::from_json(text).unwrap_err().contains("not a JSON object"));
    }
    let conditional = UNet2dConfig::from_json(r#"{"_class_name": "UNet2DConditionModel"}"#).unwrap_err();
    assert!(conditional.contains("UNet2DConditionModel") && conditional.contains("UNet2DModel"), "{conditional}");
    assert!(model_from_json(r#"{"_class_name": 3}"#).unwrap_err().contains("`_class_name` = 3"));
    assert!(PlainUNetConfig::from_json(r#"{"_class_name": "Vae"}"#).unwrap_err().contains("PlainUNet"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    assert!(read_model(&path).unwrap_err().to_string().contains("config.json"));
    std::fs::write(&path, r#"{"_class_name": "Vae", "latent_channels": 0}"#).unwrap();
    assert!(read_model(&path).unwrap_err().to_string().contains("config.json: `latent_channels` = 0"));
}

#[test]
fn state_dict_holds_running_statistics() {
    for network in
        [Box::new(plain([8, 12], None)) as Box<dyn Network>, Box::new(residual([8, 12], DownsampleType::Average, None))]
    {
        let parameters = network.parameters();
        let mut values = vec![0.0; parameters.length()];
        for (number, p) in parameters.iter().enumerate() {
            values[parameters.place(p)].iter_mut().enumerate().for_each(|(i, x)| *x = (number * 1000 + i) as f32);
        }
        let bytes = state_dict::to_bytes(parameters, &values);
        assert_eq!(state_dict::from_bytes(&bytes, parameters).unwrap(), values, "{}", network.class());
        let running = parameters.iter().filter(|p| p.name.ends_with(".running_var")).count();
        let statistics = parameters.iter().filter(|p| p.statistic).count();
        assert!(running > 5 && statistics == 2 * running, "{}: {running} of {statistics}", network.class());
    }
}
