//! Runs that are trained with several seeds: the means of their results.

use super::report::{Row, markdown};

/// A column: its title, and its text for the rows of a group.
type Column = (&'static str, fn(&[&Row]) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("run", |rows| rows[0].group.as_ref().map(|group| format!("`{group}`"))),
    ("seeds", |rows| Some(rows.len().to_string())),
    ("FD to test images, ratio to the reference FD", |rows| spread(rows, |row| Some(row.evaluation.quality.ratio()))),
    ("class accuracy, %", |rows| {
        spread(rows, |row| row.evaluation.classes.accuracy.as_ref().map(|share| 100.0 * share.share()))
    }),
    ("mean pixel value, difference to test images, %", |rows| {
        spread(rows, |row| row.evaluation.brightness.and_then(|pair| pair.difference()))
    }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    /// Results of a run with a ratio of 10 `fd` and an accuracy of 9/10.
    fn row(name: &str, group: Option<&str>, fd: f64) -> Row {
        let proportion = json!({"successes": 9, "count": 10, "low": 0.6, "high": 1.0});
        let estimate = json!({"value": 0.0, "error": 0.0});
        let quantiles =
            json!({"count": 1, "min": 1.0, "percentile_1": 1.0, "quartile_1": 1.0, "median": 1.0, "quartile_3": 1.0});
        let distances = json!({"samples": quantiles, "test": quantiles, "near_duplicates": proportion});
        let evaluation = json!({
            "target": {
                "name": name, "model": "", "process": "", "dataset": "", "image": [1, 28, 28], "conditional": true,
                "step": 1, "parameters": 1
            },
            "sampling": {"count": 10, "sampler": "ddim", "steps": 5, "guidance": 1.0, "seed": 0, "seconds": 1.0},
            "feature_extractor": {"sha256": "", "features": 1, "accuracy": proportion, "dataset": ""},
            "quality": {
                "fd_test": fd, "fd_train": 1.0, "fd_reference": 0.1,
                "counts": {"samples": 10, "reference": 10, "train": 10, "test": 10},
                "kid": estimate, "kid_reference": estimate, "precision": 1.0, "recall": 1.0, "neighbors": 3,
                "neighbor_images": 10
            },
            "brightness": {
                "samples": {"mean": 30.0, "bright_corners": 0.0}, "test": {"mean": 0.0, "bright_corners": 0.0}
            },
            "classes": {
                "names": [], "accuracy": proportion, "accuracy_by_class": [], "balance": null,
                "balance_with_classes": null, "classification_accuracy_score": null
            },
            "likelihood": [],
            "memorization": {"pixels": distances, "features": distances},
            "cost": null,
            "sweep": []
        });
        Row {
            name: name.into(),
            group: group.map(str::to_string),
            commands: vec![],
            trained: 100,
            seconds: 1.0,
            results: "".into(),
            picture: String::new(),
            evaluation: from_value(evaluation).unwrap(),
        }
    }

    #[test]
    fn table_has_the_mean_and_the_extremes_of_each_group() {
        let rows = [
            row("a-seed-0", Some("a"), 0.4),
            row("b-seed-0", Some("b"), 0.2),
            row("a-seed-1", Some("a"), 0.1),
            row("a-seed-2", Some("a"), 0.7),
            row("alone", None, 9.0),
        ];
        let expected = "\
            | run | seeds | FD to test images, ratio to the reference FD | class accuracy, % |\n\
            |---|---|---|---|\n\
            | `a` | 3 | 4.0 (1.0 to 7.0) | 90.0 (90.0 to 90.0) |\n\
            | `b` | 1 | 2.0 (2.0 to 2.0) | 90.0 (90.0 to 90.0) |\n";
        // Black test images have no relative brightness, so this column is left out.
        assert_eq!(table(&rows).unwrap(), expected);
        assert!(table(&rows[4..]).is_none(), "no run has several seeds");
    }
}
