//! Predicts the speed of training on several ranks, from the times of the parts of a step on one.
//! docs/distributed.md has the model and a table.

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask scaling [OPTION VALUE...]

Predicts images per second of training on 1 to 256 ranks, one GPU each. Every rank has --batch images.

  --compute MS      Time of a step on one GPU [default: 35.9, `base` with batch 128 on an H200]
  --backward SHARE  Share of that time until the last gradient is there [default: 0.95]
  --batch N         Images of a rank in a step [default: 128]
  --parameters N    Parameters of the model [default: 6804225, `base`]
  --link GBITS      Bandwidth of a rank's link in Gb/s, each way [default: 25, 200 and 3600]
  --latency US      Time until a message arrives, in microseconds [default: 20]
  --host GBYTES     Copies between GPU and host memory in GB/s [default: 12]
  --add GBYTES      Gradients that the host adds, in GB/s [default: 5]
  --buckets N       Parts of the gradient that are sent while the rest of backward runs, in the second
                    column of each link [default: 8]";

/// Numbers of ranks.
const RANKS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Times in seconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    compute: f64,
    backward: f64,
    batch: f64,
    bytes: f64,
    links: Vec<f64>,
    latency: f64,
    host: f64,
    add: f64,
    buckets: u32,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            compute: 35.9e-3,
            backward: 0.95,
            batch: 128.0,
            bytes: 4.0 * 6_804_225.0,
            links: [25.0, 200.0, 3600.0].map(|gigabits| gigabits * 1e9 / 8.0).to_vec(),
            latency: 20e-6,
            host: 12e9,
            add: 5e9,
            buckets: 8,
        }
    }
}

impl Model {
    /// The time of the sum of a part of the gradient, once it is there: from the GPU, a block to
    /// each other rank, the additions, the results to each, back to the GPU.
    fn sum(&self, bytes: f64, ranks: u32, link: f64) -> f64 {
        if ranks == 1 {
            return 0.0;
        }
        let others = f64::from(ranks - 1);
        let exchange = others * self.latency + others / f64::from(ranks) * bytes / link;
        2.0 * bytes / self.host + 2.0 * exchange + bytes / self.add
    }

    /// The time of a step. The gradient has `buckets` parts, which are there at equal distances
    /// during backward. A part is sent when it is there and the parts before it were sent.
    fn step(&self, ranks: u32, link: f64, buckets: u32) -> f64 {
        // The forward pass takes about a third.
        let (start, end) = (self.compute / 3.0, self.compute * self.backward);
        let mut sent = 0.0;
        for bucket in 1..=buckets {
            let there = start + (end - start) * f64::from(bucket) / f64::from(buckets);
            sent = f64::max(sent, there) + self.sum(self.bytes / f64::from(buckets), ranks, link);
        }
        sent + self.compute - end
    }

    /// Images per second on all ranks.
    fn speed(&self, ranks: u32, link: f64, buckets: u32) -> f64 {
        f64::from(ranks) * self.batch / self.step(ranks, link, buckets)
    }

    fn parse(arguments: &[String]) -> Result<Model, String> {
        let mut model = Model::default();
        for pair in arguments.chunks(2) {
            let [option, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
            let value: f64 = value.parse().map_err(|_| format!("{option} {value}: not a number"))?;
            if !value.is_finite() || value <= 0.0 {
                return Err(format!("{option} {value}: must be positive"));
            }
            match option.as_str() {
                "--compute" => model.compute = value * 1e-3,
                "--backward" if (0.34..=1.0).contains(&value) => model.backward = value,
                "--backward" => return Err(format!("{option} {value}: use 0.34 to 1")),
                "--batch" => model.batch = value,
                "--parameters" => model.bytes = 4.0 * value,
                "--link" => model.links = vec![value * 1e9 / 8.0],
                "--latency" => model.latency = value * 1e-6,
                "--host" => model.host = value * 1e9,
                "--add" => model.add = value * 1e9,
                "--buckets" => model.buckets = value as u32,
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(model)
    }

    fn table(&self) -> String {
        let column =
            |link: &f64| format!(" one sum, {0:.0} Gb/s | {1} parts, {0:.0} Gb/s |", link * 8e-9, self.buckets);
        let mut lines = vec![format!("| ranks |{}", self.links.iter().map(column).collect::<String>())];
        lines.push(format!("|---|{}", "---|---|".repeat(self.links.len())));
        for ranks in RANKS {
            let cell = |link: f64, buckets| {
                let speed = self.speed(ranks, link, buckets);
                let share = 100.0 * speed / (f64::from(ranks) * self.batch / self.compute);
                format!(" {speed:.0} ({share:.0} %) |")
            };
            let cells = self.links.iter().flat_map(|&link| [cell(link, 1), cell(link, self.buckets)]);
            lines.push(format!("| {ranks} |{}", cells.collect::<String>()));
        }
        lines.join("\n")
    }
}

/// Prints the table for these arguments.
pub fn main(arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Model::parse(arguments) {
        Ok(model) => {
            println!(
                "images per second, and the share of the speed of as many GPUs that do not wait\n\n{}",
                model.table()
            );
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Model;

    #[test]
    fn scaling_of_one_rank_is_the_measured_step() {
        let model = Model::default();
        for buckets in [1, 8] {
            assert!((model.step(1, 1e9, buckets) - model.compute).abs() < 1e-12);
        }
    }

    #[test]
    fn scaling_adds_the_parts_of_a_step() {
        // 8 MB and 2 ranks: 8 ms to and from the GPU, 2 x (1 ms latency + 4 MB in 4 ms), 2 ms of
        // additions.
        let model = Model { compute: 30e-3, bytes: 8e6, latency: 1e-3, host: 2e9, add: 4e9, ..Model::default() };
        assert!((model.step(2, 1e9, 1) - (30e-3 + 8e-3 + 10e-3 + 2e-3)).abs() < 1e-12);
        // The first of 2 parts is there in the middle of backward. Each has the same latency.
        let second = 4e-3 + 2.0 * (1e-3 + 2e-3) + 1e-3;
        let backward = 30e-3 * (model.backward - 1.0 / 3.0);
        let waits = f64::max(0.0, second - backward / 2.0);
        assert!((model.step(2, 1e9, 2) - (30e-3 + waits + second)).abs() < 1e-12);
    }

    #[test]
    fn scaling_refuses_wrong_options() {
        let parse = |words: &str| Model::parse(&words.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(
            parse("--batch 64 --link 100").unwrap(),
            Model { batch: 64.0, links: vec![12.5e9], ..Model::default() }
        );
        for wrong in ["--batch", "--batch x", "--batch 0", "--speed 3", "--backward 2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
