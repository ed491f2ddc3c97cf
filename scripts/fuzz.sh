#!/usr/bin/env bash
# Every parser of foreign bytes, fed with bytes that nobody meant.
#
#   scripts/fuzz.sh                     each target for 60 s, one after the other
#   scripts/fuzz.sh --seconds 1800      each for half an hour
#   scripts/fuzz.sh [--seconds N] head seal
#
# Needs the nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`). What is found lies in fuzz/artifacts; the corpus grows in
# fuzz/corpus. Both stay on this machine. Ends with a table, and with 1 when a target found something or did not run. Real graphs, payloads and signatures
# are seeds too where BUNDLE_OPENSHIFT_DATA says where they are.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=60
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds N}; shift;;
    -h|--help) sed -n '2,11p' "$0"; exit 0;;
    *) targets+=("$1");;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "fuzz: cargo-fuzz or the nightly toolchain is missing" >&2; exit 1; }

# A file of keys and a signature, as the target has them: the length of the first before it.
signed() {
  local size
  size=$(stat -c %s "$1") || return
  printf "\\x$(printf %02x $((size >> 8)))\\x$(printf %02x $((size & 255)))"
  cat "$1" "$2"
}

# What is good already is the best beginning.
seeds() {
  local real=${BUNDLE_OPENSHIFT_DATA:-} file
  mkdir -p "fuzz/corpus/$1"
  case $1 in
    head | seal) for file in format-spec/vectors/*/*.manifest.*; do cp "$file" "fuzz/corpus/$1/$(echo "$file" | tr / -)"; done;;
    # Without the 24 bytes that the target puts before them.
    index) for file in format-spec/vectors/*/*.index; do tail -c +25 "$file" >"fuzz/corpus/$1/$(echo "$file" | tr / -)"; done;;
    *) [ ! -d "fuzz/seeds/$1" ] || cp "fuzz/seeds/$1"/* "fuzz/corpus/$1/";;
  esac
  [ -d "$real" ] || return 0
  case $1 in
    # The small ones: what is large is slow, and says nothing new.
    graph) for file in "$real"/cincinnati/assembled-2021/*-4.9.*.json; do install -m 644 "$file" "fuzz/corpus/$1/real-${file##*/}"; done;;
    release_payload) for file in "$real"/release/release-metadata/* "$real"/release/template/*; do install -m 644 "$file" "fuzz/corpus/$1/real-${file##*/}"; done;;
    release_signature) for file in "$real"/signatures/store/*/signature-1; do
      signed "$real/signatures/keys/verifier-public-key-redhat-release" "$file" >"fuzz/corpus/$1/real-$(echo "$file" | sha256sum | head -c 16)"; done;;
  esac
}

found=0
table=
for target in "${targets[@]}"; do
  seeds "$target"
  log=$(mktemp)
  words=()
  [ ! -f "fuzz/dictionaries/$target.dict" ] || words=(-dict="fuzz/dictionaries/$target.dict")
  echo "-- $target, $seconds s"
  start=$(date +%s)
  if cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 ${words[@]+"${words[@]}"} >"$log" 2>&1; then
    verdict="no finding"
  else
    verdict="FOUND"
    found=1
    tail -40 "$log"
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  [ -n "$runs" ] || { verdict="did not run"; found=1; }
  table+=$(printf '| %-16s | %8s s | %12s | %s |' "$target" "$(($(date +%s) - start))" "${runs:-0}" "$verdict")$'\n'
  rm -f "$log"
done
echo
echo "| target           |       time |         runs | |"
echo "|---|---|---|---|"
printf '%s' "$table"
exit $found
