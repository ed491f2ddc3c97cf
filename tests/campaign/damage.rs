//! Media on which something changed: nothing of them gets a name at the target, and the file is named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use format_spec::hash::cell_digests;
use format_spec::head::Head;
use format_spec::keys::{PublicKey, SecretKey};
use format_spec::limits::CELL;
use format_spec::part::{PartLayout, table_member};
use format_spec::{Digest, codec, seal};
use fs_err as fs;
use importer::{ErrorKind, ImportError, ImportOptions};
use registry::client::{Client, ClientOptions};
use registry::progress::Progress;
use registry::reference::RegistryHost;
use tokio_util::sync::CancellationToken;

use crate::support::command::Run;
use crate::support::figures::{Figures, of, whole};
use crate::support::server::{Server, fs_write};
use crate::support::site::Site;
use crate::support::{copy_files, files, noise, text};

const PART: &str = "mirror_seq1_000000.tar";
const INDEX: &str = "mirror_seq1.index";
const HEAD: &str = "mirror_seq1.manifest.json";
const SEAL: &str = "mirror_seq1.manifest.sig";

/// The files of a sequence of which every byte is proven; the page for people is none.
type Sequence = BTreeMap<String, Vec<u8>>;

/// What a medium of this site holds.
fn read(site: &Site, media: &str) -> Sequence {
    files(&site.path(media))
        .into_iter()
        .filter(|name| !name.ends_with(".html"))
        .map(|name| (name.clone(), fs::read(site.path(media).join(&name)).unwrap()))
        .collect()
}

/// Repositories of the small sequence.
const REPOSITORIES: [&str; 2] = ["app", "team/tool"];

/// A site whose medium holds two images over a few small layers; with `large`, over several cells.
fn small(large: bool) -> Site {
    let site = Site::new();
    let base = noise(1, if large { 2 * CELL } else { 5_000 });
    site.source.image("app", "1", &[&base, &noise(2, 700)]);
    site.source.image("team/tool", "1", &[&base, &noise(3, 3_001)]);
    site.images(&["app:1", "team/tool:1"]);
    site.create("media", &[]).ok();
    site
}

/// A place from which one medium after the other is imported, in this process.
struct Bench {
    runtime: tokio::runtime::Runtime,
    client: Client,
    target: Server,
    trusted: PublicKey,
    directory: tempfile::TempDir,
    good: Arc<Sequence>,
    turn: usize,
    /// Cases in one namespace of the target: after the first, something of the sequence is there already.
    shared: usize,
}

impl Bench {
    fn new(site: &Site, good: &Arc<Sequence>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let target = Server::embedded(&directory.path().join("target"));
        let host: RegistryHost = target.host.parse().unwrap();
        let client = Client::new(ClientOptions {
            plain_http: vec![host],
            registries_conf: Some("/dev/null".into()),
            ..ClientOptions::default()
        });
        let media = directory.path().join("media");
        fs::create_dir(&media).unwrap();
        for (name, bytes) in &**good {
            fs_write(&media.join(name), bytes);
        }
        Self {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            client: client.unwrap(),
            target,
            trusted: PublicKey::from_pem(&fs::read_to_string(site.key()).unwrap()).unwrap(),
            directory,
            good: Arc::clone(good),
            turn: 0,
            shared: 8,
        }
    }

    fn media(&self) -> PathBuf {
        self.directory.path().join("media")
    }

    fn namespace(&self) -> String {
        format!("turn{}", self.turn / self.shared)
    }

    /// A new registry at the same place: refused imports leave uploads that nobody ends, and a registry bounds those.
    fn replace_target(&mut self) {
        assert!(self.target.all_tags().is_empty());
        let (host, name) = (self.target.host.clone(), format!("target-{}", self.turn));
        let idle = Server::embedded(&self.directory.path().join("idle"));
        drop(std::mem::replace(&mut self.target, idle));
        self.target = Server::embedded_at(&self.directory.path().join(name), &host);
    }

    fn import(&mut self) -> Result<importer::Imported, ImportError> {
        const TURNS: usize = 800;
        self.turn += 1;
        if self.turn.is_multiple_of(TURNS) {
            self.replace_target();
        }
        let target = format!("docker://{}/{}", self.target.host, self.namespace());
        self.runtime.block_on(importer::import(ImportOptions {
            from: vec![self.media()],
            target: target.parse().unwrap(),
            workspace: self.directory.path().join("workspace"),
            local_name: None,
            told_as: None,
            trusted: vec![self.trusted],
            new_stream: false,
            put_back: false,
            read_back: false,
            skip_pruning: false,
            dry_run: false,
            parallel_blobs: 6,
            max_nested_paths: 0,
            resources: None,
            client: self.client.clone(),
            progress: Arc::new(Progress::default()),
            cancel: CancellationToken::new(),
        }))
    }

    /// With `bytes` in the place of a file the medium is refused, the file is named and nothing has a tag.
    #[track_caller]
    fn refuses(&mut self, name: &str, bytes: &[u8]) {
        fs_write(&self.media().join(name), bytes);
        let answer = self.import();
        fs_write(&self.media().join(name), &self.good[name]);
        let error = answer.expect_err("it was imported");
        let kind = error.exit();
        let refused = [ErrorKind::Damaged, ErrorKind::Incomplete, ErrorKind::Untrusted];
        assert!(refused.contains(&kind), "{kind:?}: {error}");
        let told = error.to_string();
        // Content that was signed and is not what its digest says is found by the registry, which knows no part.
        let by_registry = matches!(error, ImportError::Registry(_)) && self.shared == 1;
        assert!(told.contains(named(name)) || by_registry, "`{name}` is not named: {told}");
        assert!(error.hint().is_some(), "no hint: {told}");
        for repository in REPOSITORIES {
            let tags = self.target.tags(&format!("{}/{repository}", self.namespace()));
            assert!(tags.is_empty(), "{repository} has {tags:?}");
        }
    }

    /// After all the damage: the good files go through, so it was the damage that was refused.
    fn end(mut self) {
        assert!(self.target.all_tags().is_empty());
        self.turn += self.shared;
        self.import().unwrap();
        assert_eq!(self.target.all_tags().len(), REPOSITORIES.len());
    }
}

/// How a file is named in a refusal. A signature that does not fit says nothing about which of the two files changed.
fn named(file: &str) -> &str {
    if file == HEAD || file == SEAL { "mirror_seq1.manifest." } else { file }
}

/// Where the regions of a file begin and end: for a part its table, each header, content and padding, and the end.
fn borders(good: &Sequence, name: &str) -> Vec<usize> {
    let length = good[name].len();
    let mut borders = vec![0, length];
    if name == PART {
        let index = codec::decode(&good[INDEX]).unwrap();
        borders.extend([512, length - 1024, length - 512]);
        for member in index.members(1).unwrap().into_iter().flatten() {
            let at = usize::try_from(member.place.offset).unwrap();
            let end = at + usize::try_from(member.place.size).unwrap();
            borders.extend([at - 512, at, end, end.next_multiple_of(512)]);
        }
    }
    borders.sort_unstable();
    borders.dedup();
    borders
}

/// So many positions of a file, or a few more: in every region its first and last byte, the others spread evenly.
fn positions(good: &Sequence, name: &str, many: usize) -> Vec<usize> {
    let borders = borders(good, name);
    let each = (many / (borders.len() - 1)).max(2);
    let mut all = Vec::new();
    for region in borders.windows(2) {
        let length = region[1] - region[0];
        let count = each.min(length);
        all.extend((0..count).map(|n| region[0] + n * (length - 1) / (count - 1).max(1)));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// A byte of a file, and what it is changed by: the same in each run, and another for each byte.
type Flip = (String, usize, u8);

fn flips(good: &Sequence, quick: Option<usize>) -> Vec<Flip> {
    let mut flips = Vec::new();
    for (seed, (name, bytes)) in good.iter().enumerate() {
        let by = noise(seed as u64 + 77, bytes.len());
        let at = match quick {
            None => (0..bytes.len()).collect(),
            Some(many) => positions(good, name, many),
        };
        flips.extend(at.into_iter().map(|at| (name.clone(), at, by[at].max(1))));
    }
    flips
}

#[test]
fn corruption() {
    for (name, large, quick) in
        [("corruption", false, Some(180)), ("corruption, several cells", true, Some(80))]
    {
        let site = small(large);
        let good = Arc::new(read(&site, "media"));
        let bytes: usize = good.values().map(Vec::len).sum();
        println!("{name}: {bytes} bytes in {} files", good.len());
        // The large one is the same table, headers and ends; its cells are sampled in both forms.
        let flips = flips(&good, if whole() && !large { None } else { quick });
        let asked = if large { 250 } else { of(500, bytes) };
        let mut figures = Figures::new(name, asked);
        let benches = std::sync::Mutex::new(Vec::new());
        figures.lanes(
            &flips,
            |_| Lane(Some(Bench::new(&site, &good)), &benches),
            |(name, at, by)| format!("byte {at} of {name} changed by {by:#04x}"),
            |lane, (name, at, by)| {
                let bench = lane.0.as_mut().unwrap();
                let mut bytes = good[name].clone();
                bytes[*at] ^= by;
                bench.refuses(name, &bytes);
            },
        );
        benches.into_inner().unwrap().into_iter().for_each(Bench::end);
        figures.end();
    }
}

/// Keeps the bench of a lane for its end.
struct Lane<'a>(Option<Bench>, &'a std::sync::Mutex<Vec<Bench>>);

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.1.lock().unwrap().extend(self.0.take());
    }
}

/// A copy of the medium in a directory of its own, which the command must refuse.
fn refused_by_command(site: &Site, number: usize, names: &[&str], change: impl FnOnce(&Path)) {
    refused_with(site, number, &["--trust", text(&site.key())], names, change);
}

fn refused_with(
    site: &Site,
    number: usize,
    trust: &[&str],
    names: &[&str],
    change: impl FnOnce(&Path),
) {
    let media = site.path(&format!("copy-{number}"));
    copy_files(&site.path("media"), &media);
    change(&media);
    let target = format!("docker://{}/copy{number}", site.target.host);
    let workspace = site.path(&format!("workspace-{number}"));
    let mut command = site.command(&["import", "--from", text(&media), "--workspace"]);
    command.arg(workspace).args(trust).args(["--retry-delay", "20ms", &target]);
    let run = Run::of(&mut command).refused(&[65, 66, 67]);
    assert!(names.iter().any(|name| run.stderr.contains(name)), "none of {names:?} named\n{run}");
    for repository in REPOSITORIES {
        assert!(site.target.tags(&format!("copy{number}/{repository}")).is_empty(), "{run}");
    }
    fs::remove_dir_all(media).unwrap();
}

#[test]
fn corruption_by_command() {
    let asked = of(40, 400);
    let site = small(false);
    let good = read(&site, "media");
    let flips = flips(&good, Some(asked / 2));
    // Spread over all of them.
    let step = (flips.len() / (asked + 8)).max(1);
    let flips: Vec<(usize, &Flip)> = flips.iter().enumerate().step_by(step).collect();
    let mut figures = Figures::new("corruption, by the command", asked);
    figures.lanes(
        &flips,
        |_| (),
        |(_, (name, at, by))| format!("byte {at} of {name} changed by {by:#04x}"),
        |(), (number, (name, at, by))| {
            refused_by_command(&site, *number, &[named(name)], |media| {
                let mut bytes = good[name].clone();
                bytes[*at] ^= by;
                fs_write(&media.join(name), &bytes);
            });
        },
    );
    figures.end();
    assert!(site.target.all_tags().is_empty());
}

#[test]
fn lengths() {
    let site = small(false);
    let good = Arc::new(read(&site, "media"));
    let mut cases: Vec<(String, usize)> = Vec::new();
    let mut asked = 0;
    for (name, bytes) in &*good {
        let shorter: Vec<usize> = if whole() {
            (0..bytes.len()).collect()
        } else {
            positions(&good, name, 60).into_iter().filter(|at| *at < bytes.len()).collect()
        };
        asked += if whole() { bytes.len() + 5 } else { 55 };
        let longer = [1, 511, 512, 513, 65_536].map(|more| bytes.len() + more);
        cases.extend(shorter.into_iter().chain(longer).map(|length| (name.clone(), length)));
    }
    let mut figures = Figures::new("truncation and extension", asked);
    let benches = std::sync::Mutex::new(Vec::new());
    figures.lanes(
        &cases,
        |_| Lane(Some(Bench::new(&site, &good)), &benches),
        |(name, length)| format!("{name} of {} bytes has {length}", good[name].len()),
        |lane, (name, length)| {
            let bench = lane.0.as_mut().unwrap();
            let mut bytes = good[name].clone();
            bytes.resize(*length, 0);
            bench.refuses(name, &bytes);
        },
    );
    benches.into_inner().unwrap().into_iter().for_each(Bench::end);
    figures.end();
}

/// A change somewhere in a part: a byte, a number, a block in another place, zeros.
fn mutate(bytes: &mut [u8], at: usize, seed: u64) {
    let random = noise(seed, 8);
    let end = (at + 1 + usize::from(random[1]) % 96).min(bytes.len());
    match random[0] % 6 {
        0 => bytes[at] ^= random[2].max(1),
        1 => bytes[at..end].fill(0),
        2 => bytes[at..end].reverse(),
        3 => bytes[at..end].fill(b'7'),
        4 => bytes.copy_within(at..end, (at + 512).min(bytes.len() - (end - at))),
        _ => {
            let block = at / 512 * 512;
            let other = usize::from(random[3]) % (bytes.len() / 512) * 512;
            bytes.copy_within(other..other + 512, block);
        }
    }
}

/// Parts that are not laid out as their index says, under tables, a head and a signature that fit them: what reads
/// a part believes none of it, even of a trusted key.
#[test]
fn signed_nonsense() {
    let asked = of(150, 5_000);
    let site = small(false);
    let good = Arc::new(read(&site, "media"));
    let secret = fs::read_to_string(site.path("connected/keys/default.pem")).unwrap();
    let secret = SecretKey::from_pem(&secret).unwrap();
    let head = Head::parse(&good[HEAD]).unwrap();
    let from = usize::try_from(PartLayout { bytes: head.parts[0].bytes }.data_offset().unwrap());
    let from = from.unwrap();
    let places: Vec<usize> = positions(&good, PART, 400)
        .into_iter()
        .filter(|at| *at >= from && *at < good[PART].len())
        .collect();
    // Some changes change nothing, as zeros in padding do.
    let seeds = (0..u64::try_from(4 * asked).unwrap()).map(|seed| {
        let mut part = good[PART].clone();
        mutate(
            &mut part[from..],
            places[usize::try_from(seed).unwrap() % places.len()] - from,
            seed,
        );
        (seed, part)
    });
    let changed: Vec<(u64, Vec<u8>)> =
        seeds.filter(|(_, part)| *part != good[PART]).take(asked).collect();
    let mut figures = Figures::new("mutations of parts, signed", asked);
    let benches = std::sync::Mutex::new(Vec::new());
    figures.lanes(
        &changed,
        // What the target has already is not read again, so each case has a place of its own.
        |_| Lane(Some(Bench { shared: 1, ..Bench::new(&site, &good) }), &benches),
        |(seed, _)| format!("change {seed}"),
        |lane, (_, part)| {
            let bench = lane.0.as_mut().unwrap();
            let mut part = part.clone();
            let table = table_member(head.sequence, 0, &cell_digests(&part[from..]));
            part[..from].copy_from_slice(&table);
            let mut head = head.clone();
            head.parts[0].table = Digest::of(&table);
            let head = head.to_bytes();
            let media = bench.media();
            fs_write(&media.join(SEAL), &seal::sign(&head, &[&secret]));
            fs_write(&media.join(HEAD), &head);
            bench.refuses(PART, &part);
            fs_write(&media.join(SEAL), &good[SEAL]);
            fs_write(&media.join(HEAD), &good[HEAD]);
        },
    );
    benches.into_inner().unwrap().into_iter().for_each(Bench::end);
    figures.end();
}

/// The name of the same file in another sequence.
fn renumbered(name: &str, sequence: u64) -> String {
    name.replacen("seq1", &format!("seq{sequence}"), 1)
}

#[test]
fn swaps() {
    // Three parts of sequence 1, two of sequence 2, and another stream of the same shape.
    let site = Site::new();
    let layer = |n| noise(n, 900_000);
    site.source.image("app", "1", &[&layer(1), &layer(2), &noise(3, 900)]);
    site.source.image("team/tool", "1", &[&layer(1), &noise(4, 300_000)]);
    site.images(&["app:1", "team/tool:1"]);
    site.create("media", &["--size", "1MiB"]).ok();
    let create = |media: &str, workspace: &str, more: &[&str]| {
        let (config, to) = (site.path("imageset.yaml"), site.path(media));
        let workspace = site.path(workspace);
        let first = ["create", "--config", text(&config), "--size", "1MiB", "--to", text(&to)];
        let mut command = site.command(&first);
        let _ = Run::of(command.arg("--workspace").arg(workspace).args(more)).ok();
    };
    create("foreign", "elsewhere", &[]);
    site.source.image("app", "2", &[&layer(1), &layer(5), &layer(6)]);
    site.images(&["app:1", "app:2", "team/tool:1"]);
    create("second", "connected", &[]);

    let (one, two) = (read(&site, "media"), read(&site, "second"));
    let foreign = read(&site, "foreign");
    let all: Vec<String> = files(&site.path("media"));
    assert!(one.len() >= 6 && two.len() >= 5 && foreign.len() == one.len());
    let key = text(&site.key()).to_owned();
    let both = ["--trust", &key, "--trust", text(&site.path("elsewhere/keys/default.pub.pem"))]
        .map(ToOwned::to_owned);

    /// What is done to a copy of the medium.
    struct Swap {
        what: String,
        both: bool,
        names: Vec<String>,
        write: Vec<(String, Vec<u8>)>,
    }
    let mut swaps = Vec::new();
    for (n, first) in all.iter().enumerate() {
        for second in &all[n + 1..] {
            let content = |name: &String| fs::read(site.path("media").join(name)).unwrap();
            swaps.push(Swap {
                what: format!("{first} and {second} change places"),
                both: false,
                names: vec![named(first).to_owned(), named(second).to_owned()],
                write: vec![(first.clone(), content(second)), (second.clone(), content(first))],
            });
        }
    }
    let pairs = swaps.len();
    let mut mix = |what: String, both: bool, files: &[(&String, &Vec<u8>)]| {
        let names = files.iter().map(|(name, _)| named(name).to_owned()).collect();
        let write = files.iter().map(|(name, bytes)| ((*name).clone(), (*bytes).clone())).collect();
        swaps.push(Swap { what, both, names, write });
    };
    for name in one.keys() {
        if let Some(bytes) = two.get(&renumbered(name, 2)) {
            mix(format!("{name} of sequence 2"), false, &[(name, bytes)]);
        }
        // Equal content makes equal parts, whoever carries it: that is no damage.
        if one[name] != foreign[name] {
            for both in [false, true] {
                let bytes = &foreign[name];
                mix(format!("{name} of another stream, trusted: {both}"), both, &[(name, bytes)]);
            }
        }
    }
    // A head with its own signature, over files of another sequence.
    let (head, seal) = (HEAD.to_owned(), SEAL.to_owned());
    let sealed = [(&head, &two[&renumbered(HEAD, 2)]), (&seal, &two[&renumbered(SEAL, 2)])];
    mix("head and signature of sequence 2".to_owned(), false, &sealed);
    let sealed = [(&head, &foreign[HEAD]), (&seal, &foreign[SEAL])];
    mix("head and signature of another stream".to_owned(), false, &sealed);
    // Trusted, it is the index that does not fit.
    mix("head and signature of another stream, trusted".to_owned(), true, &sealed);
    swaps.last_mut().unwrap().names.push(INDEX.to_owned());

    let mut figures = Figures::new("swaps", pairs + 12);
    let swaps: Vec<(usize, Swap)> = swaps.into_iter().enumerate().collect();
    figures.lanes(
        &swaps,
        |_| (),
        |(_, swap)| swap.what.clone(),
        |(), (number, swap)| {
            let trust: Vec<&str> =
                both.iter().take(if swap.both { 4 } else { 2 }).map(String::as_str).collect();
            let names: Vec<&str> = swap.names.iter().map(String::as_str).collect();
            refused_with(&site, *number, &trust, &names, |media| {
                for (name, bytes) in &swap.write {
                    fs_write(&media.join(name), bytes);
                }
            });
        },
    );
    figures.end();
    assert!(site.target.all_tags().is_empty());
}
