//! What a registry of a campaign stands on: files, served by one process, or a bucket, served by several replicas.

use std::path::{Path, PathBuf};

use crate::s3::Gateway;
use crate::support::figures::whole;

/// Where a registry keeps its images.
pub enum Ground {
    /// In its data directory.
    Files,
    /// In a bucket of a real S3 server.
    Bucket(Gateway),
}

impl Ground {
    /// A bucket; `None` after saying that there is no S3 server, which the whole form cannot do without.
    pub fn bucket() -> Option<Self> {
        let gateway = Gateway::start();
        assert!(gateway.is_some() || !whole(), "`versitygw` is not on this machine");
        gateway.map(Self::Bucket)
    }

    /// The data directories of as many processes as may serve it, of which over a bucket there are `replicas`.
    pub fn data(&self, place: &Path, replicas: usize) -> Vec<PathBuf> {
        match self {
            Self::Files => vec![place.join("registry")],
            Self::Bucket(gateway) => {
                let settings = gateway.settings(place).to_text();
                (0..replicas)
                    .map(|number| {
                        let data = place.join(format!("replica{number}"));
                        fs_err::create_dir(&data).unwrap();
                        fs_err::write(data.join("registry.toml"), &settings).unwrap();
                        data
                    })
                    .collect()
            }
        }
    }
}
