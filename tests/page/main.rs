//! The evaluation page, opened in a browser: the console is empty, nothing is fetched, every
//! picture and curve is visible, and every number equals the one in `evaluation.json`, rounded in
//! the text. To show that the checks work, pages with each of these faults are opened too.

mod browser;
mod made_up;

use browser::{Findings, Shown, open};
use degrain::evaluate::evaluation::Evaluation;
use degrain::evaluate::html::{EvaluatedRun, page};
use made_up::{evaluation, images, write_evaluation, write_other_files};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Widths of a desktop and a phone window.
const WIDTHS: [u32; 2] = [1280, 420];

/// Evaluations as JSON by name, made from the values that were written and not from the files.
type Documents = BTreeMap<String, Value>;

/// A change of an evaluation.
type Change<'a> = &'a dyn Fn(&mut Evaluation);

#[test]
fn page_shows_all_numbers_and_pictures() {
    let folder = TempDir::new().unwrap();
    // A name that must be escaped in HTML.
    let odd = "a < b & \"c\"";
    let written = [evaluation("ddpm-tiny", 0.1), evaluation(odd, 0.37), images("images from a file", 0.7)];
    for (evaluation, (name, seed)) in written.iter().zip([("one", Some(0.2)), ("two", Some(0.9)), ("three", None)]) {
        let run = folder.path().join(name);
        write_evaluation(&run, evaluation);
        seed.into_iter().for_each(|seed| write_other_files(&run, seed));
    }
    let runs = ["one", "two", "three"].map(|name| EvaluatedRun::open(&folder.path().join(name)).unwrap());
    let html = page(&runs).unwrap();
    // Kept so that a person can look at it.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("page.html"), &html).unwrap();
    assert!(!html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").contains("://"), "an external address");
    for width in WIDTHS {
        let found = open(&html, width);
        assert_eq!(found.window, f64::from(width));
        assert_eq!(problems(&found, &documents(&written)), Vec::<String>::new(), "in a window of {width} pixels");
        // Images: two runs with a grid, closest pairs and two strips. Plots: 4 of all runs and one
        // of loss quarters per run, over steps and time; 3 sweep plots per run.
        assert_eq!((found.images.len(), found.drawings.len()), (8, 2 * (4 + 2) + 2 * 3));
        let sections = [
            "Runs",
            "Likelihood",
            "Class balance",
            "Memorization",
            "Cost",
            "Curves",
            "Samples",
            "Forward and reverse process",
        ];
        assert_eq!(found.sections[..sections.len()], sections);
        assert!(html.contains("1.967") && html.contains("1.382"), "MNIST has its baselines");
        // The smallest distance is bold, and nothing in columns without an order.
        let least = written.iter().min_by(|a, b| a.quality.fd_test.total_cmp(&b.quality.fd_test)).unwrap();
        assert!(found.best.contains(&format!("{} quality.fd_test", least.target.name)), "{:?}", found.best);
        assert!(
            !found.best.iter().any(|field| field.contains("parameters") || field.contains("p_value")),
            "{:?}",
            found.best
        );
        // Every number of a complete evaluation is on the page.
        let shown: BTreeSet<&str> = found
            .numbers
            .iter()
            .filter(|number| number.run == odd)
            .flat_map(|number| number.field.split(" / "))
            .collect();
        let mut missing = Vec::new();
        leaves(&documents(&written)[odd], "", &mut missing);
        missing.retain(|field| {
            !shown.contains(field.as_str())
                && !field.starts_with("feature_extractor.")
                && !field.starts_with("target.image.")
        });
        assert_eq!(missing, Vec::<String>::new());
    }
}

#[test]
fn page_of_a_single_run_of_another_data_set_has_no_baselines() {
    let folder = TempDir::new().unwrap();
    let mut lone = images("cifar", 0.5);
    lone.target.dataset = "CIFAR-10".into();
    lone.target.image = [3, 32, 32];
    write_evaluation(folder.path(), &lone);
    let html = page(&[EvaluatedRun::open(folder.path()).unwrap()]).unwrap();
    let found = open(&html, 1280);
    assert_eq!(problems(&found, &documents(std::slice::from_ref(&lone))), Vec::<String>::new());
    assert_eq!((found.images.len(), found.drawings.len(), found.best.len()), (0, 0, 0));
    assert_eq!(found.sections, ["Runs", "Memorization", "Definitions"]);
    assert!(!html.contains("1.967"), "a baseline of MNIST for CIFAR-10");
}

#[test]
fn curves_and_strips_of_a_run_with_two_evaluations_are_shown_once() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("one");
    write_evaluation(&run, &evaluation("one", 0.1));
    write_other_files(&run, 0.3);
    let first = EvaluatedRun::open(&run).unwrap();
    let once = page(&[first]).unwrap();
    fs::create_dir(run.join("other")).unwrap();
    fs::copy(run.join("evaluation").join(Evaluation::FILE), run.join("other").join(Evaluation::FILE)).unwrap();
    let both = [run.clone(), run.join("other")].map(|place| EvaluatedRun::open(&place).unwrap());
    let both = page(&both).unwrap();
    let count = |html: &str, text: &str| html.matches(text).count();
    for text in ["loss by quarter of t", ", forward", ", reverse"] {
        assert!(count(&once, text) > 0, "the page has no {text}");
        assert_eq!(count(&both, text), count(&once, text), "{text}");
    }
}

/// A note says that equal positions of grids start from equal noise only if they do.
#[test]
fn page_compares_the_noise_of_grids() {
    let folder = TempDir::new().unwrap();
    let says = |change: &dyn Fn(&mut Evaluation)| {
        let mut other = evaluation("other", 0.7);
        change(&mut other);
        let runs = [("one", evaluation("one", 0.1)), ("other", other)].map(|(name, evaluation)| {
            let run = folder.path().join(name);
            write_evaluation(&run, &evaluation);
            write_other_files(&run, 0.3);
            EvaluatedRun::open(&run).unwrap()
        });
        let html = page(&runs).unwrap();
        fs::remove_dir_all(folder.path().join("one")).unwrap();
        fs::remove_dir_all(folder.path().join("other")).unwrap();
        html.contains("start from equal noise")
    };
    assert!(says(&|_| {}));
    assert!(!says(&|other| other.sampling.seed -= 1));
    assert!(!says(&|other| other.sampling.count -= 1), "other classes");
    assert!(!says(&|other| other.sampling.guidance = 0.0), "without classes");
    assert!(!says(&|other| other.sampling.sampler = "none".into()), "an autoencoder");
}

#[test]
fn page_checks_find_every_fault() {
    let folder = TempDir::new().unwrap();
    let written = [evaluation("whole", 0.1)];
    write_evaluation(folder.path(), &written[0]);
    write_other_files(folder.path(), 0.3);
    let html = page(&[EvaluatedRun::open(folder.path()).unwrap()]).unwrap();
    let fd = written[0].quality.fd_test;
    let number = format!("data-field=\"quality.fd_test\" data-value=\"{fd}\">");
    let faults = [
        ("a broken image", "data:image/png;base64,iVBOR", "data:image/png;base64,broken", "image"),
        ("an image without an extent", "<img ", "<img style=\"width:0\" ", "image"),
        ("a curve without an extent", "<svg ", "<svg style=\"display:none\" ", "svg"),
        ("an error on the console", "; style-src", "; script-src 'unsafe-inline'; style-src", "made up"),
        ("a picture from outside", "</main>", "<img src=\"https://example.com/x.png\" alt=\"\"></main>", "example.com"),
        (
            "a background from outside",
            "</style>",
            "body { background: url(https://example.com/y.png) }</style>",
            "y.png",
        ),
        ("a style from outside", "</style>", "</style><link rel=\"stylesheet\" href=\"style.css\">", "style.css"),
        ("another number", &number, "data-field=\"quality.fd_test\" data-value=\"3.25\">", "quality.fd_test"),
        (
            "a number of another field",
            "data-field=\"quality.recall\"",
            "data-field=\"quality.precision\"",
            "quality.precision",
        ),
        (
            "a number that is not there",
            "data-field=\"quality.recall\"",
            "data-field=\"quality.recal\"",
            "quality.recal",
        ),
        ("another rounding", &number, &format!("{number}1"), "quality.fd_test"),
        ("an overflow", "<main>", "<main style=\"width:3000px\">", "wide"),
    ];
    for (fault, from, to, named) in faults {
        assert!(html.contains(from), "{fault}: the page has no {from}");
        let script = if named == "made up" { "<script>console.error('made up')</script></main>" } else { "</main>" };
        let broken = html.replacen(from, to, 1).replacen("</main>", script, 1);
        let found = problems(&open(&broken, 1280), &documents(&written));
        assert!(found.iter().any(|problem| problem.contains(named)), "{fault} was not found: {found:?}");
    }
    // The same page without a fault.
    assert_eq!(problems(&open(&html, 1280), &documents(&written)), Vec::<String>::new());
}

#[test]
fn page_errors_name_the_run_and_the_problem() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let message = |result: degrain::Result<String>| result.unwrap_err().to_string();
    let open_run = |name: &str| EvaluatedRun::open(&at(name));
    let write = |name: &str, change: Change<'_>| {
        let mut evaluation = evaluation(name, 0.3);
        change(&mut evaluation);
        write_evaluation(&at(name), &evaluation);
        open_run(name).unwrap()
    };
    let first = || write("first", &|_| ());
    #[rustfmt::skip]
    let pairs: [(&str, Change<'_>, &[&str]); 4] = [
        ("other data", &|e| e.target.dataset = "Fashion-MNIST".into(),
            &["first", "other data", "MNIST", "Fashion-MNIST"]),
        ("other shape", &|e| e.target.image = [3, 32, 32], &["first", "other shape", "1 x 28 x 28", "3 x 32 x 32"]),
        ("other extractor", &|e| e.feature_extractor.sha256 = "ab".repeat(32),
            &["first", "other extractor", "9f2c9f2c", "abababab", "evaluate both"]),
        ("other folder", &|e| e.target.name = "first".into(), &["first", "rename"]),
    ];
    for (name, change, words) in pairs {
        let message = message(page(&[first(), write(name, change)]));
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    assert!(message(page(&[])).contains("no runs to show"));

    let failure = |name: &str| open_run(name).err().unwrap().to_string();
    assert!(failure("nowhere").contains("nowhere: there is no such folder"));
    fs::create_dir(at("trained")).unwrap();
    let message = failure("trained");
    assert!(
        message.contains("trained: has not been evaluated") && message.contains("`evaluate --checkpoint "),
        "{message}"
    );
    first();
    fs::write(at("first/evaluation/grid.png"), "no PNG").unwrap();
    assert!(failure("first").contains("grid.png"), "{}", failure("first"));
    fs::write(at("first/evaluation/evaluation.json"), "{}").unwrap();
    assert!(failure("first").contains("evaluation.json") && failure("first").contains("evaluate the run again"));
    // The keys of an earlier version.
    write_evaluation(&at("old"), &evaluation("old", 0.3));
    let path = at("old/evaluation/evaluation.json");
    let json = fs::read_to_string(&path).unwrap().replacen("\"target\"", "\"subject\"", 1);
    fs::write(&path, json).unwrap();
    let message = failure("old");
    assert!(message.contains("subject") && message.contains("evaluate the run again"), "{message}");
}

/// The faults of a page.
fn problems(found: &Findings, documents: &Documents) -> Vec<String> {
    let mut problems: Vec<String> = found.console.iter().map(|line| format!("on the console: {line}")).collect();
    problems.extend(found.references.iter().map(|address| format!("a reference to {address}")));
    problems.extend(found.requests.iter().map(|address| format!("a request for {address}")));
    let visible = |extent: &[f64]| extent.iter().all(|&pixels| pixels > 0.0);
    problems
        .extend(found.images.iter().filter(|image| !visible(&image[..])).map(|image| format!("an image of {image:?}")));
    problems.extend(found.drawings.iter().filter(|svg| !visible(&svg[..])).map(|svg| format!("an svg of {svg:?}")));
    if found.width > found.window {
        problems.push(format!("{} pixels wide in a window of {}", found.width, found.window));
    }
    if found.numbers.is_empty() {
        problems.push("no numbers".into());
    }
    problems.extend(found.numbers.iter().filter_map(|number| fault(number, documents)));
    problems
}

/// The fault of a number: it differs from the document, is invisible, or is rounded wrongly.
fn fault(number: &Shown, documents: &Documents) -> Option<String> {
    let look_up =
        |field: &str| documents.get(&number.run)?.pointer(&format!("/{}", field.replace('.', "/")))?.as_number();
    let parts: Option<Vec<_>> = number.field.split(" / ").map(look_up).collect();
    let (expected, value) = match &parts.unwrap_or_default()[..] {
        [one] => (one.to_string(), one.as_f64()?),
        [dividend, divisor] => {
            let quotient = dividend.as_f64()? / divisor.as_f64()?;
            (format!("{quotient:?}"), quotient)
        }
        _ => return Some(format!("{number:?}: the evaluation has no such number")),
    };
    // Floats are compared by value, because 1e-7 may be written in several ways; integers by their
    // digits, because they may exceed f64.
    let same = number.value == expected || number.value.contains(['.', 'e']) && number.value.parse() == Ok(value);
    let Some((shown, half)) = read(&number.text) else { return Some(format!("{number:?}: cannot be read")) };
    match () {
        _ if !same => Some(format!("{number:?}: it is {expected}")),
        _ if (shown - value).abs() > half * (1.0 + 1e-9) + value.abs() * 1e-14 => {
            Some(format!("{number:?}: rounded wrongly"))
        }
        _ if number.size.contains(&0.0) => Some(format!("{number:?}: not shown")),
        _ => None,
    }
}

/// A number parsed from its text, and half a unit of its last digit: the largest rounding error.
fn read(text: &str) -> Option<(f64, f64)> {
    let words: Vec<&str> = text.split('\u{a0}').collect();
    let digits = words[0].replace(',', "").replace('\u{2212}', "-");
    let unit = match words[1..] {
        [] => 1.0,
        ["×", power] => {
            let digit = |c: char| match c {
                '⁻' => '-',
                c => "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().position(|raised| raised == c).map_or('?', |n| char::from(b'0' + n as u8)),
            };
            10f64.powi(power.strip_prefix("10")?.chars().map(digit).collect::<String>().parse().ok()?)
        }
        [unit] => match unit {
            "%" => 0.01,
            "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => {
                let prefix = ["FLOP", "B", "images/s"].iter().find_map(|name| unit.strip_suffix(name))?;
                [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)]
                    .into_iter()
                    .find(|(name, _)| *name == prefix)?
                    .1
            }
        },
        _ => return None,
    };
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i32);
    Some((digits.parse::<f64>().ok()? * unit, 0.5 * 10f64.powi(-decimals) * unit))
}

fn documents(written: &[Evaluation]) -> Documents {
    written
        .iter()
        .map(|evaluation| (evaluation.target.name.clone(), serde_json::to_value(evaluation).unwrap()))
        .collect()
}

/// The paths of all numbers of a document.
fn leaves(value: &Value, path: &str, into: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    match value {
        Value::Number(_) => into.push(path.into()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| leaves(item, &below(&n.to_string()), into))
        }
        Value::Object(fields) => fields.iter().for_each(|(name, field)| leaves(field, &below(name), into)),
        _ => {}
    }
}
