//! The results of an experiment: a table, and the text below each picture of a document.

use degrain::evaluate::Evaluation;
use degrain::metrics::proportion::Proportion;
use std::path::PathBuf;

/// The results of one way to sample.
pub struct Row {
    /// Name of the samples.
    pub name: String,
    /// The name that the samples of all seeds share, of a run with several.
    pub group: Option<String>,
    /// The commands that made them.
    pub commands: Vec<String>,
    /// Images that the run was trained on.
    pub trained: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Folder of the results.
    pub results: PathBuf,
    /// Path of the picture, relative to the document.
    pub picture: String,
    /// The measured numbers.
    pub evaluation: Evaluation,
}

/// A column: its title, and its text in a row with this number.
type Column = (&'static str, fn(&Row) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("run", |row| Some(format!("`{}`", row.name))),
    ("images trained (time)", |row| Some(format!("{} ({})", row.trained, duration(row.seconds)))),
    ("sampler", |row| row.evaluation.sampling.describe(row.evaluation.target.conditional)),
    ("FD to test images (ratio to the reference FD)", |row| {
        let quality = &row.evaluation.quality;
        Some(format!("{} ({:.1})", quality.distance(), quality.ratio()))
    }),
    ("FD to training images", |row| Some(format!("{:.2}", row.evaluation.quality.fd_train))),
    ("precision, recall", |row| {
        let quality = &row.evaluation.quality;
        Some(format!("{:.2}, {:.2}", quality.precision, quality.recall))
    }),
    ("class accuracy", |row| row.evaluation.classes.accuracy.as_ref().map(percent)),
    ("classification accuracy score (that of as many training images)", |row| {
        let classes = &row.evaluation.classes;
        let scores = [classes.classification_accuracy_score, classes.classification_accuracy_reference];
        let [own, reference] = scores.map(|score| score.map(|score| format!("{:.1} %", 100.0 * score.share())));
        Some(format!("{}{}", own?, reference.map_or(String::new(), |reference| format!(" ({reference})"))))
    }),
    ("class balance without labels: p", |row| {
        row.evaluation.classes.balance.as_ref().map(|balance| format!("{:.1e}", balance.p_value))
    }),
    ("bits per dimension, test", |row| bits(&row.evaluation)),
    ("mean pixel value", |row| {
        row.evaluation.brightness.and_then(|pair| pair.difference()).map(|percent| format!("{percent:+.1} %"))
    }),
    ("bright corner pixels", |row| {
        row.evaluation.brightness.map(|pair| format!("{:.2} %", 100.0 * pair.samples.bright_corners))
    }),
];

/// The rows as a table in Markdown, without columns that all rows lack.
pub fn table(rows: &[Row]) -> String {
    let columns = COLUMNS.iter().map(|(title, text)| (*title, rows.iter().map(text).collect()));
    markdown(columns.collect())
}

/// A table in Markdown of columns with a title and an entry for each row, without columns that all
/// rows lack.
pub fn markdown(columns: Vec<(&str, Vec<Option<String>>)>) -> String {
    let columns: Vec<_> = columns.into_iter().filter(|(_, cells)| cells.iter().any(Option::is_some)).collect();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|(title, _)| *title).collect());
    text.push_str(&format!("|{}\n", "---|".repeat(columns.len())));
    for row in 0..columns.first().map_or(0, |(_, cells)| cells.len()) {
        text.push_str(&line(columns.iter().map(|(_, cells)| cells[row].as_deref().unwrap_or("")).collect()));
    }
    text
}

/// Seconds or minutes.
fn duration(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// The commands, the picture and the numbers of a row, for a document.
pub fn figure(row: &Row) -> String {
    let Row { name, commands, picture, evaluation, .. } = row;
    let quality = &evaluation.quality;
    let mut facts = vec![
        format!("{} images in {}", row.trained, duration(row.seconds)),
        format!("FD {}, {:.1} times the reference", quality.distance(), quality.ratio()),
    ];
    facts.extend(evaluation.classes.accuracy.as_ref().map(|share| format!("class accuracy {}", percent(share))));
    facts.extend(bits(evaluation).map(|bits| format!("{bits} bits per dimension")));
    if let Some(pair) = evaluation.brightness {
        facts.extend(pair.difference().map(|percent| format!("mean pixel value {percent:+.1} %")));
        facts.push(format!("{:.2} % bright corner pixels", 100.0 * pair.samples.bright_corners));
    }
    let sampler = evaluation.sampling.describe(evaluation.target.conditional);
    let sampler = sampler.map_or(String::new(), |sampler| format!(" ({sampler})"));
    let commands = commands.join("\n");
    let facts = facts.join("; ");
    format!(
        "```sh\n{commands}\n```\n\n![{name}]({picture})\n\n{} samples{sampler}: {facts}.\n",
        evaluation.sampling.count
    )
}

/// Replaces the text between `<!-- results: NAME -->` and `<!-- end of results -->`.
pub fn replace(document: &str, name: &str, text: &str) -> Result<String, String> {
    let begin = format!("<!-- results: {name} -->\n");
    let end = "<!-- end of results -->";
    let (before, rest) = document.split_once(&begin).ok_or_else(|| format!("has no line `{}`", begin.trim_end()))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("has no line `{end}` after `{}`", begin.trim_end()))?;
    Ok(format!("{before}{begin}\n{text}\n{end}{after}"))
}

fn percent(share: &Proportion) -> String {
    let [value, low, high] = [share.share(), share.low, share.high].map(|x| 100.0 * x);
    format!("{value:.1} % ({low:.1} to {high:.1})")
}

fn bits(evaluation: &Evaluation) -> Option<String> {
    let test = evaluation.likelihood.iter().find(|split| split.split == "test")?;
    Some(format!("{:.3} ± {:.3}", test.total.value, test.total.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_between_the_marks_is_replaced() {
        let document = "a\n<!-- results: b -->\nold\n<!-- end of results -->\nc\n";
        let new = replace(document, "b", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- results: b -->\n\nnew\n\n<!-- end of results -->\nc\n");
        assert_eq!(replace(&new, "b", "new\n").unwrap(), new);
        assert!(replace(document, "d", "").unwrap_err().contains("results: d"));
    }
}
