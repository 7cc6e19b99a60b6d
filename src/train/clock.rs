//! Measures the seconds of a run by activity, its training throughput and its remaining time.
//!
//! The functions take the current time as an argument, so that tests can choose it.

use crate::checkpoint::RunSeconds;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Training seconds over which the throughput is averaged.
const WINDOW: f64 = 10.0;

/// Progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Number of finished steps.
    pub step: u32,
    /// Seconds spent on these steps and on the activities between them.
    pub seconds: RunSeconds,
}

/// Activity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Training steps, reading their losses, and writing checkpoints.
    Training,
    /// Validation losses, likelihoods and Frechet distances.
    Evaluating,
    /// Grids of samples.
    Sampling,
    /// Anything else. It is not counted.
    Other,
}

/// Adds up the seconds of each activity.
#[derive(Clone, Debug)]
pub struct Clock {
    spent: RunSeconds,
    activity: Activity,
    since: Instant,
}

impl Clock {
    /// Starts to count training. `spent` is the time before the run was resumed.
    pub fn new(spent: RunSeconds, now: Instant) -> Clock {
        Clock { spent, activity: Activity::Training, since: now }
    }

    /// Ends the current activity and starts another.
    pub fn switch(&mut self, activity: Activity, now: Instant) {
        self.spent = self.seconds(now);
        self.activity = activity;
        self.since = now;
    }

    /// The progress of a run with `step` finished steps.
    pub fn progress(&self, step: u32, now: Instant) -> Progress {
        Progress { step, seconds: self.seconds(now) }
    }

    /// The seconds spent until now.
    pub fn seconds(&self, now: Instant) -> RunSeconds {
        let mut spent = self.spent;
        let elapsed = now.duration_since(self.since).as_secs_f64();
        match self.activity {
            Activity::Training => spent.trained += elapsed,
            Activity::Evaluating => spent.evaluated += elapsed,
            Activity::Sampling => spent.sampled += elapsed,
            Activity::Other => (),
        }
        spent
    }
}

/// Training steps per second, averaged over the last seconds of training.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// Seconds trained and steps finished, each time that losses were read.
    reads: VecDeque<(f64, u32)>,
    /// Whether the first interval is still included.
    startup: bool,
}

impl Throughput {
    /// Starts after `trained` seconds and `finished` steps.
    pub fn new(trained: f64, finished: u32) -> Throughput {
        Throughput { reads: VecDeque::from([(trained, finished)]), startup: true }
    }

    /// Adds a measurement: after `trained` seconds of training, the losses of the first `finished`
    /// steps were read.
    pub fn read(&mut self, trained: f64, finished: u32) {
        self.reads.push_back((trained, finished));
        // Drivers compile kernels during the first step, so the first interval is slow.
        if self.startup && self.reads.len() > 2 {
            self.reads.pop_front();
            self.startup = false;
        }
        while self.reads.len() > 2 && trained - self.reads[1].0 >= WINDOW {
            self.reads.pop_front();
        }
    }

    /// Training steps per second; `None` before the first measurement.
    pub fn steps_per_second(&self) -> Option<f64> {
        let (&(began, before), &(ended, after)) = (self.reads.front()?, self.reads.back()?);
        (after > before && ended > began).then(|| f64::from(after - before) / (ended - began))
    }

    /// The time that this number of steps takes.
    pub fn time_for(&self, steps: u32) -> Option<Duration> {
        Duration::try_from_secs_f64(f64::from(steps) / self.steps_per_second()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_keeps_activities_apart() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let before = RunSeconds { trained: 100.0, evaluated: 20.0, sampled: 3.0 };
        let mut clock = Clock::new(before, at(0.0));
        assert_eq!(clock.seconds(at(2.0)), RunSeconds { trained: 102.0, ..before });
        clock.switch(Activity::Evaluating, at(4.0));
        assert_eq!(clock.seconds(at(5.0)), RunSeconds { trained: 104.0, evaluated: 21.0, sampled: 3.0 });
        clock.switch(Activity::Sampling, at(8.0));
        clock.switch(Activity::Other, at(16.0));
        clock.switch(Activity::Training, at(32.0));
        assert_eq!(clock.seconds(at(64.0)), RunSeconds { trained: 136.0, evaluated: 24.0, sampled: 11.0 });
    }

    /// A validation of 1000 seconds between two steps does not change the throughput or the time
    /// left.
    #[test]
    fn throughput_counts_training_only() {
        let start = Instant::now();
        let mut clock = Clock::new(RunSeconds::default(), start);
        let mut throughput = Throughput::new(0.0, 0);
        let mut now = start;
        for step in 1..=8 {
            now += Duration::from_secs(2);
            throughput.read(clock.seconds(now).trained, step);
            if step == 4 {
                clock.switch(Activity::Evaluating, now);
                now += Duration::from_secs(1000);
                clock.switch(Activity::Training, now);
            }
            assert_eq!(throughput.steps_per_second(), Some(0.5), "after step {step}");
        }
        assert_eq!(throughput.time_for(30), Some(Duration::from_secs(60)));
    }

    #[test]
    fn throughput_drops_the_first_interval_and_old_ones() {
        let mut throughput = Throughput::new(50.0, 7);
        assert_eq!((throughput.steps_per_second(), throughput.time_for(1)), (None, None));
        throughput.read(60.0, 8);
        assert_eq!(throughput.steps_per_second(), Some(0.1), "there is nothing but the first step");
        throughput.read(61.0, 18);
        assert_eq!(throughput.steps_per_second(), Some(10.0), "the first step is dropped");
        for second in 0..30 {
            throughput.read(62.0 + f64::from(second), 19 + second);
        }
        assert_eq!(throughput.steps_per_second(), Some(1.0), "the fast steps are long past");
    }
}
