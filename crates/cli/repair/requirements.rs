use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use checker::certificate::Evaluation;
use driver::ball;
use driver::patch::PixelScale;
use driver::repair::{Question, Requirement};
use driver::ssim::{Ssim, SsimOptions, SsimVerdict};
use driver::{Interrupt, Limits, Verdict, Verify, VerifyOptions};
use model::Dataset;
use network::ssim::Similarity;
use network::{BoxRegion, Image, vnnlib};

use crate::progress::SearchBar;
use crate::repair::job::{ImageSpec, RequirementSpec};
use crate::run_folder::RunFolder;
use crate::session::Session;
use crate::{certificate, images, input};

/// Reads what is required.
pub fn read(specs: &[RequirementSpec], test: &Dataset) -> Result<Vec<Requirement>> {
    let mut requirements = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let label = |error: anyhow::Error| error.context(format!("requirement {}", place + 1));
        requirements.push(one(spec, test).map_err(label)?);
    }
    Ok(requirements)
}

fn one(spec: &RequirementSpec, test: &Dataset) -> Result<Requirement> {
    let n_classes = test.n_classes();
    match spec {
        RequirementSpec::Similar { image, class, threshold, similarity } => {
            let (name, reference, class) = reference(image, *class, test)?;
            let similarity = similarity.similarity();
            similarity.check_shape(reference.shape())?;
            let name = format!("{name}, class {class}, similarity {threshold}");
            Ok(Requirement {
                name,
                question: Question::Similar { reference, class, similarity, threshold: *threshold },
            })
        }
        RequirementSpec::Ball { image, class, epsilon } => {
            let (name, reference, class) = reference(image, *class, test)?;
            let name = format!("{name}, class {class}, ±{epsilon}");
            let region = ball::region(&reference, &PixelScale::identity(), *epsilon)?;
            Ok(Requirement::of_class(name, &region, class, n_classes)?)
        }
        RequirementSpec::Patch { image, class, corner: [row, column], size: [height, width] } => {
            let (name, reference, class) = reference(image, *class, test)?;
            let [_, rows, columns] = reference.shape();
            if row + height > rows || column + width > columns {
                bail!("a patch of {height} × {width} at [{row}, {column}] leaves the image of {rows} × {columns}");
            }
            let is_covered = |i: usize| {
                let (y, x) = (i / columns % rows, i % columns);
                (*row..row + height).contains(&y) && (*column..column + width).contains(&x)
            };
            let ends = |end: f64| -> Vec<f64> {
                let pixels = reference.pixels().iter().enumerate();
                pixels.map(|(i, &x)| if is_covered(i) { end } else { x }).collect()
            };
            let name = format!("{name}, class {class}, patch {height}×{width} at [{row}, {column}]");
            Ok(Requirement::of_class(name, &BoxRegion::new(ends(0.0), ends(1.0))?, class, n_classes)?)
        }
        RequirementSpec::Property(path) => {
            let property = vnnlib::read(path).map_err(|error| input::advise(error, "property"))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Requirement { name, question: Question::Property(property) })
        }
    }
}

/// A reference in the size of the data, how it is called, and its class.
fn reference(spec: &ImageSpec, class: Option<usize>, test: &Dataset) -> Result<(String, Image, usize)> {
    let [channels, height, width] = test.shape();
    match spec {
        ImageSpec::File(path) => {
            let class = class.ok_or_else(|| anyhow!("{}: its class is missing", path.display()))?;
            let image = images::read(path)?;
            let [got, ..] = image.shape();
            if got != channels {
                bail!("{}: the image has {got} channels, but the data have {channels}", path.display());
            }
            let image = image.resized(height, width).with_context(|| path.display().to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, image, class))
        }
        ImageSpec::TestSample(i) => {
            if *i >= test.len() {
                bail!("test sample {i}: there are {}, counted from 0", test.len());
            }
            let pixels = test.sample(*i).iter().map(|&x| f64::from(x)).collect();
            let image = Image::new(test.shape(), pixels).context("the samples are no images")?;
            Ok((format!("test sample {i}"), image, class.unwrap_or(test.labels()[*i])))
        }
    }
}

/// Writes the reference images, exactly and to be looked at, and gives the class of each requirement.
pub fn write_references(specs: &[RequirementSpec], test: &Dataset, folder: &RunFolder) -> Result<Vec<Option<usize>>> {
    let mut classes = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let (RequirementSpec::Similar { image, class, .. }
        | RequirementSpec::Ball { image, class, .. }
        | RequirementSpec::Patch { image, class, .. }) = spec
        else {
            classes.push(None);
            continue;
        };
        let (_, image, class) = reference(image, *class, test)?;
        let name = format!("reference_{:02}", place + 1);
        images::write(&folder.path(&format!("{name}.npy")), &image)?;
        if matches!(image.shape()[0], 1 | 3) {
            images::write(&folder.path(&format!("{name}.png")), &image)?;
        }
        classes.push(Some(class));
    }
    Ok(classes)
}

/// Writes certificates of what is proved of the repaired network, where there can be some: not of similarities other than the global one.
///
/// Boxes become property files beside them, so that anybody can check them.
pub fn certify(
    specs: &[RequirementSpec],
    requirements: &[Requirement],
    network: &Path,
    folder: &RunFolder,
    session: &Session,
) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (place, (spec, requirement)) in specs.iter().zip(requirements).enumerate() {
        let out = folder.path(&format!("requirement_{:02}.certificate", place + 1));
        let is_written = match &requirement.question {
            Question::Property(property) => {
                let path = if let RequirementSpec::Property(path) = spec {
                    path.clone()
                } else {
                    let name = format!("requirement_{:02}.vnnlib", place + 1);
                    folder.write(&name, &vnnlib::write(property)?)?;
                    folder.path(&name)
                };
                certify_property((network, &path), &out, session)?
            }
            Question::Similar { reference, class, similarity: Similarity::Global, threshold } => {
                let read = input::network(network)?;
                let similarity = Similarity::Global;
                let ssim = Ssim { network: &read, reference, class: *class, similarity };
                certify_similar(&ssim, *threshold, (network, &out), session)?
            }
            Question::Similar { .. } => continue,
        };
        if is_written {
            written.push(out);
        } else if !session.is_quiet {
            eprintln!("note: {}: proved, but no certificate of it was found in time", requirement.name);
        }
    }
    Ok(written)
}

fn certify_property((network, path): (&Path, &Path), out: &Path, session: &Session) -> Result<bool> {
    let (read, property) = input::question(network, path)?;
    let verify = Verify { network: &read, property: &property, device: session.device()? };
    let options = VerifyOptions {
        limits: limits(session),
        seed: session.seed,
        interrupt: Interrupt::clone(&session.interrupt),
        ..VerifyOptions::default()
    };
    let mut bar = SearchBar::new("certificate: ", options.limits.time_s, session.is_quiet);
    let outcome =
        certificate::decide(&verify, &options, (network, path), (Some(out), Evaluation::Real), session, &mut bar);
    bar.finish();
    Ok(matches!(outcome?.verdict, Verdict::Verified))
}

fn certify_similar(ssim: &Ssim, threshold: f64, files: (&Path, &Path), session: &Session) -> Result<bool> {
    let options = SsimOptions {
        limits: limits(session),
        seed: session.seed,
        interrupt: Interrupt::clone(&session.interrupt),
        ..SsimOptions::default()
    };
    let mut bar = SearchBar::new("certificate: ", options.limits.time_s, session.is_quiet);
    let outcome = certificate::of_similar(ssim, threshold, &options, files, session, &mut bar);
    bar.finish();
    Ok(matches!(outcome?.verdict, SsimVerdict::Verified))
}

fn limits(session: &Session) -> Limits {
    Limits { time_s: session.timeout_s.or(Some(MOST_S)), ..Limits::default() }
}

/// Seconds for a certificate, unless told.
const MOST_S: f64 = 300.0;
