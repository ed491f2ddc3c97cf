//! Layers upon layers, and what is seen through them.

use std::collections::BTreeMap;

use format_spec::Digest;

use super::*;
use crate::release::layer_testing::{entry, file, tar};

fn directories() -> Directories {
    Directories { configs: "configs".into(), cache: "tmp/cache".into() }
}

fn one(
    stored: &[u8],
    seen: &mut Seen,
    found: &mut BTreeMap<String, String>,
) -> Result<Holds, LayerError> {
    let directories = directories();
    let mut here = Layer::new(&directories, seen);
    let stop = |_: TooMany| LayerError::Taker(io::Error::other("too many"));
    layer::read_all(stored, &Digest::of(stored), &mut (1 << 30), |path, entry, content| {
        let Some(path) = here.look(path, entry).map_err(stop)? else { return Ok(()) };
        let text = match entry.kind {
            Kind::File => String::from_utf8(content.whole(entry.size, 1 << 20)?).unwrap(),
            Kind::Directory => {
                found.remove(path);
                return Ok(());
            }
            Kind::Other => "?".to_owned(),
        };
        found.insert(path.to_owned(), text);
        Ok(())
    })?;
    here.descend().map_err(stop)
}

/// What is seen of these layers, the uppermost first.
fn seen(layers: &[&[Vec<u8>]]) -> Vec<String> {
    let (mut so_far, mut found) = (Seen::default(), BTreeMap::new());
    for layer in layers {
        one(&tar(layer), &mut so_far, &mut found).unwrap();
    }
    found.into_iter().map(|(path, text)| format!("{path}={text}")).collect()
}

fn directory(path: &str) -> Vec<u8> {
    entry(path, b'5', b"")
}

#[test]
fn the_uppermost_layer_decides() {
    let below: &[Vec<u8>] = &[
        directory("configs/"),
        file("configs/a/one", "1"),
        file("./configs/a/two", "2"),
        file("/configs/b", "3"),
        file("configs.txt", "x"),
        file("other/configs/c", "x"),
    ];
    let all = ["a/one=1", "a/two=2", "b=3"];
    assert_eq!(seen(&[below]), all);
    let none: [&str; 0] = [];
    for (upper, expected) in [
        (vec![], all.to_vec()),
        (vec![file("configs/a/one", "new")], vec!["a/one=new", "a/two=2", "b=3"]),
        (vec![file("configs/a/.wh.one", "")], vec!["a/two=2", "b=3"]),
        (vec![file("configs/.wh.a", "")], vec!["b=3"]),
        (vec![file("configs/a/.wh..wh..opq", "")], vec!["b=3"]),
        (vec![file("configs/.wh.a", ""), file("configs/a/new", "4")], vec!["a/new=4", "b=3"]),
        (vec![file("configs/a/new", "4"), file("configs/.wh.a", "")], vec!["a/new=4", "b=3"]),
        (vec![file("configs/a", "a file now")], vec!["a=a file now", "b=3"]),
        (
            vec![file("configs/b/in", "a directory now")],
            vec!["a/one=1", "a/two=2", "b/in=a directory now"],
        ),
        (vec![directory("configs/b")], vec!["a/one=1", "a/two=2"]),
        (vec![entry("configs/b", b'2', b"")], vec!["a/one=1", "a/two=2", "b=?"]),
        (vec![entry("configs/a/one", b'1', b"")], vec!["a/one=?", "a/two=2", "b=3"]),
        (vec![file(".wh.configs", "")], none.to_vec()),
        (vec![file("configs/.wh..wh..opq", "")], none.to_vec()),
        (vec![file(".wh..wh..opq", "")], none.to_vec()),
        (vec![file("configs", "")], vec!["="]),
        (vec![directory("configs")], all.to_vec()),
        (vec![file("configs/.wh.zzz", ""), file(".wh.config", "")], all.to_vec()),
        // Twice in one layer: the last one.
        (
            vec![file("configs/b", "first"), file("configs/b", "last")],
            vec!["a/one=1", "a/two=2", "b=last"],
        ),
        (vec![file("configs/b", "first"), directory("configs/b")], vec!["a/one=1", "a/two=2"]),
        (
            vec![directory("configs/b"), file("configs/b", "last")],
            vec!["a/one=1", "a/two=2", "b=last"],
        ),
    ] {
        assert_eq!(seen(&[&upper, below]), expected, "{:?}", seen(&[&upper]));
        // What is between changes nothing.
        assert_eq!(seen(&[&upper, &[file("etc/x", "")], below]), expected);
    }
    // What the middle one hides, the lowest has; what the uppermost has, the middle cannot hide.
    let middle: &[Vec<u8>] = &[file("configs/.wh.a", ""), file("configs/b", "middle")];
    let upper: &[Vec<u8>] = &[file("configs/a/one", "upper")];
    assert_eq!(seen(&[upper, middle, below]), ["a/one=upper", "b=middle"]);
}

#[test]
fn nothing_below_is_wanted_when_all_is_hidden() {
    for (path, expected) in [
        (".wh.configs", true),
        ("configs/.wh..wh..opq", true),
        (".wh..wh..opq", true),
        ("configs", true),
        ("configs/a/.wh..wh..opq", false),
        (".wh.config", false),
    ] {
        let (mut so_far, mut found) = (Seen::default(), BTreeMap::new());
        one(&tar(&[file(path, "")]), &mut so_far, &mut found).unwrap();
        assert_eq!(so_far.all_is_hidden(), expected, "{path}");
    }
}

#[test]
fn layers_say_what_they_hold() {
    let holds = |entries: &[Vec<u8>]| {
        let layer = tar(entries);
        let held = one(&layer, &mut Seen::default(), &mut BTreeMap::new()).unwrap();
        let sorted = sort(&layer[..], &Digest::of(&layer), &directories(), &mut (1 << 30)).unwrap();
        assert_eq!(sorted.only_the_catalog(), held.only_the_catalog());
        assert_eq!(sorted.other, held.other);
        (held.configs, held.cache, held.other, held.parents.join(","))
    };
    let parents = |text: &str| text.to_owned();
    for (entries, expected) in [
        (vec![], (false, false, false, parents(""))),
        (
            vec![directory("./"), directory("configs"), file("configs/a", "")],
            (true, false, false, parents("")),
        ),
        (
            vec![directory("tmp/"), directory("tmp/cache"), file("tmp/cache/x", "")],
            (false, true, false, parents("tmp")),
        ),
        (vec![file("configs/a", ""), file("bin/opm", "")], (true, false, true, parents(""))),
        (vec![file(".wh.configs", "")], (true, false, false, parents(""))),
        (vec![file("configs/.wh..wh..opq", "")], (true, false, false, parents(""))),
        (vec![file("tmp/.wh.cache", "")], (false, true, false, parents(""))),
        (vec![file(".wh.tmp", "")], (false, true, true, parents(""))),
        (vec![file(".wh..wh..opq", "")], (true, true, true, parents(""))),
        (vec![file("tmp/other", "")], (false, false, true, parents(""))),
        (vec![directory("etc")], (false, false, true, parents(""))),
        (vec![file("configs/../etc/x", "")], (false, false, true, parents(""))),
        (vec![file("configs", "")], (true, false, false, parents(""))),
    ] {
        assert_eq!(holds(&entries), expected);
    }
}

#[test]
fn a_layer_that_is_sorted_is_read_no_further_than_it_takes() {
    // What follows is no tar, and the digest is another's.
    let mut layer = [file("configs/a", ""), file("bin/opm", "")].concat();
    layer.extend([7; 4096]);
    let nobody = Digest::of(b"nobody");
    let sorted = |layer: &[u8]| sort(layer, &nobody, &directories(), &mut (1 << 30));
    assert!(sorted(&layer).unwrap().other);
    // That it holds the catalog alone has to be proven.
    assert!(matches!(sorted(&tar(&[file("configs/a", "")])), Err(LayerError::Digest(_))));
}

#[test]
fn more_than_any_catalog_has_is_refused() {
    let many: Vec<Vec<u8>> =
        (0..FILES_MAX + 1).map(|n| file(&format!("configs/{n}"), "")).collect();
    let refused = one(&tar(&many), &mut Seen::default(), &mut BTreeMap::new());
    assert!(matches!(refused, Err(LayerError::Taker(_))), "{refused:?}");
    let cut = &tar(&[file("configs/a", &"x".repeat(5000))])[..2000];
    let refused = one(cut, &mut Seen::default(), &mut BTreeMap::new());
    assert!(matches!(refused, Err(LayerError::Tar(_))), "{refused:?}");
}
