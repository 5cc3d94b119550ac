use std::time::Duration;

use driver::{Observer, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;

/// A line on stderr that shows how far a search has come; nothing where stderr is no terminal.
#[derive(Debug)]
pub struct SearchBar {
    bar: ProgressBar,
    /// What comes before the figures.
    label: String,
    time_limit_s: Option<f64>,
}

impl SearchBar {
    /// Shows a bar, unless asked to be quiet.
    pub fn new(label: impl Into<String>, time_limit_s: Option<f64>, is_quiet: bool) -> Self {
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        let style = ProgressStyle::with_template("[{bar:24}] {elapsed} {wide_msg}").expect("the template is right");
        bar.set_style(style.progress_chars("=> "));
        let label = label.into();
        bar.set_message(label.clone());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, label, time_limit_s }
    }

    /// Clears the line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for SearchBar {
    fn round(&mut self, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        let rate = progress.subdomains as f64 / progress.time_s.max(1e-9);
        // Volume is decided ever more slowly: what is left by it is a guess, and the limit is none.
        let left = match self.time_limit_s {
            Some(limit) => format!(", at most {:.0} s left", (limit - progress.time_s).max(0.0)),
            None if progress.decided > 0.01 => {
                format!(", {:.0} s left or more", progress.time_s * (1.0 - progress.decided) / progress.decided)
            }
            None => String::new(),
        };
        self.bar.set_position((progress.decided * 1000.0) as u64);
        self.bar.set_message(format!(
            "{}{} subdomains, {}/s, {} open, {:.1} % decided{left}",
            self.label,
            console::count(progress.subdomains),
            console::count(rate as u64),
            console::count(progress.open),
            100.0 * progress.decided,
        ));
    }
}
