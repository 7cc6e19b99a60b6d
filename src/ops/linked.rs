//! Every shader as it is compiled: linked for each target that it is written for, with values for its constants.
//!
//! Compilers other than the one at hand (Tint, Metal's, DirectX's) are shown these texts. Constants get the values of the operators' own
//! calls, because made-up ones may break what a shader demands of them.

use super::{ALL, SHADERS};
use crate::gpu::{Target, link};
use crate::tape::{Call, Draw};
use std::collections::BTreeMap;

/// A shader linked for a target.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Name of the shader and of the target: `add.tiles`.
    pub name: String,
    /// The shader's text, then the prelude.
    pub text: String,
    /// A value for each constant that some operator's call gives.
    pub constants: BTreeMap<&'static str, f64>,
}

/// Every shader in every form in which it may be linked.
pub fn linked() -> Vec<Linked> {
    Target::ALL.into_iter().flat_map(linked_for).collect()
}

fn linked_for(target: Target) -> Vec<Linked> {
    let mut constants: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for operator in ALL {
        let smallest = (operator.case)(&mut Draw::new(vec![]));
        for case in (operator.bench)().into_iter().chain([smallest]) {
            for Call { dispatch, .. } in case.record(target, 1).tape.calls() {
                let of = constants.entry(dispatch.entry.shader.name).or_default();
                for (&name, &value) in dispatch.entry.constants.iter().zip(&dispatch.constants) {
                    of.entry(name).or_insert(value);
                }
            }
        }
    }
    let fitting = SHADERS.iter().filter(|shader| shader.fits(target));
    let linked = fitting.map(|shader| Linked {
        name: format!("{}.{target}", shader.name),
        text: link(shader.text, target),
        constants: constants.get(shader.name).cloned().unwrap_or_default(),
    });
    linked.collect()
}
