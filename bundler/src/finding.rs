//! From a configuration and lists to images with digests: releases, catalogs, lists, the update graph and charts say which
//! images there are, and all of them are resolved at once.

use crate::catalog::carry;
use crate::create::CreateOptions;
use crate::error::CreateError;
use crate::helm::{asked as helm_asked, carry as charts};
use crate::history::Known;
use crate::origin::Origins;
use crate::release::{asked, whole};
use crate::resolve::{self, Resolved, Rules};
use crate::{lists, wish};

/// What was found, and what of it is looked at again whenever images are dropped.
pub(crate) struct Found<'a> {
    pub(crate) resolved: Resolved,
    pub(crate) releases: Vec<whole::Release>,
    pub(crate) catalogs: carry::Carried<'a>,
    pub(crate) charts: charts::Carried,
}

/// Finds everything that `options` asks for.
pub(crate) async fn find<'a>(
    options: &'a CreateOptions,
    origins: &Origins,
    rules: &Rules,
    known: &Known,
) -> Result<Found<'a>, CreateError> {
    let mut wishes = wish::additional(&options.config, options.max_nested_paths)?;
    let (mut carried, chosen) = asked::releases(options, origins).await;
    wishes.append(&mut carried.wishes);
    let asked = carry::Asked {
        config: &options.config,
        workspace: &options.workspace,
        max_nested_paths: options.max_nested_paths,
        rebuild: true,
        progress: &options.progress,
    };
    let (mut catalogs, bundles) = carry::carry(&asked, origins).await?;
    wishes.extend(bundles);
    let (more, lists) = lists::read(&options.images, origins, options.max_nested_paths).await?;
    wishes.extend(more);
    match asked::graph(options, origins).await {
        Ok(wish) => wishes.extend(wish),
        Err(error) => carried.failures.push(error.told()),
    }
    let asked = helm_asked::Asked {
        config: &options.config,
        workspace: &options.workspace,
        max_nested_paths: options.max_nested_paths,
        options: &options.helm,
        client: &options.client,
        progress: &options.progress,
    };
    let (mut charts, images) = charts::carry(&asked, origins, &wishes).await?;
    wishes.extend(images);
    let names = wishes.iter().map(|wish| &wish.name).chain(catalogs.blocked());
    let idle = resolve::idle_patterns(&options.config, names);
    options.progress.phase("resolving images");
    let resolving = resolve::resolve(&options.config, wishes, origins, rules, known);
    let mut resolved = resolving.await?;
    resolved.warnings.splice(0..0, idle);
    let releases = asked::note(&mut resolved, carried, chosen);
    catalogs.note(&mut resolved);
    lists.note(&mut resolved);
    charts.note(&mut resolved, origins, rules, known).await?;
    Ok(Found { resolved, releases, catalogs, charts })
}
