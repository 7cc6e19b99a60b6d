//! Every shader as it is compiled: linked for each target that calls it, with values for its
//! constants.
//!
//! Other compilers (Tint, Metal's, DirectX's) are tested with these texts. The values of the
//! constants come from calls of the operators, because made-up values might break what a shader
//! assumes about them.

use super::{ALL, SHADERS};
use crate::gpu::{Target, link};
use crate::rng::philox;
use crate::tape::Call;
use crate::tape::testing::Choices;
use std::collections::BTreeMap;

/// A shader linked for a target.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Names of the shader and of the target: `add.tiled`.
    pub name: String,
    /// The shader's text, then the prelude.
    pub text: String,
    /// Whether it has 64-bit integers. Only Vulkan's drivers compile such shaders.
    pub wide: bool,
    /// A value for each constant, from some call of an operator.
    pub constants: BTreeMap<&'static str, f64>,
}

/// Random cases of each operator, in addition to its edge cases and bench shapes: enough to reach
/// every kernel.
const DRAWS: u32 = 32;

/// Every shader, for every target for which an operator calls it.
pub fn linked() -> Vec<Linked> {
    Target::EXAMPLES.into_iter().flat_map(linked_for).collect()
}

fn linked_for(target: Target) -> Vec<Linked> {
    let mut constants: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for (_, operator) in ALL {
        let draw = |seed: u32| (0..24).map(|i| philox([seed, i, 0, 0], [0, 0])[0]).collect();
        let cases = (0..DRAWS).map(|seed| (operator.case)(&mut Choices::new(draw(seed))));
        for case in (operator.bench)().into_iter().chain((operator.edge)()).chain(cases) {
            let forms = case.forms(target).into_iter().map(|choices| case.record_with(target, 1, choices).tape);
            for Call { dispatch, .. } in forms.collect::<Vec<_>>().iter().flat_map(|tape| tape.calls()) {
                let of = constants.entry(dispatch.entry.shader.name).or_default();
                for (&name, &value) in dispatch.entry.constants.iter().zip(&dispatch.constants) {
                    of.entry(name).or_insert(value);
                }
            }
        }
    }
    let called = SHADERS.iter().filter_map(|shader| Some((shader, constants.remove(shader.name)?)));
    called
        .map(|(shader, constants)| Linked {
            name: format!("{}.{target}", shader.name),
            wide: shader.name.ends_with("_wide"),
            text: link(shader.name, shader.text, target),
            constants,
        })
        .collect()
}
