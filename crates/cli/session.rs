use std::cell::{Cell, OnceCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};
use bounds::{Device, DeviceChoice};
use driver::{Interrupt, Limits};
use serde::Serialize;

use crate::arguments::{Settings, VerifyTask};
use crate::console;
use crate::status::Status;

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

/// What all commands share: the settings resolved, the device opened once, and where results go.
#[derive(Debug)]
pub struct Session {
    /// Where randomness starts.
    pub seed: u64,
    /// Seconds for each question.
    pub timeout_s: Option<f64>,
    /// Raised by Ctrl-C.
    pub interrupt: Interrupt,
    /// Print the answer only.
    pub is_quiet: bool,
    /// Say more on stderr.
    pub is_verbose: bool,
    choice: DeviceChoice,
    device: OnceCell<Device>,
    json: Option<PathBuf>,
    has_fallen_back: Cell<bool>,
}

/// What every JSON result starts with, then what the job found.
#[derive(Debug, Serialize)]
struct Envelope<'a, T> {
    diadem: &'static str,
    job: &'a str,
    #[serde(flatten)]
    result: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceFields>,
    seed: u64,
}

/// A device as JSON names it.
#[derive(Debug, Serialize)]
pub struct DeviceFields {
    /// `host` or `gpu`.
    pub kind: &'static str,
    /// The product's name; for the host its instruction set.
    pub name: String,
    /// How it is reached.
    pub backend: String,
    driver: String,
    /// Threads of the host; 0 for a GPU.
    pub threads: usize,
}

impl Session {
    /// Resolves the settings, makes the thread pool and listens for Ctrl-C.
    pub fn new(settings: Settings) -> Result<Self> {
        // Started here, whatever the number: where rayon starts them by itself, too little memory is a panic. Zero means all cores.
        let threads = settings.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.context("the host's threads cannot be started (see --threads, and the limits on memory and threads)")?;
        let device = settings.device.or_else(|| std::env::var("DIADEM_DEVICE").ok().filter(|name| !name.is_empty()));
        let Ok(choice) = device.as_deref().unwrap_or("auto").parse();
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        ctrlc::set_handler(move || {
            if raised.is_raised() {
                process::exit(Status::Unknown as i32);
            }
            raised.raise();
        })
        .context("Ctrl-C cannot be listened for")?;
        Ok(Self {
            seed: settings.seed.unwrap_or(0),
            timeout_s: settings.timeout_s,
            interrupt,
            is_quiet: settings.quiet,
            is_verbose: settings.verbose,
            choice,
            device: OnceCell::new(),
            json: settings.json,
            has_fallen_back: Cell::new(false),
        })
    }

    /// The device, opened when first asked for.
    pub fn device(&self) -> Result<&Device> {
        if let Some(device) = self.device.get() {
            return Ok(device);
        }
        let advice = "`diadem devices` lists what there is, `--device host` needs none";
        let device = Device::open(&self.choice).map_err(|error| anyhow::anyhow!("{error}; {advice}"))?;
        if self.is_verbose {
            let device = device.describe();
            eprintln!("device: {} ({}, {} threads)", device.name, device.backend, device.threads);
        }
        Ok(self.device.get_or_init(|| device))
    }

    /// Takes the host for a job that runs there whatever the device, and says so where another was asked for.
    pub fn use_host(&self) {
        let wants_another = matches!(self.choice, DeviceChoice::Gpu | DeviceChoice::Named(_));
        if self.device.set(Device::Host).is_ok() && wants_another && !self.is_quiet {
            eprintln!("note: this job runs on the host");
        }
    }

    /// The device that was asked for.
    pub fn choice(&self) -> &DeviceChoice {
        &self.choice
    }

    /// Limits of one question.
    pub fn limits(&self, task: &VerifyTask) -> Limits {
        let default = Limits::default();
        let memory_bytes = task.memory_gib.map_or(default.memory_bytes, |gibibytes| (gibibytes * GIB) as u64);
        Limits { time_s: self.timeout_s, subdomains: task.max_subdomains, memory_bytes }
    }

    /// Says once that the host took over from the device.
    pub fn note_fallback(&self, reason: Option<&str>) {
        if let Some(reason) = reason
            && !self.has_fallen_back.replace(true)
        {
            eprintln!("note: the host computes instead of the device: {reason}");
        }
    }

    /// Whether people read stdout.
    pub fn prints_text(&self) -> bool {
        self.json.as_deref() != Some(Path::new("-"))
    }

    /// Prints a text for people, unless stdout is for JSON.
    pub fn print(&self, text: &str) {
        if self.prints_text() {
            console::print(text);
        }
    }

    /// Writes the result of a job where `--json` says.
    pub fn write_json<T: Serialize>(&self, job: &str, result: &T) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let device = self.device.get().map(DeviceFields::of);
        let envelope = Envelope { diadem: env!("CARGO_PKG_VERSION"), job, result, device, seed: self.seed };
        let mut text = serde_json::to_string_pretty(&envelope)?;
        text.push('\n');
        if self.prints_text() {
            fs::write(path, text).with_context(|| format!("{}: the result cannot be written", path.display()))
        } else {
            console::print(&text);
            Ok(())
        }
    }
}

impl DeviceFields {
    /// The fields of a device.
    pub fn of(device: &Device) -> Self {
        let bounds::DeviceDescription { kind, name, backend, driver, threads } = device.describe();
        Self { kind, name, backend, driver, threads }
    }
}
