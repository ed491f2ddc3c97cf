//! An image that is made here on one that is there: its manifest and configuration, taken apart and put together again.
//!
//! In: the manifest and configuration of the base. Out: those of the new image, of the same kind. What must hold: the
//! configuration says of each layer what it unpacks to; what is not touched stays as it was.

use format_spec::Digest;
use registry::manifest::Platform;
use registry::media_type::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX,
    OCI_LAYER_GZIP, OCI_MANIFEST,
};
use serde_json::{Value, json};

use crate::made::Documents;

/// An image that is being made.
#[derive(Debug)]
pub(crate) struct Based {
    docker: bool,
    /// Its configuration; what it says of the layers is in `diffs`.
    pub(crate) config: Value,
    /// The descriptors of its layers, the lowest first.
    pub(crate) layers: Vec<Value>,
    /// What each of them unpacks to.
    pub(crate) diffs: Vec<Value>,
}

impl Based {
    /// Takes a base apart; says what is wrong with it.
    pub(crate) fn on(
        media_type: &str,
        manifest: &[u8],
        config: &[u8],
    ) -> Result<Self, &'static str> {
        let parsed =
            |bytes: &[u8], problem| serde_json::from_slice::<Value>(bytes).map_err(|_| problem);
        let config = parsed(config, "its configuration is no JSON")?;
        let manifest = parsed(manifest, "its manifest is no JSON")?;
        let layers = manifest["layers"].as_array().cloned().ok_or("it has no layers")?;
        let diffs = config["rootfs"]["diff_ids"].as_array().cloned();
        let diffs = diffs.ok_or("its configuration lists no layers")?;
        if diffs.len() != layers.len() {
            return Err("its configuration lists other layers than its manifest");
        }
        Ok(Self { docker: media_type == DOCKER_MANIFEST, config, layers, diffs })
    }

    /// Puts a layer on top, a tar that is compressed with gzip.
    pub(crate) fn push(&mut self, digest: &Digest, size: u64, diff_id: &Digest) {
        let kind = if self.docker { DOCKER_LAYER_GZIP } else { OCI_LAYER_GZIP };
        self.layers.push(json!({ "mediaType": kind, "digest": digest.to_string(), "size": size }));
        self.diffs.push(diff_id.to_string().into());
    }

    /// What a container does by default.
    pub(crate) fn runs(&mut self) -> &mut Value {
        let inner = &mut self.config["config"];
        if !inner.is_object() {
            *inner = json!({});
        }
        inner
    }

    /// Puts it together; gives its descriptor. Docker manifests take no annotations.
    pub(crate) fn put(
        mut self,
        annotations: Value,
        platform: Option<Value>,
        documents: &mut Documents,
    ) -> Value {
        let (kind, config_kind) = match self.docker {
            true => (DOCKER_MANIFEST, DOCKER_CONFIG),
            false => (OCI_MANIFEST, OCI_CONFIG),
        };
        self.config["rootfs"]["diff_ids"] = self.diffs.into();
        let config = documents.put(config_kind, &self.config);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": self.layers,
        });
        if !self.docker {
            manifest["annotations"] = annotations;
        }
        let mut entry = documents.put(kind, &manifest);
        if let Some(platform) = platform {
            entry["platform"] = platform;
        }
        entry
    }
}

/// The platform of an image, for the index that names it.
pub(crate) fn platform(of: &Platform) -> Value {
    let Platform { os, architecture, variant, os_version } = of;
    let mut platform = json!({ "os": os, "architecture": architecture });
    for (field, value) in [("variant", variant), ("os.version", os_version)] {
        if let Some(value) = value {
            platform[field] = value.as_str().into();
        }
    }
    platform
}

/// The index of these images. Both kinds of them would do in an index of OCI, but not in a Docker list.
pub(crate) fn index(entries: &[Value], may_be_docker: bool, documents: &mut Documents) -> Value {
    let docker = may_be_docker && entries.iter().all(|entry| entry["mediaType"] == DOCKER_MANIFEST);
    let kind = if docker { DOCKER_LIST } else { OCI_INDEX };
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries });
    documents.put(kind, &index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_says_nothing_of_what_it_runs_is_built_on() {
        let manifest = br#"{"layers":[]}"#;
        let config = br#"{"rootfs":{"diff_ids":[]}}"#;
        let mut based = Based::on(OCI_MANIFEST, manifest, config).unwrap();
        based.runs()["Cmd"] = json!(["serve"]);
        assert_eq!(based.config["config"]["Cmd"], json!(["serve"]));
    }

    #[test]
    fn a_configuration_of_other_layers_is_no_base() {
        let manifest = br#"{"layers":[{}]}"#;
        let config = br#"{"rootfs":{"diff_ids":[]}}"#;
        let error = Based::on(OCI_MANIFEST, manifest, config).unwrap_err();
        assert_eq!(error, "its configuration lists other layers than its manifest");
    }
}
