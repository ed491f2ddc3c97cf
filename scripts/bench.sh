#!/usr/bin/env bash
# The bars of the project, measured side by side in one run: `bundle` against one pass over the bytes, and against peers where they are.
#
#   scripts/bench.sh                 the LARGE corpus, 5 rounds; a markdown table on stdout
#   scripts/bench.sh --write         the same table into docs/benchmarks.md as well
#   scripts/bench.sh --quick         a SMALL corpus, one round
#   scripts/bench.sh --rounds N --only sequences,link,refuse,many,peers
#   scripts/bench.sh registry        the mirror registry beside CNCF distribution, 5 rounds; --write, --quick and --rounds as above,
#                                    --only push,pull,cold,manifests,small,memory,start
#   scripts/bench.sh mirror          straight from one registry into another, beside `skopeo sync` and the floor; --write, --quick, --rounds
#   scripts/bench.sh catalog         Operator catalogs of 256 MiB and 1 GiB made of real packages, beside opm where it is; --write, --quick, --rounds
#
# CORPUS=DIR  a corpus that scripts/corpus.sh built; otherwise one is built under BENCH_DIR
# BENCH_DIR   work directory on a real file system with four times the corpus free (default ${TMPDIR:-/var/tmp}/bundle-bench)
# BUNDLE=FILE a binary that is there; otherwise the release binary is built; LOAD=FILE the client of `registry` (registry/examples/load.rs)
# CATALOGS=DIR real catalogs; CATALOG=FILE what makes large ones of them (bundler/examples/catalog.rs)
#
# Needs Debian's docker-registry and python3; skopeo and oc-mirror (v2) are measured where they are on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
size=LARGE
part=run
case ${1:-} in registry|catalog|mirror) part=$1; shift;; esac
for argument in "$@"; do case $argument in --quick) size=SMALL;; -h|--help) sed -n '2,19p' "$0"; exit 0;; esac; done
export BENCH_DIR=${BENCH_DIR:-${TMPDIR:-/var/tmp}/bundle-bench}
mkdir -p "$BENCH_DIR"
[ "$part" = catalog ] && needed=python3 || needed='docker-registry python3'
for tool in $needed; do
  command -v "$tool" >/dev/null || { echo "bench: $tool is missing (Debian package $tool)" >&2; exit 1; }
done
if [ -z "${BUNDLE:-}" ]; then
  cargo build --release --locked --bin bundle >&2
  BUNDLE=${CARGO_TARGET_DIR:-$PWD/target}/release/bundle
fi
export BUNDLE
if [ "$part" = registry ] && [ -z "${LOAD:-}" ]; then
  cargo build --release --locked --workspace --example load >&2
  LOAD=${CARGO_TARGET_DIR:-$PWD/target}/release/examples/load
fi
export LOAD
if [ "$part" = catalog ]; then
  if [ -z "${CATALOG:-}" ]; then
    cargo build --release --locked --workspace --example catalog >&2
    CATALOG=${CARGO_TARGET_DIR:-$PWD/target}/release/examples/catalog
  fi
  CATALOGS=${CATALOGS:-${BUNDLE_OPENSHIFT_DATA:-$PWD/../shared/openshift/data}/catalogs}
  [ -d "$CATALOGS" ] || { echo "bench: no real catalogs in $CATALOGS: set CATALOGS" >&2; exit 1; }
  export CATALOG CATALOGS
  exec python3 scripts/bench/catalog.py "$@"
fi
if [ -z "${CORPUS:-}" ]; then
  CORPUS=$BENCH_DIR/corpus-$size
  [ -f "$CORPUS/catalog.json" ] || scripts/corpus.sh build "$size" "$CORPUS" >&2
fi
export CORPUS
exec python3 "scripts/bench/$part.py" "$@"
