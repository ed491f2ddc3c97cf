//! How Helm charts are rendered: options that several commands have, and no configuration.

use std::path::PathBuf;

use bundler::HelmOptions;
use bundler::helm::render;

use crate::failure::Failure;

/// How charts are rendered.
#[derive(Debug, Clone, clap::Args)]
pub struct Charts {
    /// The program that renders charts to find their images [default: `helm` on the PATH]
    #[arg(long, value_name = "FILE", env = "HELM_BIN")]
    helm: Option<PathBuf>,
    /// Render a chart with the values of this file; repeatable
    #[arg(long, value_name = "CHART=FILE", value_parser = pair)]
    helm_values: Vec<(String, String)>,
    /// Render a chart with this value, as `helm --set` takes it; repeatable
    #[arg(long, value_name = "CHART=NAME=VALUE", value_parser = set)]
    helm_set: Vec<(String, String)>,
    /// Render charts for this version of Kubernetes
    #[arg(long, value_name = "VERSION", default_value = render::KUBE_VERSION)]
    helm_kube_version: String,
    /// Render charts for clusters with this API version too, as monitoring.coreos.com/v1; repeatable
    #[arg(long, value_name = "VERSION")]
    helm_api_versions: Vec<String>,
    /// Without a `helm` that renders: guess the images of charts from their default values
    #[arg(long)]
    helm_scan: bool,
}

impl Charts {
    /// The options; files that they name are there.
    pub fn options(self) -> Result<HelmOptions, Failure> {
        let absent = |option: &str, file: &PathBuf| {
            Failure::usage(format!("`{option}`: there is no file `{}`", file.display()))
                .with_hint("name a file that is there")
        };
        if let Some(file) = self.helm.as_ref().filter(|file| !file.is_file()) {
            return Err(absent("--helm", file));
        }
        let values: Vec<(String, PathBuf)> =
            self.helm_values.into_iter().map(|(chart, file)| (chart, file.into())).collect();
        if let Some((_, file)) = values.iter().find(|(_, file)| !file.is_file()) {
            return Err(absent("--helm-values", file));
        }
        Ok(HelmOptions {
            program: render::program(self.helm.as_deref()),
            values,
            sets: self.helm_set,
            kube_version: Some(self.helm_kube_version),
            api_versions: self.helm_api_versions,
            scan: self.helm_scan,
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((chart, file)) if !chart.is_empty() && !file.is_empty() => {
            Ok((chart.to_owned(), file.to_owned()))
        }
        _ => Err("expected CHART=FILE".to_owned()),
    }
}

fn set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((chart, set)) if !chart.is_empty() && set.contains('=') => {
            Ok((chart.to_owned(), set.to_owned()))
        }
        _ => Err("expected CHART=NAME=VALUE".to_owned()),
    }
}
