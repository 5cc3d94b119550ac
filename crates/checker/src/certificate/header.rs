use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::FORMAT;
use crate::error::Error;

/// What can be certified, and what must be given to check it.
const JOBS: [(&str, &str); 4] = [
    ("verify", "about a property: give --property"),
    ("ssim", "about images similar to a reference: give image, class and threshold"),
    ("preimage", "about polytopes of a preimage: give --preimage"),
    ("patch", "about placements of patches: give --patch"),
];

/// What a certificate is about, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// What was certified: `verify`, a property; `ssim`, the class of all images similar to a reference; or, in a bundle, `preimage`,
    /// polytopes inside or around a preimage, and `patch`, placements of patches.
    pub job: String,
    /// What wrote it, with its version.
    pub tool: String,
    /// Which evaluations of the network it speaks of.
    pub evaluation: Evaluation,
    /// Where the bounds of the search were computed.
    pub device: String,
    /// In which floats.
    pub arithmetic: String,
    /// The digest of the network's file.
    pub network: Digest,
    /// The digest of the property's file.
    pub property: Digest,
}

impl Header {
    /// Reads one.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Error> {
        let header: Self = serde_json::from_slice(text)
            .map_err(|error| Error::Format(format!("its header cannot be read: {error}")))?;
        if header.format != FORMAT {
            return Err(Error::Format(format!("it has format {}, this version reads {FORMAT}", header.format)));
        }
        if !JOBS.iter().any(|(job, _)| *job == header.job) {
            let (job, known) = (header.job.escape_debug(), JOBS.map(|(job, _)| job).join(", "));
            return Err(Error::Format(format!("it certifies a job `{job}`, this version checks {known}")));
        }
        Ok(header)
    }

    /// Whether it certifies this job.
    pub(crate) fn is_of(&self, job: &str) -> Result<(), Error> {
        let about =
            |job: &str| JOBS.iter().find(|(name, _)| *name == job).map_or("about something else", |(_, about)| about);
        if self.job == job {
            return Ok(());
        }
        Err(Error::Mismatch(format!("the certificate is {}", about(&self.job))))
    }
}

/// How a network is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evaluation {
    /// In real arithmetic, on the stored weights.
    #[default]
    Real,
    /// In f32, in any order of summation.
    F32,
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{}` is no SHA-256 digest of 64 hexadecimal digits", text.escape_debug());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (i, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::try_from(text.clone()), Ok(digest));
        for wrong in [&text[1..], "", &text.replace('b', "g"), &format!("é{}", &text[2..])] {
            assert!(Digest::try_from(wrong.to_owned()).is_err());
        }
    }
}
