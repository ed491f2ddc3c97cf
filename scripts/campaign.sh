#!/usr/bin/env bash
# The campaigns in their whole form: every byte, every length, every call at which a run can end, losses of power. About an hour on 2 cores.
#
#   scripts/campaign.sh              all of them
#   scripts/campaign.sh NAME         one: corruption, lengths, swaps, hostile, signed_nonsense, structured_changes, every_bit,
#                                    every_length, crash_points, kills, registry_kills, power_loss, two_creates, two_imports, a_create,
#                                    garbage (of a target, and of our registry: 10 minutes), faults
#   BUNDLE_CAMPAIGN=quick …          the form of `cargo test`
#
# Ends with one table of figures; what a case did when it went wrong is on stderr. Fails when a case was wrong or left out.
set -uo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,10p' "$0"; exit 0 ;; esac
export BUNDLE_CAMPAIGN=${BUNDLE_CAMPAIGN:-full} CARGO_TERM_COLOR=never RUST_BACKTRACE=0
log=$(mktemp "${TMPDIR:-/tmp}/bundle-campaign.XXXXXX")
trap 'rm -f "$log"' EXIT

# One campaign at a time: most of them use all cores. `--workspace` builds what the other tests build.
cargo test --workspace --locked --no-fail-fast --test campaign --test faults -- --nocapture --test-threads=1 "$@" >"$log" 2>&1
code=$?
[ $code -eq 0 ] || grep -vE '^ *(Compiling|Running|Finished)' "$log" >&2

printf '%-42s %10s %10s %6s\n' campaign asked run wrong
# A line follows the name of its test, which the harness prints without an end of line.
sed -nE 's/^.*campaign \| ([^|]+) \| ([^|]+) \| ([^|]+) \| (.+)$/\1\t\2\t\3\t\4/p' "$log" |
  awk -F '\t' '{ printf "%-42s %10s %10s %6s\n", $1, $2, $3, $4 } END { exit NR == 0 }' || { echo "no figures: no campaign of that name, or it did not build" >&2; code=1; }
exit $code
