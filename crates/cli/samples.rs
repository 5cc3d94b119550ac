use anyhow::{Result, bail};
use model::{Dataset, Selection, Source, Split};

use crate::train_job::DataSpec;

/// Training, test and perhaps validation samples.
#[derive(Debug)]
pub struct Samples {
    /// What is learnt from.
    pub train: Dataset,
    /// What is watched while learning.
    pub validation: Option<Dataset>,
    /// What is measured on.
    pub test: Dataset,
}

impl Samples {
    /// Reads what a job names; `default_share` is held back for validation where the job does not say.
    pub fn read(data: &DataSpec, default_share: Option<f64>, seed: u64) -> Result<Self> {
        let classes = data.classes.clone().unwrap_or_default();
        let selection = Selection { classes, size: data.size, limit: None };
        let train = data.source.read(Split::Train, &selection)?;
        let has_test = matches!(data.source, Source::Mnist(_) | Source::Gtsrb { .. });
        let (train, test) = match (&data.test, data.test_share) {
            (Some(source), _) => (train, source.read(Split::Test, &selection)?),
            (None, None) if has_test => (train, data.source.read(Split::Test, &selection)?),
            (None, Some(share)) => train.split(share, seed)?,
            (None, None) => bail!("the data come in one part: give 'test' or 'test_share' in 'data'"),
        };
        let train = match data.limit {
            Some(limit) => train.truncated(limit),
            None => train,
        };
        if let Some(class) = train.class_sizes().iter().position(|&size| size == 0) {
            bail!("class {class} is empty: there is no training sample of it");
        }
        let (train, validation) = match data.validation_share.or(default_share) {
            Some(share) => {
                let (train, validation) = train.split(share, seed)?;
                (train, Some(validation))
            }
            None => (train, None),
        };
        Ok(Self { train, validation, test })
    }
}
