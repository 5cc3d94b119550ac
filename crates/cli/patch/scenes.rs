use std::path::Path;

use anyhow::{Context, Result, bail};
use driver::patch::Scene;
#[cfg(feature = "train")]
use model::{Selection, Split};
#[cfg(feature = "train")]
use network::Image;

use crate::images;
use crate::patch::task::PatchTask;

/// An image with its name.
#[derive(Debug, Clone)]
pub struct NamedScene {
    /// Its name in results.
    pub id: String,
    /// Image and class.
    pub scene: Scene,
}

/// The images of a job.
pub fn read(task: &PatchTask) -> Result<Vec<NamedScene>> {
    #[cfg(feature = "train")]
    let has_data = task.data.is_some();
    #[cfg(not(feature = "train"))]
    let has_data = false;
    let n_kinds = [task.image.is_some(), !task.images.is_empty(), has_data];
    if n_kinds.iter().filter(|is_given| **is_given).count() != 1 {
        bail!("a patch job needs either an image (and its class), or a job file with `images` or with `data`");
    }
    let mut scenes = Vec::new();
    if let Some(path) = &task.image {
        let class = task.class.context("a patch job needs the class of the image: --class K, from 0")?;
        scenes.push(NamedScene { id: name_of(path), scene: Scene { image: images::read(path)?, class } });
    }
    for fields in &task.images {
        let id = fields.id.clone().unwrap_or_else(|| name_of(&fields.image));
        scenes.push(NamedScene { id, scene: Scene { image: images::read(&fields.image)?, class: fields.class } });
    }
    #[cfg(feature = "train")]
    if let Some(data) = &task.data {
        let limit = if data.count == 0 { None } else { Some(data.skip + data.count) };
        let selection = Selection { classes: data.classes.clone(), size: data.size, limit };
        let split = if data.training { Split::Train } else { Split::Test };
        let samples = data.source.read(split, &selection)?;
        if !samples.is_image() {
            bail!("data: patches are put on images, with values of [0, 1]; these samples are none");
        }
        for i in data.skip.min(samples.len())..samples.len() {
            let pixels = samples.sample(i).iter().map(|&pixel| f64::from(pixel)).collect();
            let image = Image::new(samples.shape(), pixels)?;
            scenes.push(NamedScene { id: i.to_string(), scene: Scene { image, class: samples.labels()[i] } });
        }
    }
    if scenes.is_empty() {
        bail!("there is no image left to put patches on");
    }
    let mut ids: Vec<&str> = scenes.iter().map(|scene| scene.id.as_str()).collect();
    ids.sort_unstable();
    if let Some([twice, ..]) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two images are called '{twice}': give one of them another `id`");
    }
    Ok(scenes)
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
