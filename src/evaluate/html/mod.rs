//! The page: everything that was measured of one or several runs, as one HTML file that needs no other and asks for
//! none.
//!
//! Numbers carry their run, their place in `evaluation.json` and all their digits as attributes (`data-run`,
//! `data-field`, `data-value`); what is read is rounded. Pictures and curves stand in the file itself, and its content
//! security policy forbids the browser to fetch.

mod balance;
mod cost;
mod curves;
mod definitions;
mod figure;
mod history;
mod likelihood;
mod memorization;
mod number;
mod pictures;
mod run;
mod runs;
mod table;

pub use run::Run;

use crate::{Error, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use number::Format;
use std::collections::HashSet;

/// Nothing is fetched: pictures are data, the style is inline, and there is no script.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A section of the page.
struct Section {
    /// Its anchor.
    id: &'static str,
    title: &'static str,
    content: Markup,
}

/// The page of one run, or of several side by side, as HTML5 in UTF-8.
///
/// # Errors
/// [`Error::Config`] without a run, and for runs that cannot be compared: of different data sets, image shapes or rulers,
/// or of one name.
pub fn page(runs: &[Run]) -> Result<String> {
    let Some(first) = runs.first() else {
        return Err(Error::Config("there is no run to show: name the folders of evaluated runs".into()));
    };
    comparable(runs)?;
    let title = match runs {
        [run] => format!("Evaluation of {}", run.name()),
        _ => format!("{} runs compared", runs.len()),
    };
    let sections = [
        Section { id: "runs", title: "Runs", content: runs::section(runs) },
        Section { id: "likelihood", title: "Likelihood", content: likelihood::section(runs) },
        Section { id: "balance", title: "Balance", content: balance::section(runs) },
        Section { id: "memorisation", title: "Memorisation", content: memorization::section(runs) },
        Section { id: "cost", title: "Cost", content: cost::section(runs) },
        Section { id: "curves", title: "Curves", content: curves::section(runs) },
        Section { id: "samples", title: "Samples", content: pictures::samples(runs) },
        Section { id: "strips", title: "Forward and reverse", content: pictures::strips(runs) },
        Section { id: "definitions", title: "How each number was computed", content: definitions::section() },
    ];
    // What no run has is no section.
    let sections: Vec<Section> = sections.into_iter().filter(|section| !section.content.0.is_empty()).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { (title) }
                    (compared(runs, first))
                    nav { @for section in &sections { a href={ "#" (section.id) } { (section.title) } " " } }
                }
                main {
                    @for section in &sections {
                        section id=(section.id) { h2 { (section.title) } (section.content) }
                    }
                }
                footer {
                    p {
                        "Made by degrain " (env!("CARGO_PKG_VERSION")) " from " code { "evaluation.json" }
                        ", the log and the pictures of each run."
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// What the page is about: the runs, their data set, and the ruler that read their images.
fn compared(runs: &[Run], first: &Run) -> Markup {
    let [channels, height, width] = first.evaluation.subject.image;
    let ruler = &first.evaluation.ruler;
    let accuracy = first.quotient("ruler.accuracy.successes", "ruler.accuracy.count");
    html! {
        dl.card {
            dt { @if runs.len() == 1 { "Run" } @else { "Runs" } }
            dd { @for (n, run) in runs.iter().enumerate() { @if n > 0 { ", " } strong { (run.name()) } } }
            dt { "Data set" }
            dd {
                (first.evaluation.subject.dataset) ", images of " (height) " × " (width)
                @if channels > 1 { " × " (channels) } " pixels"
            }
            dt { "Ruler" }
            dd {
                "a classifier of " (ruler.dataset) " with "
                @if let Some(features) = first.number("ruler.features") { (features.show(Format::Count)) } " features"
                @if let Some(accuracy) = accuracy {
                    ", right about " (accuracy.show(Format::Share)) " of the test images"
                }
                br;
                code.hash { "sha256 " (ruler.sha256) }
            }
        }
    }
}

/// Numbers stand beside each other only if they were measured of the same kind of images, by the same ruler, under
/// different names.
fn comparable(runs: &[Run]) -> Result<()> {
    let mut names = HashSet::new();
    if let Some(twice) = runs.iter().find(|run| !names.insert(run.name())) {
        let problem = format!("two runs are named {}, and the page tells runs by their names", twice.name());
        return Err(Error::Config(format!("{problem}: rename a run's folder and evaluate it again")));
    }
    let Some((first, others)) = runs.split_first() else { return Ok(()) };
    for other in others {
        let (a, b) = (&first.evaluation, &other.evaluation);
        let shape = |image: [u32; 3]| image.map(|n| n.to_string()).join(" x ");
        let reason = if a.subject.dataset != b.subject.dataset {
            format!("the first is of {}, the second of {}", a.subject.dataset, b.subject.dataset)
        } else if a.subject.image != b.subject.image {
            format!("images of {} and of {}", shape(a.subject.image), shape(b.subject.image))
        } else if a.ruler.sha256 != b.ruler.sha256 {
            let hashes = format!("{} and {}", a.ruler.sha256, b.ruler.sha256);
            format!("they were measured by different rulers (sha256 {hashes}): evaluate both by the same")
        } else {
            continue;
        };
        return Err(Error::Config(format!("{} and {} cannot be compared: {reason}", first.name(), other.name())));
    }
    Ok(())
}
