//! Any tar reads a part: GNU tar, bsdtar and Python's tarfile list and extract the same names, sizes
//! and bytes (test plan 6). A program that is not there is said to be skipped.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Draft, Files};
use format_spec::head::Kind;

fn there(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no `{program}` on this machine");
    }
    found
}

/// A fresh directory of this test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs_err::remove_dir_all(&path).unwrap();
    }
    fs_err::create_dir_all(&path).unwrap();
    path
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    // GNU tar would speak here of headers that it finds odd.
    assert_eq!(errors, "", "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// 200 layouts and more: sizes at every edge of block, cell and part.
fn layouts() -> Vec<Vec<usize>> {
    let edges = [0, 1, 511, 512, 513, 1023, 1024, 65_023, 65_024, 65_535, 65_536, 65_537, 131_072];
    let mut layouts: Vec<Vec<usize>> = edges.iter().map(|size| vec![*size]).collect();
    for a in edges {
        for b in edges {
            layouts.push(vec![a, b, 7]);
        }
    }
    for over in 0..20 {
        layouts.push(vec![1_040_000 + over * 997, 300]);
    }
    layouts
}

/// What the index says that the parts hold, in the order of the parts: name → bytes.
fn expected(draft: &Draft, files: &Files, number: u32) -> Vec<(String, Vec<u8>)> {
    let name = format!("mirror_seq1_{number:06}.tar");
    let part = &files[&name];
    let layout = format_spec::part::PartLayout { bytes: part.len() as u64 };
    let data = usize::try_from(layout.data_offset().unwrap()).unwrap();
    let cells = usize::try_from(layout.cells().unwrap()).unwrap();
    let mut all = vec![(
        format_spec::part::table_name(draft.head.sequence, number),
        part[512..512 + cells * 32].to_vec(),
    )];
    assert!(data >= 512 + cells * 32);
    let mut placed = draft.clone();
    let parts = placed.place().len();
    let members = placed.index.members(parts).unwrap();
    for member in &members[number as usize] {
        let pieces = placed
            .index
            .blobs
            .iter()
            .find(|blob| blob.digest == member.digest)
            .map(|blob| blob.pieces.clone())
            .unwrap();
        let before: u64 = pieces[..member.piece.unwrap_or(0)].iter().map(|p| p.size).sum();
        let start = usize::try_from(before).unwrap();
        let size = usize::try_from(member.place.size).unwrap();
        all.push((
            format_spec::part::member_name(&member.digest, member.piece),
            draft.data[&member.digest][start..start + size].to_vec(),
        ));
    }
    all
}

struct Case {
    draft: Draft,
    files: Files,
    parts: u32,
}

fn cases() -> Vec<Case> {
    layouts()
        .iter()
        .enumerate()
        .map(|(n, sizes)| {
            let mut draft = Draft::new(1, Kind::Full, Vec::new());
            draft.repositories(&["app/web"]);
            for (m, size) in sizes.iter().enumerate() {
                let mut data = format!("{n}.{m} ").into_bytes();
                data.resize((*size).max(data.len()), b'.');
                data.truncate(*size);
                if !draft.data.contains_key(&format_spec::Digest::of(&data)) {
                    draft.blob(&data, &[0]);
                }
            }
            let files = draft.clone().build(None);
            let parts = u32::try_from(files.len() - 3).unwrap();
            Case { draft, files, parts }
        })
        .collect()
}

#[test]
fn gnu_tar_and_bsdtar_agree_with_the_index() {
    for (program, list) in [("tar", ["--list", "--verbose"]), ("bsdtar", ["--list", "--verbose"])] {
        if !there(program) {
            continue;
        }
        let base = directory(&format!("interop-{program}"));
        for (n, case) in cases().iter().enumerate() {
            for number in 0..case.parts {
                let archive = base.join(format!("{n}_{number}.tar"));
                let bytes = &case.files[&format!("mirror_seq1_{number:06}.tar")];
                fs_err::write(&archive, bytes).unwrap();
                let expected = expected(&case.draft, &case.files, number);
                let names = run(Command::new(program).arg("--list").arg("--file").arg(&archive));
                assert!(names.lines().eq(expected.iter().map(|(name, _)| name)), "{names}");
                let listed = run(Command::new(program).args(list).arg("--file").arg(&archive));
                for (line, (name, bytes)) in listed.lines().zip(&expected) {
                    assert!(line.starts_with("-r--r--r--"), "{line}");
                    assert!(line.ends_with(name.as_str()), "{line}");
                    let size = bytes.len().to_string();
                    assert!(line.split_whitespace().any(|word| word == size), "{line}: {size}");
                }
                let out = base.join(format!("{n}_{number}"));
                fs_err::create_dir_all(&out).unwrap();
                run(Command::new(program)
                    .arg("--extract")
                    .arg("--file")
                    .arg(&archive)
                    .current_dir(&out));
                for (name, bytes) in &expected {
                    assert!(fs_err::read(out.join(name)).unwrap() == *bytes, "{name}");
                }
                fs_err::remove_dir_all(&out).unwrap();
                fs_err::remove_file(&archive).unwrap();
            }
        }
    }
}

#[test]
fn python_agrees_with_the_index() {
    if !there("python3") {
        return;
    }
    const SCRIPT: &str = "
import hashlib, sys, tarfile
for path in sys.argv[1:]:
    with tarfile.open(path, 'r:') as tar:
        for member in tar:
            assert member.isreg() and member.mode == 0o444 and not member.pax_headers
            assert (member.uid, member.gid, member.mtime, member.uname, member.gname) == (0, 0, 0, '', '')
            data = tar.extractfile(member).read()
            assert len(data) == member.size
            print(path.rsplit('/', 1)[1], member.name, hashlib.sha256(data).hexdigest())
";
    let base = directory("interop-python");
    let mut paths = Vec::new();
    let mut wanted = BTreeMap::new();
    for (n, case) in cases().iter().enumerate() {
        for number in 0..case.parts {
            let name = format!("{n}_{number}.tar");
            let bytes = &case.files[&format!("mirror_seq1_{number:06}.tar")];
            fs_err::write(base.join(&name), bytes).unwrap();
            paths.push(base.join(&name));
            let lines: Vec<String> = expected(&case.draft, &case.files, number)
                .iter()
                .map(|(member, bytes)| {
                    format!("{name} {member} {}", format_spec::Digest::of(bytes).hex())
                })
                .collect();
            wanted.insert(name, lines);
        }
    }
    assert!(paths.len() >= 200, "{}", paths.len());
    let said = run(Command::new("python3").arg("-c").arg(SCRIPT).args(&paths));
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in said.lines() {
        let name = line.split(' ').next().unwrap();
        got.entry(name.to_owned()).or_default().push(line.to_owned());
    }
    assert_eq!(got, wanted);
    fs_err::remove_dir_all(&base).unwrap();
}
