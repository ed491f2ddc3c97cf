//! What is left when it is known which images can be had: the catalog images, and what the other side is told of them.
//!
//! In: what is carried of the catalogs, and what was resolved. Out: the same without what misses an image, with an image for
//! each catalog and its resource. What must hold: a rebuilt catalog offers no bundle that misses an image; no image is carried
//! that only left-out packages need; a package that a catalog at the target has is not taken away because something could
//! not be had. A catalog that is carried as it is stays as it is.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::Digest;
use format_spec::head::ContentClass;
use format_spec::index::Resource;
use serde_json::{Value, json};

use super::carry::{Carried, Chosen, Need, Needs, Standing};
use super::rebuild::{RebuildError, rebuild};
use super::select::explain::Explanation;
use crate::create::CreateOptions;
use crate::destination::Destination;
use crate::error::{CreateError, fit, reason};
use crate::history::Known;
use crate::layout::{Choice, LayoutImage};
use crate::made;
use crate::origin::{Origins, Source};
use crate::report;
use crate::resolve::{self, Image, Resolved, Rules};
use crate::wish::Wish;

/// The first part of the names of their resources (SPEC 5.4).
pub(super) const KIND: &str = "catalog/";

/// What to do about images that could not be had.
const MISSING: &str = "run the same command again when they can be had; images that are gone for good: name them in \
                       `blockedImages`, which the package then comes without, or carry other versions of the package";

/// The directory of their layouts.
const LAYOUTS: &str = "catalogs";

/// What settling needs.
pub(crate) struct Means<'a> {
    pub(crate) options: &'a CreateOptions,
    pub(crate) origins: &'a Origins,
    pub(crate) rules: &'a Rules,
    pub(crate) known: &'a Known,
    /// What earlier sequences stated.
    pub(crate) standing: &'a [Resource],
}

impl Carried<'_> {
    /// Takes out what misses an image, makes the catalogs of the rest, and sets the resources. Done again whenever images
    /// were dropped.
    pub(crate) async fn settle(
        &mut self,
        means: &Means<'_>,
        resolved: &mut Resolved,
    ) -> Result<(), CreateError> {
        self.name_bundles(resolved);
        loop {
            let lost = self.lost(means, resolved);
            self.drop_images(&lost, resolved);
            let mut moved = false;
            for (catalog, lost) in self.catalogs.iter_mut().zip(lost) {
                moved |= catalog.make(lost, means, resolved).await?;
            }
            if !moved {
                break;
            }
            // Whether they say another size of a blob than the others.
            resolve::settle(resolved, means.origins).await;
        }
        resolved.resources.retain(|resource| !resource.name.starts_with(KIND));
        resolved.catalogs.clear();
        for catalog in &self.catalogs {
            catalog.tell(means, resolved);
        }
        Ok(())
    }

    /// Says of images that could not be had which bundles need them.
    fn name_bundles(&self, resolved: &mut Resolved) {
        let mut users: HashMap<&str, String> = HashMap::new();
        for catalog in &self.catalogs {
            for Needs { package, images, .. } in &catalog.packages {
                for Need { name, bundle, .. } in images {
                    users.entry(name).or_insert_with(|| {
                        format!(
                            "needed by bundle `{bundle}` of package `{package}` in {}",
                            catalog.name
                        )
                    });
                }
            }
        }
        for failure in &mut resolved.failures {
            if failure.class == ContentClass::Operator
                && let Some(user) = users.get(&*failure.reference)
                && !failure.reason.contains("needed by bundle")
            {
                failure.reason = fit(&format!("{}; {user}", failure.reason));
            }
        }
    }

    /// The packages of each catalog that miss an image; `None` for one that is not carried.
    fn lost(
        &mut self,
        means: &Means<'_>,
        resolved: &mut Resolved,
    ) -> Vec<Option<BTreeSet<String>>> {
        let there: HashSet<Destination> =
            resolved.images.iter().map(|image| image.destination.clone()).collect();
        let has = |need: &Need| there.contains(&need.destination);
        let mut all = Vec::with_capacity(self.catalogs.len());
        for catalog in &mut self.catalogs {
            all.push(catalog.lost(has, &there, means.standing, resolved));
        }
        all
    }

    /// Takes out the images that nothing of what is left needs.
    fn drop_images(&self, lost: &[Option<BTreeSet<String>>], resolved: &mut Resolved) {
        let mut needed: HashSet<&Destination> = HashSet::new();
        for (catalog, lost) in self.catalogs.iter().zip(lost) {
            let Some(lost) = lost else { continue };
            if let Standing::Made(own, _) = &catalog.standing {
                needed.insert(own);
            }
            let left = catalog.packages.iter().filter(|needs| !lost.contains(&needs.package));
            needed.extend(left.flat_map(|needs| needs.images.iter().map(|need| &need.destination)));
        }
        resolved.images.retain(|image| {
            image.class != ContentClass::Operator || needed.contains(&image.destination)
        });
    }
}

impl Chosen<'_> {
    /// The packages that miss an image; `None` when the catalog is not carried.
    pub(super) fn lost(
        &mut self,
        has: impl Fn(&Need) -> bool,
        there: &HashSet<Destination>,
        standing: &[Resource],
        resolved: &mut Resolved,
    ) -> Option<BTreeSet<String>> {
        match &self.standing {
            Standing::Given => return None,
            // Told already: one of its own layers could not be had.
            Standing::Made(own, _) if !there.contains(own) => {
                self.standing = Standing::Given;
                return None;
            }
            Standing::New | Standing::Made(..) => {}
        }
        let misses = |needs: &&Needs| needs.bad > 0 || !needs.images.iter().all(&has);
        let lost: BTreeSet<String> =
            self.packages.iter().filter(misses).map(|needs| needs.package.clone()).collect();
        if lost.is_empty() || self.selection.whole {
            // One that is carried as it is cannot leave anything out.
            return Some(BTreeSet::new());
        }
        let stands = self.stands(standing);
        let held: Vec<&String> = lost.iter().filter(|package| stands.contains(*package)).collect();
        if let Some(package) = held.first() {
            let more = match held.len() {
                1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let told = format!(
                "the catalog at the target stays as it is: package `{package}`{more} is in it, and not all images of what is \
                 new could be had"
            );
            resolved.fail(&self.name, ContentClass::Operator, None, fit(&told));
            resolved.advise(&self.name, [MISSING.to_owned()]);
            self.standing = Standing::Given;
            return None;
        }
        for needs in &self.packages {
            if !lost.contains(&needs.package) || !self.told.insert(needs.package.clone()) {
                continue;
            }
            let missing = needs.bad + needs.images.iter().filter(|need| !has(need)).count();
            let told = format!(
                "package `{}` is left out of the catalog: {missing} of its {} images could not be had",
                needs.package,
                needs.bad + needs.images.len()
            );
            resolved.fail(&self.name, ContentClass::Operator, None, fit(&told));
            resolved.advise(&self.name, [MISSING.to_owned()]);
        }
        if lost.len() == self.packages.len() {
            self.standing = Standing::Given;
            return None;
        }
        Some(lost)
    }

    /// The packages of the catalog that stands under its name at the target.
    fn stands(&self, standing: &[Resource]) -> BTreeSet<String> {
        let Some(tag) = &self.tag else { return BTreeSet::new() };
        let name = format!("{KIND}{}/{tag}", self.repository);
        let resource = standing.iter().find(|resource| resource.name == name);
        resource.and_then(stated).map(|told| packages(&told)).unwrap_or_default()
    }

    /// Makes its image without the packages that are lost, unless that is done. Whether something moved.
    async fn make(
        &mut self,
        lost: Option<BTreeSet<String>>,
        means: &Means<'_>,
        resolved: &mut Resolved,
    ) -> Result<bool, CreateError> {
        let before = match &self.standing {
            Standing::Made(own, without) if lost.as_ref() == Some(without) => {
                debug_assert!(resolved.images.iter().any(|image| image.destination == *own));
                return Ok(false);
            }
            Standing::Made(own, _) => Some(own.clone()),
            Standing::New | Standing::Given => None,
        };
        if let Some(own) = before {
            resolved.images.retain(|image| image.destination != own);
        }
        let Some(lost) = lost else { return Ok(false) };
        means.options.progress.phase("making Operator catalogs");
        let source = match self.selection.whole {
            true => Ok(self.source.clone()),
            false => self.rebuilt(&lost, means).await,
        };
        let source = match source {
            Ok(source) => source,
            Err(RebuildError::Write(source)) => {
                let doing = "write the rebuilt catalog into the workspace";
                return Err(CreateError::File { doing, source });
            }
            Err(error) => {
                let told = fit(&reason(&error));
                resolved.fail(&self.name, ContentClass::Operator, None, told);
                resolved.advise(&self.name, error.hint());
                self.standing = Standing::Given;
                return Ok(true);
            }
        };
        let name = match &source {
            Source::Made { image, .. } => format!("oci://{}", image.path.display()),
            _ => self.name.clone(),
        };
        let wish = Wish {
            name,
            source,
            class: ContentClass::Operator,
            platforms: Cow::Borrowed(&[]),
            repository: self.repository.clone(),
            tag: self.tag.clone(),
        };
        let resolving = resolve::resolve_all(vec![wish], means.origins, means.rules, means.known);
        let mut found = resolving.await?;
        let image = found.images.pop();
        resolved.told_too(found);
        let Some(image) = image else {
            self.standing = Standing::Given;
            return Ok(true);
        };
        let own = image.destination.clone();
        if let Some(other) = resolved.images.iter().find(|image| image.destination == own) {
            return Err(CreateError::Collision {
                first: other.source.clone(),
                second: self.name.clone(),
                destination: format!("{}:{}", own.repository, own.tag),
            });
        }
        resolved.images.push(image);
        self.standing = Standing::Made(own, lost);
        Ok(true)
    }

    /// The catalog without the packages that are lost, in the workspace.
    async fn rebuilt(
        &self,
        lost: &BTreeSet<String>,
        means: &Means<'_>,
    ) -> Result<Source<'static>, RebuildError> {
        let origin = self.source.origin();
        let base = made::base_name(&origin).unwrap_or_default();
        let path = self.layout(&means.options.workspace);
        let opened = Arc::clone(&self.opened);
        let (selection, without) = (Arc::clone(&self.selection), lost.clone());
        let to = path.clone();
        let making =
            tokio::task::spawn_blocking(move || rebuild(&opened, &selection, &without, &base, &to));
        let digest = making.await.map_err(std::io::Error::other)??;
        let image = LayoutImage { path, choice: Choice::Digest(digest) };
        Ok(Source::Made { image, base: origin })
    }

    /// Where its image is made: one place for each name at the target.
    fn layout(&self, workspace: &Path) -> PathBuf {
        let tag = self.tag.as_ref().map_or("", |tag| tag.as_str());
        let name = format!("{}:{tag} {}", self.repository, self.name);
        let own = self.repository.as_str().rsplit('/').next().unwrap_or_default();
        let mark = &Digest::of(name.as_bytes()).hex()[..16];
        made::place(workspace, &[LAYOUTS, &format!("{own}-{mark}")])
    }

    /// What the other side is told of it, without the packages that are lost.
    pub(super) fn statement(&self, digest: &Digest, lost: &BTreeSet<String>) -> Vec<u8> {
        let picked = self.selection.packages.iter().filter(|one| !lost.contains(&one.name));
        let mut packages: Vec<&str> = picked.map(|picked| picked.name.as_str()).collect();
        packages.sort_unstable();
        let mut content = json!({
            "source": self.name,
            "digest": digest.to_string(),
            "packages": packages,
        });
        if let Some(template) = &self.template {
            content["template"] = Value::Object(template.clone());
        }
        content.to_string().into_bytes()
    }

    /// What both sides are told of it.
    fn tell(&self, means: &Means<'_>, resolved: &mut Resolved) {
        let Standing::Made(own, lost) = &self.standing else { return };
        let image = resolved.images.iter().find(|image| image.destination == *own);
        let Some(digest) = image.and_then(root) else { return };
        let picked = || self.selection.packages.iter().filter(|one| !lost.contains(&one.name));
        resolved.resources.push(Resource {
            name: format!("{KIND}{}/{}", own.repository, own.tag),
            content: self.statement(&digest, lost),
        });
        let images: HashSet<&Destination> = (self.packages.iter())
            .filter(|needs| !lost.contains(&needs.package))
            .flat_map(|needs| needs.images.iter().map(|need| &need.destination))
            .collect();
        resolved.catalogs.push(report::Catalog {
            catalog: self.name.clone(),
            source_digest: self.opened.digest,
            name: format!("{}:{}", own.repository, own.tag),
            whole: self.selection.whole,
            packages: picked().count(),
            bundles: picked().map(|picked| picked.bundles.len()).sum(),
            images: images.len(),
            left_out: lost.iter().cloned().collect(),
            chosen: (means.options.dry_run)
                .then(|| Explanation::without(&self.opened.model, &self.selection, lost)),
        });
    }
}

/// What an earlier sequence said of a catalog.
pub(super) fn stated(resource: &Resource) -> Option<Value> {
    serde_json::from_slice(&resource.content).ok()
}

/// The packages in that.
pub(super) fn packages(told: &Value) -> BTreeSet<String> {
    let names = told["packages"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(ToOwned::to_owned).collect()
}

/// The digest of an image.
fn root(image: &Image) -> Option<Digest> {
    image.names.first().map(|name| name.digest)
}
