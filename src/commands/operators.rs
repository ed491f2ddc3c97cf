//! `bundle list operators`: what an Operator catalog has.
//!
//! It asks the catalog's image: its packages, the channels of packages, the bundles of a channel in the order of their
//! updates. What was read is kept in the workspace, as `bundle create` does, so that the next question reads no layer.

mod shown;

use std::borrow::Cow;
use std::sync::Arc;

use ::registry::progress::Progress;
use ::registry::reference::Reference;
use bundler::catalog::listing::{self, PackageView};
use bundler::catalog::select::Fault;
use bundler::catalog::store::StoreError;
use bundler::catalog::{CatalogError, Opened};
use bundler::layout::LayoutImage;
use bundler::origin::{Origins, Source};
use format_spec::head::ContentClass;
use serde::Serialize;

use super::Context;
use super::list::minor;
use crate::failure::{Exit, Failure, Kind};
use crate::output::plain;
use crate::progress::Drawing;
use crate::typed::quoted;
use crate::wire::{self, Side};

/// The exit code's bit of catalogs.
const OPERATORS: u8 = ContentClass::Operator.exit_bit();

/// The catalogs that clusters have by default, without the version.
const WELL_KNOWN: &[&str] = &[
    "registry.redhat.io/redhat/redhat-operator-index",
    "registry.redhat.io/redhat/certified-operator-index",
    "registry.redhat.io/redhat/community-operator-index",
    "registry.redhat.io/redhat/redhat-marketplace-index",
];

/// Operator packages of a catalog, channels of packages, or bundles of a channel
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A catalog is read once and kept in the workspace: as long as its tag does not move, no layer is read again."
)]
pub struct Args {
    /// The catalog: an image, as `registry.redhat.io/redhat/redhat-operator-index:v4.18`, or an OCI layout, as `oci://DIR`
    #[arg(long, value_name = "IMAGE|oci://DIR")]
    catalog: Option<String>,
    /// Packages of the catalog, separated by commas: their channels
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    package: Vec<String>,
    /// A channel of the packages: its bundles in the order of their updates, the head first
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The well-known catalogs of a release instead; no registry is asked
    #[arg(long, conflicts_with_all = ["catalog", "package", "channel"])]
    catalogs: bool,
    /// The minor release of `--catalogs`
    #[arg(long, value_name = "X.Y", value_parser = minor)]
    version: Option<(u32, u32)>,
}

/// The well-known catalogs in JSON.
#[derive(Debug, Serialize)]
struct Catalogs {
    version: String,
    catalogs: Vec<String>,
}

/// What a catalog has, in JSON.
#[derive(Debug, Serialize)]
struct Answer {
    catalog: String,
    digest: String,
    packages: Vec<PackageView>,
    failures: Vec<NotThere>,
    warnings: Vec<String>,
}

/// A package or channel that is not there.
#[derive(Debug, Serialize)]
struct NotThere {
    package: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    reason: String,
    hints: Vec<String>,
}

pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let catalog = match (&args.catalog, args.version) {
        (None, Some(version)) if args.catalogs => return catalogs(version, context),
        (Some(_), Some(_)) => {
            return Err(Failure::usage("`--version` belongs to `--catalogs`: the tag of a catalog says its release")
                .with_hint("leave `--version` out; the catalogs of a release: `bundle list operators --catalogs --version 4.18`"));
        }
        (Some(catalog), None) => catalog.clone(),
        (None, _) => return Err(nothing_named(&args)),
    };
    if args.channel.is_some() && args.package.is_empty() {
        let line = format!("bundle list operators --catalog {}", quoted(&catalog));
        return Err(Failure::usage("a channel is one of a package, and none is named").with_hint(
            format!("name it: `--package NAME` with `--channel`; `{line}` shows the packages"),
        ));
    }
    let (opened, views) = tokio::select! {
        done = read(&args, &catalog, context) => done?,
        () = context.cancel.cancelled() => return Err(Failure::new(Kind::Interrupted, "interrupted")),
    };
    answer(&args, catalog, &opened, views, context)
}

/// What is to be typed when it is not said which catalog is meant.
fn nothing_named(args: &Args) -> Failure {
    const CATALOGS: &str = "`bundle list operators --catalogs --version 4.18`";
    if args.catalogs {
        return Failure::usage("every minor release has its own catalogs, and none is named")
            .with_hint(format!("name it: {CATALOGS}"));
    }
    if args.version.is_some() {
        return Failure::usage("a release has several catalogs, and none is named").with_hint(
            format!("add `--catalogs`, which names them: {CATALOGS}; then `--catalog IMAGE`"),
        );
    }
    Failure::usage("name a catalog: there is no list of all packages of all of them")
        .with_hint(format!("the catalogs of a release: {CATALOGS}"))
        .with_hint(
            "the packages of one: `bundle list operators --catalog registry.redhat.io/redhat/redhat-operator-index:v4.18`",
        )
        .with_hint("then the channels of a package: `--package NAME`; the bundles of a channel: `--channel NAME` besides")
}

fn catalogs((major, minor): (u32, u32), context: &Context) -> Result<Exit, Failure> {
    let version = format!("{major}.{minor}");
    let catalogs: Vec<String> =
        WELL_KNOWN.iter().map(|image| format!("{image}:v{version}")).collect();
    let text = shown::catalogs(&version, &catalogs);
    context.output.print(&Catalogs { version, catalogs }, &text)?;
    Ok(Exit::DONE)
}

/// What is shown of each package.
type Views = Vec<Result<PackageView, Box<Fault>>>;

/// Opens the catalog and looks for what is asked for.
async fn read(
    args: &Args,
    catalog: &str,
    context: &Context,
) -> Result<(Arc<Opened>, Views), Failure> {
    let source = source(catalog)?;
    let workspace = &context.common.workspace;
    super::refuse_other_than_directory("--workspace", workspace)?;
    let client = wire::client(&context.common, Side::Source(None))?;
    let origins = Origins::new(client, context.common.parallel_images);
    let failed = |error: CatalogError| Failure::of_catalog(catalog, &error);
    let progress = Arc::new(Progress::default());
    let drawing = Drawing::start(&progress, context.quiet());
    let opening = bundler::catalog::open(&origins, &source, workspace, &progress).await;
    drop(drawing);
    let opened = Arc::new(opening.map_err(failed)?);
    let (there, packages, channel) =
        (Arc::clone(&opened), args.package.clone(), args.channel.clone());
    let looking = move || views(&there, &packages, channel.as_deref());
    let views = tokio::task::spawn_blocking(looking).await.map_err(|error| failed(error.into()))?;
    Ok((opened, views.map_err(|error| failed(error.into()))?))
}

fn views(opened: &Opened, packages: &[String], channel: Option<&str>) -> Result<Views, StoreError> {
    let Opened { model, store, .. } = opened;
    if packages.is_empty() {
        return Ok(listing::all(model, store)?.into_iter().map(Ok).collect());
    }
    let view = |name: &String| match listing::find(model, name, channel) {
        Ok((package, channel)) => listing::view(name, package, channel, store).map(Ok),
        Err(fault) => Ok(Err(fault)),
    };
    packages.iter().map(view).collect()
}

/// The image that is meant, as `mirror.operators` names it.
fn source(catalog: &str) -> Result<Source<'static>, Failure> {
    const HINT: &str = "name an image with its registry and tag, as \
                        `registry.redhat.io/redhat/redhat-operator-index:v4.18`, or the directory of an OCI layout: `oci://DIR`";
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(error).with_hint(HINT);
    if let Some(rest) = catalog.strip_prefix("oci:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() {
            return Err(wrong(&format!("`{catalog}` names no directory")));
        }
        return Ok(Source::Layout(LayoutImage::of(path.as_ref())));
    }
    if catalog.starts_with(['/', '.', '~']) {
        return Err(Failure::usage(format!("`{catalog}` is no image")).with_hint(format!(
            "if that is an OCI layout: `--catalog {}`",
            quoted(&format!("oci://{catalog}"))
        )));
    }
    let image: Reference = catalog.parse().map_err(|error| wrong(&error))?;
    if image.tag.is_none() && image.digest.is_none() {
        return Err(wrong(&format!("`{catalog}` has neither a tag nor a digest")));
    }
    Ok(Source::Registry(Cow::Owned(image)))
}

/// Says what was found. When nothing was, the first that is not there is the answer.
fn answer(
    args: &Args,
    catalog: String,
    opened: &Opened,
    views: Views,
    context: &Context,
) -> Result<Exit, Failure> {
    let (mut packages, mut failures) = (Vec::new(), Vec::new());
    for view in views {
        match view {
            Ok(package) => packages.push(package),
            Err(fault) => failures.push(fault),
        }
    }
    for warning in &opened.warnings {
        tracing::warn!("{}", plain(warning));
    }
    if let (Some(first), true) = (failures.first(), packages.is_empty()) {
        let mut failure = Failure::from(&**first);
        failure.map_hints(|hint| meant(hint, &catalog, first));
        return Err(failure);
    }
    let failures: Vec<NotThere> =
        failures.iter().map(|fault| NotThere::of(fault, &catalog)).collect();
    for failure in &failures {
        tracing::error!("{}; {}", plain(&failure.reason), plain(&failure.hints.join("; ")));
    }
    let exit = if failures.is_empty() { Exit::DONE } else { Exit::without(OPERATORS) };
    let text = match (&args.package[..], &args.channel) {
        ([], _) => shown::packages(&catalog, &packages),
        (_, None) => shown::channels(&packages),
        (_, Some(_)) => shown::entries(&packages),
    };
    let (digest, warnings) = (opened.digest.to_string(), opened.warnings.clone());
    context.output.print(&Answer { catalog, digest, packages, failures, warnings }, &text)?;
    Ok(exit)
}

impl NotThere {
    fn of(fault: &Fault, catalog: &str) -> Self {
        let hints = fault.hints().iter().map(|hint| meant(hint, catalog, fault)).collect();
        let (package, channel) = (fault.package.clone(), fault.channel.clone());
        Self { package, channel, reason: fault.to_string(), hints }
    }
}

/// A hint whose command has what was typed.
fn meant(hint: &str, catalog: &str, fault: &Fault) -> String {
    hint.replace("--catalog CATALOG", &format!("--catalog {}", quoted(catalog)))
        .replace("--package PACKAGE", &format!("--package {}", quoted(&fault.package)))
}
