//! Forms of kernels: what a tape records, what is measured and kept, and what a resumed run uses.

use crate::common::{context, context_for, small::small};
use degrain::gpu::{Capabilities, Context, DeviceClass, KernelChoices, Target};
use degrain::ops::{Conv2d, Padding, attention, conv2d, conv2d_add};
use degrain::tape::{Shape, Tape, record};
use degrain::train::{Settings, Trainer};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Records a convolution that has several forms on software drivers with 8 lanes and on GPUs.
fn convolution(t: &mut Tape) {
    let x = t.named("x", Shape::f32([8, 32, 12, 12]));
    let w = t.named("w", Shape::f32([32, 32, 3, 3]));
    let b = t.named("b", Shape::f32([32]));
    let y = conv2d(t, x, w, b, Conv2d { stride: 1, padding: Padding::Same });
    t.keep(y, "y");
}

const CLASS: &str = "conv2d.forward 3x3 stride 1, 32 to 32, 12x12";

fn forms(t: &Tape) -> Vec<(String, String)> {
    t.recorded_forms().iter().map(|(class, form)| (class.to_owned(), form.to_owned())).collect()
}

fn shaders(t: &Tape) -> Vec<&'static str> {
    let mut names: Vec<_> = t.calls().iter().map(|call| call.dispatch.entry.shader.name).collect();
    names.dedup();
    names
}

/// On a slow GPU, a call on which forms are timed takes half a second at most, and work that takes
/// longer for one image is not measured. All inputs keep one batch.
#[test]
fn forms_are_timed_on_batches_that_are_short() {
    let timed = |channels: u32, size: u32| {
        let mut t = Tape::new(Target::DISCRETE_GPU);
        let x = t.named("x", Shape::f32([1, channels, size, size]));
        let w = t.named("w", Shape::f32([channels, channels, 3, 3]));
        let b = t.named("b", Shape::f32([channels]));
        let y = conv2d_add(&mut t, [x, w, b], Conv2d { stride: 1, padding: Padding::Same }, x);
        t.keep(y, "y");
        t.made_choices().first().map(|choice| {
            let inputs = choice.class.inputs.clone();
            let outputs = t.nodes()[choice.node].op.outputs(&inputs).unwrap();
            let flops = t.nodes()[choice.node].op.flops(&inputs);
            (inputs[0].dims()[0], outputs[0].dims()[0], flops)
        })
    };
    assert_eq!(timed(64, 28).map(|(images, ..)| images), Some(64));
    let (images, results, flops) = timed(512, 16).unwrap();
    assert!(images == results && images < 64 && (4e10..=5.1e10).contains(&(flops as f64)), "{images} {flops}");
    assert_eq!(timed(512, 256), None);
    // Heads whose backward pass in one of the forms takes too long for one image.
    let mut t = Tape::new(Target::DISCRETE_GPU);
    let qkv = t.named("qkv", Shape::f32([1, 3 * 256, 64 * 64]));
    let y = attention(&mut t, qkv, 128);
    t.keep(y, "y");
    assert!(t.made_choices().is_empty());
}

#[test]
fn tape_records_the_first_form_or_the_chosen_one() {
    let recorded = |choice: Option<&str>| {
        let mut t = Tape::new(Target::LAVAPIPE);
        let mut choices = KernelChoices::default();
        choice.into_iter().for_each(|form| choices.insert(CLASS, form));
        t.set_choices(Rc::new(choices));
        convolution(&mut t);
        t
    };
    for choice in [None, Some("winograd"), Some("no such form")] {
        let t = recorded(choice);
        assert_eq!(forms(&t), [(CLASS.into(), "winograd".into())], "{choice:?}");
        assert!(shaders(&t).iter().all(|name| name.starts_with("conv2d_winograd")), "{:?}", shaders(&t));
    }
    let t = recorded(Some("subgroup"));
    assert_eq!(forms(&t), [(CLASS.into(), "subgroup".into())]);
    assert_eq!(shaders(&t), ["conv2d_pack", "conv2d_subgroup"]);
    let t = recorded(Some("direct"));
    assert_eq!(forms(&t), [(CLASS.into(), "direct".into())]);
    assert_eq!(shaders(&t), ["conv2d_direct_pack_wide", "conv2d_direct_wide"]);
}

/// A software driver without 64-bit integers has one form, and so no choice.
#[test]
fn tape_without_wide_kernels_has_no_choice() {
    for target in [Target::LAVAPIPE.narrow(), Target::SWIFTSHADER] {
        let mut t = Tape::new(target);
        convolution(&mut t);
        assert!(t.recorded_forms().is_empty() && t.made_choices().is_empty(), "{target}");
    }
}

/// On a GPU, the forms are tiles. They depend on the channels and on the size of an image, and
/// never on the batch.
#[test]
fn tape_for_a_gpu_chooses_between_tiles() {
    let form = |target: Target, image: [u32; 4], choice: Option<&str>| {
        let mut t = Tape::new(target);
        let [_, channels, height, width] = image;
        let class = format!("conv2d.forward 3x3 stride 1, {channels} to {channels}, {height}x{width}");
        let mut choices = KernelChoices::default();
        choice.into_iter().for_each(|form| choices.insert(&class, form));
        t.set_choices(Rc::new(choices));
        let x = t.named("x", Shape::f32(image));
        let w = t.named("w", Shape::f32([channels, channels, 3, 3]));
        let b = t.named("b", Shape::f32([channels]));
        conv2d(&mut t, x, w, b, Conv2d { stride: 1, padding: Padding::Same });
        assert_eq!(shaders(&t), ["conv2d"]);
        t.recorded_forms().get(&class).map(str::to_owned)
    };
    let discrete = Target::DISCRETE_GPU;
    let integrated = Capabilities { class: DeviceClass::Integrated, ..discrete.capabilities };
    for batch in [1, 64, 1000] {
        for (side, large, small) in [
            (28, "tiled 64x128", "tiled 64x128"),
            (14, "tiled 64x64", "tiled 64x128"),
            (7, "tiled 32x32", "tiled 64x64"),
        ] {
            assert_eq!(form(discrete, [batch, 64, side, side], None).as_deref(), Some(large));
            assert_eq!(form(Target::choose(integrated), [batch, 64, side, side], None).as_deref(), Some(small));
        }
        assert_eq!(form(discrete, [batch, 32, 28, 28], None).as_deref(), Some("tiled 32x32"));
        assert_eq!(form(discrete, [batch, 3, 28, 28], None).as_deref(), Some("tiled 16x64"));
    }
    // The form of a device with one form, which older runs may have.
    for (channels, side) in [(64, 28), (64, 14), (64, 7), (32, 28), (32, 7), (3, 28)] {
        let image = [1, channels, side, side];
        assert_eq!(form(discrete, image, Some("tiled")).as_deref(), Some("tiled"));
        assert_eq!(form(discrete, image, Some("no such form")), form(discrete, image, None));
    }
}

/// The files of measured choices in a folder.
fn kept(folder: &Path) -> Vec<(std::path::PathBuf, serde_json::Value)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    json.map(|path| (path.clone(), serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())).collect()
}

fn measuring(folder: &Path) -> Context {
    let ctx = context();
    ctx.gpu.measure_kernels(Some(folder));
    ctx
}

/// The forms of the convolution on a device; none if it has only one.
fn forms_of(ctx: &Context) -> Vec<&'static str> {
    let mut t = Tape::new(ctx.target());
    convolution(&mut t);
    t.made_choices().first().map_or(Vec::new(), |choice| choice.class.forms.clone())
}

fn has_choices(ctx: &Context) -> bool {
    !forms_of(ctx).is_empty()
}

#[test]
fn measured_forms_are_kept_for_the_next_program() {
    let folder = TempDir::new().unwrap();
    let ctx = measuring(folder.path());
    if !has_choices(&ctx) {
        assert!(record(&ctx, convolution).unwrap().0.recorded_forms().is_empty());
        return;
    }
    let (tape, ()) = record(&ctx, convolution).unwrap();
    let files = kept(folder.path());
    let [(path, content)] = &files[..] else { panic!("{files:?}") };
    let form = content["choices"][CLASS].as_str().unwrap().to_owned();
    assert_eq!(forms(&tape), [(CLASS.into(), form.clone())]);
    assert!(content["driver"].is_string() && content["version"].is_string() && content["device"].is_string());
    // The gradients of the convolution were measured in one go.
    assert_eq!(content["choices"].as_object().unwrap().len(), 3, "{content}");

    // Another program measures nothing: it takes what the file says.
    let other = forms_of(&ctx).into_iter().find(|&other| other != form).unwrap();
    let mut changed = content.clone();
    changed["choices"][CLASS] = other.into();
    fs::write(path, changed.to_string()).unwrap();
    let (tape, ()) = record(&measuring(folder.path()), convolution).unwrap();
    assert_eq!(forms(&tape), [(CLASS.into(), other.into())]);

    // A pinned form is used whatever was measured.
    let mut ctx = measuring(folder.path());
    ctx.pinned.insert(CLASS, &form);
    assert_eq!(forms(&record(&ctx.fork(), convolution).unwrap().0), [(CLASS.into(), form)]);
}

#[test]
fn damaged_or_foreign_choices_are_measured_again() {
    let folder = TempDir::new().unwrap();
    let ctx = measuring(folder.path());
    if !has_choices(&ctx) {
        return assert!(record(&ctx, convolution).unwrap().0.recorded_forms().is_empty());
    }
    record(&ctx, convolution).unwrap();
    let path = kept(folder.path())[0].0.clone();
    let of_another_driver = fs::read_to_string(&path).unwrap().replace("\"driver\": \"", "\"driver\": \"not ");
    for content in ["", "{", "[]", "{\"choices\": 3}", &of_another_driver] {
        fs::write(&path, content).unwrap();
        let (tape, ()) = record(&measuring(folder.path()), convolution).unwrap();
        assert_eq!(forms(&tape).len(), 1, "{content}");
        let again = kept(folder.path());
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1["choices"].as_object().unwrap().len(), 3, "{content}");
    }
}

/// Without measuring, nothing is written and the first forms are used.
#[test]
fn default_forms_need_no_measurement() {
    let ctx = context();
    let (tape, ()) = record(&ctx, convolution).unwrap();
    let mut default = Tape::new(ctx.target());
    convolution(&mut default);
    assert_eq!(forms(&tape), forms(&default));
}

/// A resumed run uses the forms of its start, although others have been measured since.
#[test]
fn resumed_run_keeps_the_forms_of_its_start() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let settings = Settings {
        out: Some(out.clone()),
        block_out_channels: Some(vec![16, 16]),
        checkpoint_every: Some(1),
        ..small("ddpm")
    };
    let ctx = context_for(crate::common::Setup::unchecked(crate::common::Kernels::Native));
    // Other devices have other forms.
    if !ctx.target().is_wide() || ctx.target().lanes() != 8 {
        return;
    }
    let train = |steps: u32, resume: bool| {
        let trainer = Trainer::new(&ctx, Settings { steps: Some(steps), ..settings.clone() }).unwrap();
        let mut trainer = if resume { trainer.resume().unwrap() } else { trainer };
        trainer.run(&AtomicBool::new(false)).unwrap();
    };
    let manifest = || -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap()
    };
    train(1, false);
    let mut first = manifest();
    let forms = first["starts"][0]["forms"].as_object().unwrap().clone();
    assert!(forms.values().any(|form| form == "winograd"), "{forms:?}");
    let other: serde_json::Map<String, serde_json::Value> =
        forms.keys().map(|class| (class.clone(), "subgroup".into())).collect();
    first["starts"][0]["forms"] = other.clone().into();
    fs::write(out.join("manifest.json"), first.to_string()).unwrap();
    train(2, true);
    assert_eq!(manifest()["starts"][1]["forms"].as_object().unwrap(), &other);
    // A new run that continues this one, too.
    let new = folder.path().join("new");
    let settings = Settings { steps: Some(3), out: Some(new.clone()), ..settings };
    Trainer::new(&ctx, settings).unwrap().fork(&out, None).unwrap().run(&AtomicBool::new(false)).unwrap();
    let forked: serde_json::Value = serde_json::from_slice(&fs::read(new.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(forked["starts"][0]["forms"].as_object().unwrap(), &other);
}
