//! The README's table of operators is the list of operators, and the files that it points to are there.

use degrain::gpu::Target;
use degrain::ops::ALL;
use degrain::tape::{Draw, Operator};
use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../README.md");
const BEGIN: &str = "<!-- operators: written by tests/readme.rs -->\n";
const END: &str = "<!-- end of operators -->";

#[test]
fn operators() {
    let table = ALL.iter().map(|operator| row(operator)).collect::<String>();
    let table = format!("| operator | computes | gradient | forms |\n|---|---|---|---|\n{table}");
    let (_, rest) = README.split_once(BEGIN).expect("README.md has the line that begins the table of operators");
    let (written, _) = rest.split_once(END).expect("README.md has the line that ends the table of operators");
    assert!(written == table, "put this between the two marks in README.md:\n\n{table}");
}

#[test]
fn links() {
    let targets = README.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    // Pictures are made by a run, and are not part of the published crate.
    let missing: Vec<&str> = local
        .filter(|target| {
            !target.starts_with("docs/") && !target.starts_with("data/") && !target.starts_with("benches/")
        })
        .filter(|target| !Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists())
        .collect();
    assert!(missing.is_empty(), "README.md points to what is not there: {missing:?}");
}

fn row(operator: &Operator) -> String {
    let name = operator.name;
    let op = (operator.case)(&mut Draw::new(vec![])).op;
    let gradient = match (op.differentiable(), op.updates().is_empty()) {
        (true, true) => "yes",
        (true, false) => "yes; updates state",
        (false, true) => "",
        (false, false) => "in place",
    };
    let forms = if kernels(operator, Target::TILES) == kernels(operator, Target::SOFTWARE) { "one" } else { "two" };
    // A bar in a formula would begin another cell.
    let formula = operator.formula.replace('|', "\\|");
    format!("| [`{name}`](shaders/{name}.wgsl) | {formula} | {gradient} | {forms} |\n")
}

/// Labels of the kernels that the cases of an operator call on a kind of device.
fn kernels(operator: &Operator, target: Target) -> BTreeSet<&'static str> {
    let smallest = (operator.case)(&mut Draw::new(vec![]));
    let cases = (operator.bench)().into_iter().chain([smallest]);
    let labels = |case: degrain::tape::Case| {
        let trial = case.record(target, 1);
        trial.tape.calls().iter().map(|call| call.dispatch.entry.label).collect::<Vec<_>>()
    };
    cases.flat_map(labels).collect()
}
