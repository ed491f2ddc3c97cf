//! The charts that a create would add: for whoever looks before.

use format_spec::Digest;
use format_spec::index::Resource;

use super::asked::{Asked, Jobs, Place};
use super::carry::{KIND, tell};
use super::chart::Chart;
use super::local::{self, LocalError};
use super::versions::bare;
use crate::error::{fit, reason};
use crate::history::Known;
use crate::release::carry::Missed;
use crate::resolve::Resolved;

/// A chart that no sequence carried as it is now.
#[derive(Debug, Clone, serde::Serialize)]
pub struct NewChart {
    /// Its name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub from: String,
    /// Whether another archive was carried under that name and version.
    pub changed: bool,
}

/// The charts that no sequence carried as they are now; those of repositories by what their index says.
pub(crate) async fn news(
    asked: &Asked<'_>,
    known: &Known,
    resolved: &mut Resolved,
) -> Vec<NewChart> {
    let Jobs { jobs, mut failures } = Jobs::all(asked).await;
    let mut found = Vec::new();
    for job in jobs {
        let (name, version, archive) = match &job.place {
            Place::Web(_, entry) => (job.called.clone(), entry.version.clone(), entry.expected()),
            Place::Registry(reference) => {
                let tag = reference.tag.as_ref().map_or("", |tag| tag.as_str());
                (job.called.clone(), tag.replace('_', "+"), None)
            }
            Place::Local(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || {
                    let archive = local::read(&path)?.archive;
                    let chart = Chart::read(&archive)?;
                    Ok::<_, LocalError>((chart.name, chart.version, Some(Digest::of(&archive))))
                });
                match reading.await {
                    Ok(Ok(read)) => read,
                    Ok(Err(error)) => {
                        let error = reason(&error);
                        let at = format!("{}:{}: ", asked.config.file, job.line);
                        failures.push(Missed {
                            name: job.from,
                            kind: None,
                            reason: fit(&format!("{at}{error}")),
                            hints: Vec::new(),
                        });
                        continue;
                    }
                    Err(_) => continue,
                }
            }
        };
        let of = |resource: &&Resource| {
            let rest = resource.name.strip_prefix(KIND).and_then(|rest| rest.split_once('/'));
            rest.is_some_and(|(own, number)| own == name && bare(number) == bare(&version))
        };
        let before = known.resources().iter().find(of);
        let same = before.is_some_and(|resource| {
            let stated: Option<serde_json::Value> = serde_json::from_slice(&resource.content).ok();
            let digest =
                stated.and_then(|stated| stated["archive"]["digest"].as_str()?.parse().ok());
            archive.is_none() || digest == archive
        });
        if !same {
            found.push(NewChart {
                chart: name,
                version,
                from: job.from,
                changed: before.is_some(),
            });
        }
    }
    tell(failures, resolved);
    found
}
