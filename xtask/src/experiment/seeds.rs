//! Runs that are trained with several seeds: the means of their results.

use super::report::{Row, brighter, markdown};

/// A column: its title, and its text for the rows of a group.
type Column = (&'static str, fn(&[&Row]) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("run", |rows| rows[0].group.as_ref().map(|group| format!("`{group}`"))),
    ("seeds", |rows| Some(rows.len().to_string())),
    ("FD to test images, ratio to the reference FD", |rows| {
        spread(rows, |row| Some(row.evaluation.quality.fd_test / row.evaluation.quality.fd_reference))
    }),
    ("read as asked, %", |rows| {
        spread(rows, |row| row.evaluation.classes.accuracy.as_ref().map(|share| 100.0 * share.share()))
    }),
    ("mean pixel value, %", |rows| spread(rows, |row| row.evaluation.brightness.map(brighter))),
    ("class balance without labels: p", |rows| {
        let balances = rows.iter().filter_map(|row| row.evaluation.classes.balance.as_ref());
        let texts: Vec<String> = balances.map(|balance| format!("{:.0e}", balance.p_value)).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }),
];

/// A table of the groups; `None` if no run has several seeds.
pub fn table(rows: &[Row]) -> Option<String> {
    let mut names: Vec<&str> = vec![];
    for name in rows.iter().filter_map(|row| row.group.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let of_group = |name: &&str| rows.iter().filter(|row| row.group.as_deref() == Some(name)).collect::<Vec<_>>();
    let groups: Vec<Vec<&Row>> = names.iter().map(of_group).collect();
    let columns = COLUMNS.iter().map(|(title, text)| (*title, groups.iter().map(|rows| text(rows)).collect()));
    (!groups.is_empty()).then(|| markdown(columns.collect()))
}

/// The mean, the smallest and the largest of a number.
fn spread(rows: &[&Row], number: impl Fn(&Row) -> Option<f64>) -> Option<String> {
    let mut numbers: Vec<f64> = rows.iter().filter_map(|row| number(row)).collect();
    numbers.sort_by(f64::total_cmp);
    let [low, high] = [*numbers.first()?, *numbers.last()?];
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    Some(format!("{mean:.1} ({low:.1} to {high:.1})"))
}
