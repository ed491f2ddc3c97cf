#!/usr/bin/env bash
# The whole road on one machine: two registries, a directory in the place of the disk, two sequences.
#
#   scripts/quickstart.sh            builds the release binary first
#   BUNDLE=path scripts/quickstart.sh   uses a binary that is there
#
# Needs Rust and python3. Everything it makes lies under .quickstart/ and is made anew at each run.
# Ends with code 0 only when every digest at the target equals the source's.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$root/.quickstart

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n== %s\n' "$*"; }
run() { printf '  $ %s\n' "${*//$work\//}"; "$@" 2>&1 | sed 's/^/    /'; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
bytes() { du -sb "$1" | cut -f1 | numfmt --to=iec --suffix=B; }

command -v python3 >/dev/null || die "python3 is missing: it makes the sample images (apt-get install python3)"
if [ -z "${BUNDLE:-}" ]; then
  command -v cargo >/dev/null || die "cargo is missing: see https://rustup.rs"
  say "Building bundle"
  cargo build --release --locked --bin bundle
  BUNDLE=${CARGO_TARGET_DIR:-$root/target}/release/bundle
fi
BUNDLE=$(readlink -f "$BUNDLE")
[ -x "$BUNDLE" ] || die "no binary at $BUNDLE"

servers=()
stop() { for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; }
trap stop EXIT
trap 'exit 130' INT TERM
rm -rf "$work"
mkdir -p "$work"
cd "$work"
mkdir bin media-1 media-2
ln -s "$BUNDLE" bin/bundle
export PATH=$work/bin:$PATH

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
serve() { # serve NAME PORT: an embedded registry with its own store
  bundle registry serve --http --data "$work/$1" --listen "127.0.0.1:$2" >"$work/$1.log" 2>&1 &
  servers+=($!)
  for _ in $(seq 100); do
    python3 -c 'import sys, urllib.request as u; u.urlopen("http://127.0.0.1:%s/v2/" % sys.argv[1], timeout=1)' "$2" 2>/dev/null && return
    sleep 0.1
  done
  sed 's/^/    /' "$work/$1.log"
  die "the registry $1 does not answer"
}
source=$(free_port); target=$(free_port)

say "1. Two registries: one with the network, one behind the gap"
serve source "$source"; serve target "$target"
python3 "$root/scripts/sample-images.py" push "127.0.0.1:$source" 1
echo "    source 127.0.0.1:$source holds four sample images, target 127.0.0.1:$target is empty"

configuration() { # configuration GENERATION
  echo "kind: ImageSetConfiguration"
  echo "apiVersion: mirror.openshift.io/v2alpha1"
  echo "mirror:"
  echo "  additionalImages:"
  python3 "$root/scripts/sample-images.py" refs "$1" | sed "s|^|    - name: 127.0.0.1:$source/|"
}

say "2. Connected side: the first sequence"
configuration 1 >imageset.yaml
sed 's/^/    /' imageset.yaml
run bundle create --config imageset.yaml --to media-1 --workspace connected
ls media-1 | sed 's/^/    /'

say "3. The public key crosses once, by hand; the medium each time"
run bundle import --from media-1 --trust connected/keys/default.pub.pem --workspace disconnected "docker://127.0.0.1:$target"
python3 "$root/scripts/sample-images.py" check "127.0.0.1:$source" "127.0.0.1:$target" 1

say "4. A day later one image has changed: the second sequence carries only that"
python3 "$root/scripts/sample-images.py" push "127.0.0.1:$source" 2
configuration 2 >imageset.yaml
run bundle create --config imageset.yaml --to media-2 --workspace connected
[ -f media-2/mirror_seq2.manifest.json ] || die "the second create made no sequence 2"
run bundle verify --from media-2 --trust connected/keys/default.pub.pem
run bundle import --from media-2 --trust connected/keys/default.pub.pem --workspace disconnected "docker://127.0.0.1:$target"
python3 "$root/scripts/sample-images.py" check "127.0.0.1:$source" "127.0.0.1:$target" 2

say "5. The same again changes nothing"
run bundle import --from media-2 --trust connected/keys/default.pub.pem --workspace disconnected "docker://127.0.0.1:$target"
run bundle create --config imageset.yaml --to media-2 --workspace connected
[ ! -e media-2/mirror_seq3.manifest.json ] || die "a create with nothing new made a sequence"

say "6. One flipped bit is refused, and named"
mkdir media-bad
cp media-2/* media-bad/
chmod u+w media-bad/*
python3 - media-bad/mirror_seq2_000000.tar <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(0, 2); middle = f.tell() // 2
    f.seek(middle); byte = f.read(1)[0]
    f.seek(middle); f.write(bytes([byte ^ 1]))
PYTHON
code=0
echo "  \$ bundle verify --from media-bad"
bundle verify --from media-bad --trust connected/keys/default.pub.pem 2>&1 | sed 's/^/    /' || code=$?
[ "$code" = 65 ] || die "a flipped bit gave exit code $code, expected 65"

if command -v skopeo >/dev/null; then
  say "7. Any client pulls from the target"
  skopeo copy --quiet --all --src-tls-verify=false "docker://127.0.0.1:$target/samples/everywhere:1.0" "oci:$work/pulled:1.0"
  echo "    skopeo copied samples/everywhere:1.0"
fi

first=$(du -sb media-1 | cut -f1); second=$(du -sb media-2 | cut -f1)
[ "$second" -lt $((first / 2)) ] || die "the increment ($second bytes) is not smaller than the first sequence ($first bytes)"
say "Done: sequence 1 took $(bytes media-1), sequence 2 $(bytes media-2); every digest at the target equals the source's"
