#!/usr/bin/env bash
# The OCI distribution conformance suite against `bundle registry serve`: version 1.1, every API and every kind of content switched on.
#
#   scripts/conformance.sh             builds the release binary first
#   BUNDLE=path scripts/conformance.sh   uses a binary that is there
#
# CONFORMANCE_DIR   where the suite is built and leaves its reports: results.yaml, report.html, junit.xml (default .conformance)
# CONFORMANCE_SUITE a version of the Go module instead of the one below
# OCI_…             any variable of the suite wins over what is set here
#
# Ends with 0 when nothing failed, 1 when something did, 3 when the suite cannot be had: no Go, or a module proxy that does not serve it.
# `cargo test --test server conformance` is a matrix of our own that needs neither.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,13p' "$0"; exit 0 ;; esac
module=github.com/opencontainers/distribution-spec/conformance
suite=${CONFORMANCE_SUITE:-v0.0.0-20260831232431-97274622c111}
work=$(mkdir -p "${CONFORMANCE_DIR:-.conformance}" && cd "${CONFORMANCE_DIR:-.conformance}" && pwd)
absent() { printf 'conformance: the suite was not run: %s\nhint: `cargo test --workspace --test server conformance` runs a matrix of our own\n' "$*" >&2; exit 3; }

command -v go >/dev/null || absent 'Go is missing (1.24 or later)'
# Not `go install`: it asks for the list of versions, which some proxies refuse for this module.
fetch() { (cd "$work" && GOFLAGS=-mod=mod go mod download -json "$module@$1" 2>/dev/null); }
# A proxy may serve no version but the newest: that one then, and it is named.
found=$(fetch "$suite") || found=$(fetch latest) ||
  absent "$(sed -n 's/^\t"Error": "\(.*\)",\{0,1\}$/\1/p' <<<"$found" | sed 's/\\[nt]/ /g')"
echo "conformance: $module $(sed -n 's/^\t"Version": "\(.*\)",*$/\1/p' <<<"$found")"
source=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$found")
rm -rf "$work/source" "$work/data" "$work/results"
cp -r "$source" "$work/source"
chmod -R u+w "$work/source"
(cd "$work/source" && go build -o ../suite . >"$work/build.log" 2>&1) || absent "it does not build: $(tail -n 3 "$work/build.log" | tr '\n' ' ')"

if [ -z "${BUNDLE:-}" ]; then
  cargo build --release --locked --bin bundle >&2
  BUNDLE=${CARGO_TARGET_DIR:-$PWD/target}/release/bundle
fi
"$BUNDLE" registry serve --data-dir "$work/data" --http --listen 127.0.0.1:0 --output json >"$work/serve.out" 2>"$work/serve.log" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
  address=$(sed -nE 's/.*"address": *"([^"]+)".*/\1/p' "$work/serve.out")
  [ -z "$address" ] || break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
[ -n "$address" ] || { echo "conformance: the registry does not start:" >&2; cat "$work/serve.log" >&2; exit 1; }

# What the suite leaves out by itself, and ours has. OCI_DATA_SPARSE stays off, as it does there: an image whose blobs are not there is
# refused on purpose (MANIFEST_BLOB_UNKNOWN); an index whose manifests are not there is taken, as our own matrix checks.
export OCI_API_BLOBS_DIGEST_HEADER=${OCI_API_BLOBS_DIGEST_HEADER:-true} OCI_API_BLOBS_UPLOAD_CANCEL=${OCI_API_BLOBS_UPLOAD_CANCEL:-true}
export OCI_API_MANIFESTS_DIGEST_HEADER=${OCI_API_MANIFESTS_DIGEST_HEADER:-true} OCI_API_MANIFESTS_TAG_PARAM=${OCI_API_MANIFESTS_TAG_PARAM:-true}
export OCI_DATA_SHA512=${OCI_DATA_SHA512:-true}
export OCI_VERSION=${OCI_VERSION:-1.1} OCI_REGISTRY=${OCI_REGISTRY:-$address} OCI_TLS=${OCI_TLS:-disabled}
export OCI_RESULTS_DIR=$work/results
code=0
(cd "$work" && ./suite >"$work/report.txt" 2>&1) || code=$?
[ -f "$work/results/junit.xml" ] || { cat "$work/report.txt" >&2; echo "conformance: the suite ended without a result" >&2; exit 1; }
[ $code -eq 0 ] || grep -E -A3 ': (FAIL|Error)' "$work/report.txt" | tail -n 200 >&2
sed -n '/^OCI Conformance Result/,$p' "$work/report.txt"
printf 'reports: %s\n' "$work/results"
exit $code
