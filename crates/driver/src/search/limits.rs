use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::search::StopReason;

/// What a search may spend.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Wall time, seconds.
    pub time_s: Option<f64>,
    /// Subdomains bounded.
    pub subdomains: Option<u64>,
    /// Memory for open subdomains, bytes: those past it go to a temporary file, and the search stops once that takes no more.
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// No limit of time or count, and 4 GiB of open subdomains.
    fn default() -> Self {
        Self { time_s: None, subdomains: None, memory_bytes: 4 << 30 }
    }
}

/// A flag that stops a search from outside.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the search to stop at its next step.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Limits with the moment from which they count. Time only ever ends a search: it never chooses what the search does.
#[derive(Debug, Clone)]
pub struct Clock {
    limits: Limits,
    interrupt: Interrupt,
    start: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start(limits: Limits, interrupt: Interrupt) -> Self {
        Self { limits, interrupt, start: Instant::now() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Seconds that are left, if they are limited.
    pub fn time_left_s(&self) -> Option<f64> {
        self.limits.time_s.map(|limit| limit - self.elapsed().as_secs_f64())
    }

    /// When the time is up, if there is a limit (of less than the age of the universe).
    pub fn deadline(&self) -> Option<Instant> {
        let left = Duration::try_from_secs_f64(self.time_left_s()?.max(0.0)).ok()?;
        Instant::now().checked_add(left)
    }

    /// Subdomains that may still be bounded after so many.
    pub fn subdomains_left(&self, subdomains: u64) -> u64 {
        self.limits.subdomains.map_or(u64::MAX, |limit| limit.saturating_sub(subdomains))
    }

    /// Memory that open subdomains may take, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.limits.memory_bytes
    }

    /// Whether something says stop, after so many subdomains and with so much memory in use.
    pub fn stop(&self, subdomains: u64, memory_bytes: u64) -> Option<StopReason> {
        if self.interrupt.is_raised() {
            Some(StopReason::Interrupted)
        } else if self.limits.time_s.is_some_and(|limit| self.elapsed().as_secs_f64() >= limit) {
            Some(StopReason::TimeLimit)
        } else if self.limits.subdomains.is_some_and(|limit| subdomains >= limit) {
            Some(StopReason::SubdomainLimit)
        } else if memory_bytes > self.limits.memory_bytes {
            Some(StopReason::MemoryLimit)
        } else {
            None
        }
    }
}
