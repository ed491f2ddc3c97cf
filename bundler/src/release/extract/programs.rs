//! The programs of a release: out of the images of its components, told which release they are of, as files or archives.
//!
//! In: which programs, for which machines. Out: their files; archives with a list of digests. What must hold: each image is read
//! once, whatever is taken of it; a program that installs a release and cannot be told which one gets no name.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use format_spec::Digest;
use format_spec::hash::Hasher;

use super::archive::{self, Contents};
use super::drafts::{self, DATA, Drafts, PROGRAM};
use super::macho::{self, Signed};
use super::marker::{Mark, Marking, NoRoom};
use super::overlay::Wanted;
use super::tools::{self, System, Tool};
use super::unpack::{Sink, unpack};
use super::{ExtractError, ExtractOptions, Extracted, Missing, Outcome, told};
use crate::origin::Origins;
use crate::release::image::{Image, ReadError};
use crate::release::layer::{Content, LayerError};
use crate::release::named::Release;
use crate::release::proven::Proven;
use crate::release::references::{Component, References};
use crate::release::tarball::Entry;

/// Bytes that are moved at a time.
const PIECE: usize = 256 * 1024;

/// Files beside archives.
const SUMS: &str = "sha256sum.txt";
const ABOUT: &str = "release.txt";

/// Which programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Those of this command; `None` is all that are not only taken by name.
    pub command: Option<String>,
    /// For which machines.
    pub system: System,
    /// As archives.
    pub archives: bool,
}

/// A program that is to be taken.
struct Job<'a> {
    tool: Tool,
    component: &'a Component,
    /// The name of its file or archive.
    name: String,
}

/// Writes the programs into the directory.
pub(super) async fn take(
    options: &ExtractOptions,
    wanted: &Programs,
    origins: &Origins,
    proven: &Proven,
    outcome: &mut Outcome,
) -> Result<(), ExtractError> {
    let jobs = jobs(wanted, proven, outcome)?;
    let drafts = Drafts::open(&options.to, options.overwrite).map_err(ExtractError::Write)?;
    let beside: &[&str] = if wanted.archives { &[ABOUT, SUMS] } else { &[] };
    // Before the minutes that reading may take.
    drafts.refuse_taken(jobs.iter().map(|job| &*job.name).chain(beside.iter().copied()))?;
    if outcome.release.image.is_none() && jobs.iter().any(|job| job.tool.image) {
        return Err(ExtractError::NoReference);
    }
    let work = Work { options, wanted, origins, proven, drafts };
    let (mut files, mut sums) = (BTreeMap::new(), BTreeMap::new());
    for (component, jobs) in by_image(jobs) {
        let taken = work.read(component, &jobs, &outcome.release).await?;
        for (job, taken) in jobs.into_iter().zip(taken) {
            let Some(taken) = taken else {
                work.absent(&job, outcome)?;
                continue;
            };
            let (bytes, digest) = work.finish(&job, taken, outcome).await?;
            files.insert(job.name.clone(), bytes);
            sums.extend(digest.map(|digest| (job.name, digest)));
        }
    }
    if files.is_empty() {
        let missing = outcome.missing.iter().map(|missing| missing.reason.clone());
        return Err(ExtractError::NoProgram(missing.collect::<Vec<_>>().join("; ")));
    }
    if wanted.archives {
        for (name, text) in work.lists(sums, &outcome.release).await {
            let file = work.drafts.create(name, DATA);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(ExtractError::Write)?;
            files.insert(name.to_owned(), text.len() as u64);
        }
    }
    work.drafts.publish(files.keys().map(String::as_str))?;
    outcome.files = files.into_iter().map(|(name, bytes)| Extracted { name, bytes }).collect();
    Ok(())
}

/// What is to be taken, and from which components.
fn jobs<'a>(
    wanted: &Programs,
    proven: &'a Proven,
    outcome: &mut Outcome,
) -> Result<Vec<Job<'a>>, ExtractError> {
    let Programs { command, system, archives } = wanted;
    let command = command.as_deref();
    if let Some(command) = command.filter(|command| !tools::commands().contains(command)) {
        let (command, known) = (command.to_owned(), tools::commands().join(", "));
        return Err(ExtractError::Command { command, known });
    }
    let references = &proven.payload.references;
    let tools = tools::wanted(command, system, &architecture(proven, system));
    if tools.is_empty() {
        let (command, system) = (command.unwrap_or("any program").to_owned(), system.to_string());
        return Err(ExtractError::System { command, system });
    }
    let (found, missing) = tools::find(tools, references);
    if found.is_empty()
        && let Some(tool) = missing.first()
    {
        let (command, component) = (tool.command.to_owned(), tool.component.to_owned());
        return Err(ExtractError::NoComponent { command, component });
    }
    for tool in missing.iter().filter(|tool| command.is_some() || !tool.may_be_missing()) {
        let reason = format!("the release has no component `{}`", tool.component);
        outcome.missing.push(Missing { name: name_of(tool, *archives, references), reason });
    }
    let job = |(tool, component): (Tool, &'a Component)| {
        let name = name_of(&tool, *archives, references);
        Job { tool, component, name }
    };
    Ok(found.into_iter().map(job).collect())
}

fn name_of(tool: &Tool, archives: bool, references: &References) -> String {
    if archives { tool.archive(&references.version) } else { tool.file() }
}

/// The architecture of the images that are read: the release's own, or of a release for all that which is asked for.
fn architecture(proven: &Proven, system: &System) -> String {
    match proven.image.is_multi {
        true => system.architecture().unwrap_or("amd64").to_owned(),
        false => proven.payload.architecture.clone(),
    }
}

/// Jobs by the image that they read.
fn by_image(jobs: Vec<Job<'_>>) -> Vec<(&Component, Vec<Job<'_>>)> {
    let mut groups: Vec<(&Component, Vec<Job<'_>>)> = Vec::new();
    for job in jobs {
        match groups.iter_mut().find(|(component, _)| component.image == job.component.image) {
            Some((_, group)) => group.push(job),
            None => groups.push((job.component, vec![job])),
        }
    }
    groups
}

/// What all programs of a run share.
struct Work<'a> {
    options: &'a ExtractOptions,
    wanted: &'a Programs,
    origins: &'a Origins,
    proven: &'a Proven,
    drafts: Drafts,
}

/// A program that was read, in its file.
struct Taken {
    file: fs_err::File,
    modified: u64,
    /// What it could not be told.
    unmarked: Vec<Mark>,
}

impl Work<'_> {
    /// Reads programs out of the image of a component; `None` for each that it does not have.
    async fn read(
        &self,
        component: &Component,
        jobs: &[Job<'_>],
        release: &Release,
    ) -> Result<Vec<Option<Taken>>, ExtractError> {
        self.options.progress.phase("reading programs");
        let name = format!("{} ({})", component.image, component.name);
        let architecture = architecture(self.proven, &self.wanted.system);
        let source = self.options.from.component(component);
        let wanted = self.proven.image.is_multi.then_some(&*architecture);
        let image = Image::open(self.origins, &source, wanted).await;
        let image = image.map_err(|source| ExtractError::Image { image: name.clone(), source })?;
        let slot = |job: &Job<'_>| Slot {
            path: job.tool.path,
            draft: self.drafts.path(&draft(job)),
            values: values(&job.tool, release),
            taken: None,
        };
        let sink = Slots(jobs.iter().map(slot).collect());
        let wanted = Wanted::Files(jobs.iter().map(|job| job.tool.path.to_owned()).collect());
        let unpacked = unpack(&image, self.origins, wanted, sink, &self.options.progress).await;
        let Slots(slots) = unpacked.map_err(|source| fault(source, name))?;
        Ok(slots.into_iter().map(|slot| slot.taken).collect())
    }

    /// Notes a program that the image does not have.
    fn absent(&self, job: &Job<'_>, outcome: &mut Outcome) -> Result<(), ExtractError> {
        let (component, path) = (job.component.name.clone(), job.tool.path.to_owned());
        let named = self.wanted.command.is_some();
        if named && self.wanted.system != System::All {
            return Err(ExtractError::NotInImage { component, path });
        }
        if named || !job.tool.may_be_missing() {
            let reason = format!("the image of `{component}` has no `{path}`");
            outcome.missing.push(Missing { name: job.name.clone(), reason });
        }
        Ok(())
    }

    /// Makes of a program that was read and proven what gets a name: its bytes, and of an archive the digest.
    async fn finish(
        &self,
        job: &Job<'_>,
        taken: Taken,
        outcome: &mut Outcome,
    ) -> Result<(u64, Option<Digest>), ExtractError> {
        self.options.progress.phase("writing programs");
        let Taken { mut file, modified, unmarked } = taken;
        if unmarked.contains(&Mark::Image) {
            let (component, path) = (job.component.name.clone(), job.tool.path.to_owned());
            return Err(ExtractError::NoPlace { component, path });
        }
        if unmarked.contains(&Mark::Version) {
            outcome.warnings.push(format!(
                "`{}` has no place for the version of its release: it tells its own",
                job.name
            ));
        }
        let is_marked = job.tool.image || (job.tool.version && unmarked.is_empty());
        let sign = is_marked && job.tool.needs_signature();
        let (tool, release) = (job.tool.clone(), outcome.release.clone());
        let archive = self.wanted.archives.then(|| self.drafts.path(&job.name));
        let making = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let signed = if sign { macho::sign(&file)? } else { Signed::Anew };
            let Some(path) = archive else {
                drafts::set_modified(&file, modified);
                return Ok((file.metadata()?.len(), None, signed));
            };
            let readme = told::readme(&tool, &release);
            let (program, name) = (&mut file, &*tool.file());
            let contents =
                Contents { program, name, links: tool.links(), readme: &readme, modified };
            let made = drafts::create(&path, DATA)?;
            let mut to = BufWriter::with_capacity(PIECE, &made);
            match tool.is_for_windows() {
                true => archive::zip(contents, &mut to)?,
                false => archive::tarball(contents, &mut to)?,
            }
            to.flush()?;
            drop(to);
            drafts::set_modified(&made, modified);
            Ok((made.metadata()?.len(), Some(digest_of(made)?), signed))
        });
        let made = making.await.map_err(io::Error::other).flatten().map_err(ExtractError::Write)?;
        let (bytes, digest, signed) = made;
        if signed == Signed::Not {
            outcome.warnings.push(format!(
                "`{}` has no signature that could be made anew: macOS on arm64 may refuse to run it",
                job.name
            ));
        }
        match self.wanted.archives {
            true => fs_err::remove_file(self.drafts.path(&draft(job))),
            false => fs_err::rename(self.drafts.path(&draft(job)), self.drafts.path(&job.name)),
        }
        .map_err(ExtractError::Write)?;
        Ok((bytes, digest))
    }

    /// What stands beside archives: the release, and the digests of all files.
    async fn lists(
        &self,
        mut sums: BTreeMap<String, Digest>,
        release: &Release,
    ) -> [(&'static str, String); 2] {
        let config = match self.proven.image.is_multi {
            // Each of its images has a time of its own.
            true => None,
            false => self.proven.image.config(self.origins).await.ok(),
        };
        let created = config.and_then(|config| config.created);
        let references = &self.proven.payload.references;
        let about = told::release(release, created.as_deref(), references);
        sums.insert(ABOUT.to_owned(), Digest::of(about.as_bytes()));
        let line = |(name, digest): (&String, &Digest)| format!("{}  {name}\n", digest.hex());
        [(ABOUT, about), (SUMS, sums.iter().map(line).collect())]
    }
}

/// The name of a program's file while it is made; no program has such a one.
fn draft(job: &Job<'_>) -> String {
    format!("program of {}", job.name)
}

/// What a program is told of its release.
fn values(tool: &Tool, release: &Release) -> Vec<(Mark, String)> {
    let image = release.image.clone().filter(|_| tool.image).map(|image| (Mark::Image, image));
    let version = tool.version.then(|| (Mark::Version, release.version.clone()));
    image.into_iter().chain(version).collect()
}

/// What a layer, or this machine, did to the reading.
fn fault(source: ReadError, image: String) -> ExtractError {
    let ReadError::Layer { error: LayerError::Taker(error), .. } = source else {
        return ExtractError::Image { image, source };
    };
    let no_room = error.get_ref().and_then(|inner| inner.downcast_ref::<NoRoom>());
    match no_room.map(ToString::to_string) {
        Some(why) => ExtractError::NoRoom { image, why },
        None => ExtractError::Write(error),
    }
}

fn digest_of(mut file: fs_err::File) -> io::Result<Digest> {
    file.rewind()?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Programs that are written into a scratch directory.
struct Slots(Vec<Slot>);

struct Slot {
    path: &'static str,
    draft: PathBuf,
    values: Vec<(Mark, String)>,
    taken: Option<Taken>,
}

impl Sink for Slots {
    fn file(
        &mut self,
        path: &str,
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<(), LayerError> {
        let Some(slot) = self.0.iter_mut().find(|slot| slot.path == path) else { return Ok(()) };
        let file = drafts::create(&slot.draft, PROGRAM).map_err(LayerError::Taker)?;
        let mut marking = Marking::new(file, slot.values.clone());
        let mut buffer = vec![0; PIECE];
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            marking.write_all(&buffer[..read]).map_err(LayerError::Taker)?;
        }
        let (file, unmarked) = marking.finish().map_err(LayerError::Taker)?;
        slot.taken = Some(Taken { file, modified: entry.modified, unmarked });
        Ok(())
    }

    fn other(&mut self, path: &str) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.path == path) {
            slot.taken = None;
        }
    }
}
