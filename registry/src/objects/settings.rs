//! What `registry.toml` says of the object store: the table `[objects]`.
//!
//! In: the table. Out: the same, checked. What must hold: no secret stands in it, only the names of files that
//! have one; plain HTTP goes to this machine only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::error::ObjectsError;
use crate::store::StoreError;

/// The table `[objects]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ObjectsSettings {
    /// The bucket, which must exist.
    pub bucket: String,
    /// Where the store is, as `https://s3.example:9000`; none: Amazon S3 of the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region; none: `AWS_REGION`, else `us-east-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What the keys begin with, so that a bucket can hold more than this registry.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Whether the bucket stands in the path and not in the host; none: yes with an endpoint of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Speak plain HTTP to a store on this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// Certificates of the authority that the store's certificate is from, in PEM form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The file with the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_file: Option<PathBuf>,
    /// The file with the secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    /// Ask the machine's own service for credentials, as cloud machines have one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub instance_credentials: bool,
}

impl ObjectsSettings {
    /// Where the store is, found right.
    pub(super) fn checked(&self) -> Result<Option<Url>, StoreError> {
        let wrong = |text: String| StoreError::from(ObjectsError::Settings(text));
        if self.bucket.is_empty() {
            return Err(wrong("`bucket` is missing".to_owned()));
        }
        if self.bucket.contains(['/', '?', '#']) {
            return Err(wrong(format!("`{}` is no bucket's name", self.bucket)));
        }
        if self.access_key_file.is_some() != self.secret_key_file.is_some() {
            let text = "`access-key-file` and `secret-key-file` go together";
            return Err(wrong(text.to_owned()));
        }
        let Some(text) = &self.endpoint else { return Ok(None) };
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .filter(|url| url.query().is_none() && url.fragment().is_none() && url.path() == "/")
            .ok_or_else(|| wrong("`endpoint` is not of the form `https://HOST:PORT`".to_owned()))?;
        if url.scheme() == "http" {
            let loopback = match url.host() {
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                Some(Host::Domain(name)) => name == "localhost",
                None => false,
            };
            if !self.allow_http || !loopback {
                let text = "`endpoint` is plain HTTP: name it with `https://`; only a store on this machine may \
                            be spoken to in plain HTTP, with `allow-http = true`";
                return Err(wrong(text.to_owned()));
            }
        }
        Ok(Some(url))
    }

    /// Where the store is, for a person.
    pub fn place(&self) -> String {
        let region = self.region.as_deref().unwrap_or("us-east-1");
        self.endpoint.clone().unwrap_or_else(|| format!("Amazon S3, region {region}"))
    }

    /// A fault of the first requests, with what to mend.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Objects(ObjectsError::Unavailable { detail, .. })
                if detail.contains("NoSuchBucket") =>
            {
                let (bucket, endpoint) = (self.bucket.clone(), self.place());
                ObjectsError::NoBucket { bucket, endpoint }.into()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ObjectsSettings, String> {
        let settings: ObjectsSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.checked().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for text in [
            "bucket='b'",
            "bucket='b'\nendpoint='https://s3.lan:9000'",
            "bucket='b'\nendpoint='http://127.0.0.1:9'\nallow-http=true",
            "bucket='b'\nendpoint='http://[::1]:9'\nallow-http=true",
        ] {
            parse(text).unwrap();
        }
        for (text, said) in [
            ("", "`bucket` is missing"),
            ("bucket='a/b'", "no bucket's name"),
            ("bucket='b'\nsecret='x'", "secret"),
            ("bucket='b'\naccess-key-file='x'", "go together"),
            ("bucket='b'\nendpoint='http://127.0.0.1:9'", "allow-http"),
            ("bucket='b'\nendpoint='http://10.0.0.1:9'\nallow-http=true", "plain HTTP"),
            ("bucket='b'\nendpoint='https://u:p@s3.lan'", "form"),
            ("bucket='b'\nendpoint='s3.lan:9000'", "form"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
