use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use driver::patch::{Finding, SweepOptions, Task};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;
use crate::patch::plan::Plan;
use crate::patch::record::Record;
use crate::patch::store::{Log, Shard, Store};
use crate::session::Session;

/// Seconds between lines of progress where stderr is no terminal.
const REPORT_S: f64 = 10.0;

/// Asks the questions of a plan that a store does not know the answers of, and puts those into it (and into its log, if there is one).
///
/// Returns how many placements were finished.
pub fn run(plan: &Plan, store: &mut Store, log: Option<&Path>, shard: Shard, session: &Session) -> Result<usize> {
    let mut log = log.map(|folder| Log::open(folder, shard)).transpose()?;
    let mut places = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    for (place, (task, key)) in plan.tasks.iter().zip(&plan.keys).enumerate() {
        let known = store.get(*key);
        if !shard.has(plan.homes[place]) || known.is_some_and(|record| is_done(plan, record)) {
            continue;
        }
        let open = known.filter(|record| !record.is_decided()).map(|record| record.lower_bound.unwrap_or(f64::MIN));
        places.push(place);
        tasks.push(Task { open, ..task.clone() });
    }
    if tasks.is_empty() {
        return Ok(0);
    }
    let images_s = plan.image_s().map(|limit_s| budgets(plan, store, shard, limit_s));
    let options = SweepOptions { images_s, ..plan.options(session) };
    let mut meter = Meter::new(tasks.len(), session);
    let mut failure = None;
    let mut n_finished = 0;
    let mut take = |findings: Vec<Finding>| {
        let records: Vec<_> = findings
            .iter()
            .map(|finding| (plan.keys[places[finding.task]], Record::of(finding, &plan.effort)))
            .collect();
        if let Some(log) = &mut log
            && failure.is_none()
            && let Err(error) = log.append(&records)
        {
            // What cannot be kept is not worth computing.
            failure = Some(error);
            session.interrupt.raise();
        }
        let n = records.iter().filter(|(_, record)| !record.is_open()).count();
        n_finished += n;
        meter.finished(n);
        records.into_iter().for_each(|(key, record)| store.put(key, record));
    };
    plan.sweep(session)?.run(&plan.scenes, &tasks, &options, &mut take).map_err(|error| anyhow!("{error}"))?;
    meter.bar.finish_and_clear();
    failure.map_or(Ok(n_finished), Err)
}

/// The seconds that a shard may still spend on refining the placements of each image: of what the image may take, the part that its
/// own placements are of all, less what earlier runs of the same effort spent on those.
///
/// So the shards together take what the whole sweep might, and none needs to know how far the others are.
fn budgets(plan: &Plan, store: &Store, shard: Shard, limit_s: f64) -> Vec<f64> {
    let n = plan.scenes.len();
    let (mut all, mut own, mut spent_s) = (vec![0_usize; n], vec![0_usize; n], vec![0.0; n]);
    for ((task, key), home) in plan.tasks.iter().zip(&plan.keys).zip(&plan.homes) {
        all[task.scene] += 1;
        if !shard.has(*home) {
            continue;
        }
        own[task.scene] += 1;
        if let Some(record) = store.get(*key).filter(|record| record.is_refined() && record.effort == plan.effort) {
            spent_s[task.scene] += record.time_s;
        }
    }
    (0..n).map(|s| limit_s * own[s] as f64 / all[s].max(1) as f64 - spent_s[s]).collect()
}

/// Whether nothing is left to do for a question.
pub fn is_done(plan: &Plan, record: &Record) -> bool {
    match record.verdict.as_str() {
        "verified" => true,
        "falsified" => !plan.wants_shares_of_falsified() || record.coverage.is_some(),
        "unknown" => record.effort == plan.effort,
        _ => false,
    }
}

/// Placements per second and time left, on a terminal as a bar, else as a line now and then.
struct Meter {
    bar: ProgressBar,
    total: usize,
    done: usize,
    start: Instant,
    reported: Instant,
    speaks: bool,
}

impl Meter {
    fn new(total: usize, session: &Session) -> Self {
        let target = if session.is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("[{bar:24}] {elapsed} {wide_msg}").expect("the template is right");
        bar.set_style(style.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(200));
        let speaks = bar.is_hidden() && !session.is_quiet;
        let now = Instant::now();
        Self { bar, total, done: 0, start: now, reported: now, speaks }
    }

    fn finished(&mut self, n: usize) {
        self.done += n;
        let rate = self.done as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        let left_s = (self.total - self.done.min(self.total)) as f64 / rate.max(1e-9);
        let text = format!(
            "{} of {} placements, {rate:.1}/s, {left_s:.0} s left",
            console::count(self.done as u64),
            console::count(self.total as u64)
        );
        self.bar.set_position(self.done as u64);
        if self.speaks && self.reported.elapsed().as_secs_f64() >= REPORT_S {
            self.reported = Instant::now();
            eprintln!("{text}");
        }
        self.bar.set_message(text);
    }
}
