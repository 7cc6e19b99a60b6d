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
fn layout() {
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
fn first_values() {
    let parameters = three();
    let slab = parameters.initialize(7, Initialization::PyTorch);
    let values = |slab: &[f32], name| slab[parameters.find(name).unwrap().range()].to_vec();
    let bound = 1.0 / 27f32.sqrt();
    let largest = |v: &[f32]| v.iter().fold(0f32, |m, x| m.max(x.abs()));
    let weight = values(&slab, "a.weight");
    assert!(largest(&weight) <= bound && largest(&weight) > 0.95 * bound);
    let mut distinct: Vec<u32> = slab.iter().filter(|&&x| x != 0.0).map(|x| x.to_bits()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), parameters.count(), "a number was drawn twice, or is zero");
    let gaps = slab.iter().enumerate().filter(|(i, _)| parameters.iter().all(|p| !p.range().contains(i)));
    assert!(gaps.map(|(_, x)| *x).all(|x| x == 0.0));

    let zero = parameters.initialize(7, Initialization::ZeroLast);
    assert_eq!(values(&zero, "b.weight"), [0.0; 5]);
    assert_eq!(values(&zero, "c.weight"), values(&slab, "c.weight"), "depends on another tensor");
    assert_ne!(values(&parameters.initialize(8, Initialization::PyTorch), "a.weight"), weight);
    assert_ne!(values(&parameters.initialize(7 + (1 << 32), Initialization::PyTorch), "a.weight"), weight);
}

#[test]
#[should_panic(expected = "two parameters are called `a.weight`")]
fn a_name_twice() {
    three().add("a.weight".into(), Shape::f32([1]), Initial::Zeros);
}
