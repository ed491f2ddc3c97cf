//! A catalog of any size, and what it takes to open it.
//!
//! ```text
//! cargo run --release --example catalog -- make DIR MIB DATA     a layout with MIB of JSON: the packages below DATA under other names
//! cargo run --release --example catalog -- open DIR WORKSPACE    opens it; again, it comes from the workspace
//! cargo run --release --example catalog -- read DIR              what unpacking, splitting and understanding take, each alone
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for measurements")]

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bundler::catalog::fields;
use bundler::catalog::image::CONFIGS;
use bundler::catalog::interned::Names;
use bundler::catalog::model::Place;
use bundler::catalog::objects::Objects;
use bundler::layout::{Choice, LayoutImage};
use bundler::origin::{Origins, Source};
use bundler::release::tarball::{Kind, Tarball};
use format_spec::Digest;
use registry::client::{Client, ClientOptions};
use registry::progress::Progress;
use serde_json::{Value, json};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", to, mib, data] => make(Path::new(to), mib.parse().unwrap(), Path::new(data)),
        ["open", from, workspace] => open(Path::new(from), Path::new(workspace)),
        ["read", from] => read(Path::new(from)),
        _ => println!("catalog make DIR MIB DATA | open DIR WORKSPACE | read DIR"),
    }
}

/// The objects of all files below a directory, by package.
fn packages(data: &Path) -> Vec<(String, Vec<String>)> {
    let mut packages: Vec<(String, Vec<String>)> = Vec::new();
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for path in fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if !matches!(path.extension().and_then(|it| it.to_str()), Some("json" | "yaml")) {
                continue;
            }
            let mut found: Vec<(String, Vec<String>)> = Vec::new();
            let mut objects = Objects::new(fs_err::File::open(path).unwrap());
            while let Some(object) = objects.next().unwrap() {
                let json: Value = serde_json::from_str(object.json).unwrap();
                let of = json.get("package").or_else(|| json.get("name")).unwrap();
                let of = of.as_str().unwrap();
                let at = found.iter().position(|(name, _)| *name == of).unwrap_or_else(|| {
                    found.push((of.to_owned(), Vec::new()));
                    found.len() - 1
                });
                found[at].1.push(object.json.to_owned());
            }
            // Some examples are lists of packages and no more.
            let is = |object: &String, schema: &str| {
                serde_json::from_str::<Value>(object).unwrap()["schema"] == schema
            };
            let is_whole = |objects: &[String]| {
                ["olm.package", "olm.channel"]
                    .iter()
                    .all(|schema| objects.iter().any(|object| is(object, schema)))
            };
            found.retain(|(_, objects)| is_whole(objects));
            // Several examples have the same packages.
            found.retain(|(name, _)| packages.iter().all(|(other, _)| other != name));
            packages.extend(found);
        }
    }
    packages.sort();
    packages
}

fn make(to: &Path, mib: usize, data: &Path) {
    let packages = packages(data);
    let blobs = to.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let path = blobs.join("layer");
    let file = io::BufWriter::new(fs_err::File::create(&path).unwrap());
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::new(6)));
    let (mut left, mut copy, mut bundles) = (mib << 20, 0, 0);
    while left > 0 {
        for (name, objects) in &packages {
            let other = format!("{name}-{copy}");
            let mut text = String::new();
            for object in objects {
                let mut object = object.clone();
                for field in ["package", "packageName", "name"] {
                    for colon in [":", ": "] {
                        let from = format!("\"{field}\"{colon}\"{name}\"");
                        object = object.replace(&from, &format!("\"{field}\"{colon}\"{other}\""));
                    }
                }
                bundles += usize::from(object.contains("\"olm.bundle\""));
                text += &object;
                text.push('\n');
            }
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            let path = format!("configs/{other}/catalog.json");
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            left = left.saturating_sub(text.len());
            if left == 0 {
                break;
            }
        }
        copy += 1;
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut file, mut piece, mut size) = (fs_err::File::open(&path).unwrap(), vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        size += read;
        hash.update(&piece[..read]);
    }
    let digest = Digest::from_bytes(hash.finish().as_ref().try_into().unwrap());
    fs_err::rename(path, blobs.join(digest.hex())).unwrap();
    let blob = |content: String, kind: &str| {
        let digest = Digest::of(content.as_bytes());
        fs_err::write(blobs.join(digest.hex()), &content).unwrap();
        json!({"mediaType": kind, "digest": digest.to_string(), "size": content.len()})
    };
    // No reader of the catalog unpacks the layer by it.
    let rootfs = json!({"type": "layers", "diff_ids": [digest.to_string()]});
    let config = json!({"config": {"Labels": {CONFIGS: "/configs"}}, "rootfs": rootfs}).to_string();
    let config = blob(config, "application/vnd.oci.image.config.v1+json");
    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": digest.to_string(), "size": size});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let entry = blob(manifest.to_string(), kind);
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    fs_err::write(to.join("index.json"), index).unwrap();
    fs_err::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    println!("{bundles} bundles, layer of {} MiB", size >> 20);
}

fn open(from: &Path, workspace: &Path) {
    let options = ClientOptions { certs_d: Vec::new(), ..ClientOptions::default() };
    let origins = Origins::new(Client::new(options).unwrap(), 4);
    let source = Source::Layout(LayoutImage { path: from.to_owned(), choice: Choice::Only });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let begin = Instant::now();
    let opened = runtime
        .block_on(bundler::catalog::open(
            &origins,
            &source,
            workspace,
            &Arc::new(Progress::default()),
        ))
        .unwrap();
    let wall = begin.elapsed();
    let packages = opened.model.packages.values();
    let bundles: usize = packages.map(|package| package.bundles.len()).sum();
    let places = opened.model.packages.values().flat_map(|package| {
        let channels = package.channels.iter().map(|channel| channel.object);
        let bundles = package.bundles.values().map(|bundle| bundle.object);
        channels.chain(bundles).chain([package.object])
    });
    let json: u64 = places.map(|place| u64::from(place.length)).sum();
    println!("{} packages, {bundles} bundles", opened.model.packages.len());
    told("open", json, wall, cpu());
    println!("peak {} MiB", status("VmHWM:") / 1024);
}

/// Each step alone, from the bytes of the layer in memory.
fn read(from: &Path) {
    let largest = fs_err::read_dir(from.join("blobs/sha256")).unwrap();
    let largest: PathBuf = largest
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs_err::metadata(path).unwrap().len())
        .unwrap();
    let stored = fs_err::read(largest).unwrap();
    let step = |name: &str, each: &mut dyn FnMut(&mut dyn Read) -> u64| {
        let (begin, before) = (Instant::now(), cpu());
        let unpacked = flate2::bufread::MultiGzDecoder::new(&stored[..]);
        let mut tarball = Tarball::new(io::BufReader::with_capacity(64 * 1024, unpacked));
        let mut bytes = 0;
        while let Some(entry) = tarball.entry().unwrap() {
            if entry.kind == Kind::File {
                bytes += each(&mut Content(&mut tarball));
            }
        }
        told(name, bytes, begin.elapsed(), cpu() - before);
    };
    step("unpack", &mut |content| io::copy(content, &mut io::sink()).unwrap());
    step("unpack, split", &mut |content| {
        let (mut objects, mut bytes) = (Objects::new(content), 0);
        while let Some(object) = objects.next().unwrap() {
            bytes += object.json.len() as u64;
        }
        bytes
    });
    let (mut names, place) = (Names::default(), Place { file: 0, frame: 0, offset: 0, length: 0 });
    step("unpack, split, understand", &mut |content| {
        let (mut objects, mut bytes) = (Objects::new(content), 0);
        while let Some(object) = objects.next().unwrap() {
            let parsed = fields::parse(object.json, place, &mut names).unwrap();
            drop(parsed);
            bytes += object.json.len() as u64;
        }
        bytes
    });
    println!("held: {} MiB", names.held() >> 20);
}

/// The content of an entry.
struct Content<'a, R>(&'a mut Tarball<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

fn told(what: &str, json: u64, wall: Duration, cpu: Duration) {
    let rate = |time: Duration| json as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{what}: {:.1} MB of JSON, {:.2} s ({:.0} MB/s), {:.2} s of processor ({:.0} MB/s)",
        json as f64 / 1e6,
        wall.as_secs_f64(),
        rate(wall),
        cpu.as_secs_f64(),
        rate(cpu)
    );
}

/// What all threads of this process took so far.
fn cpu() -> Duration {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    let ticks = |at: usize| fields.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap();
    // User and system time, in hundredths of a second on every Linux that matters.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A line of what the kernel says of this process, in KiB.
fn status(name: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
