#!/usr/bin/env bash
# Every check of the project, as a person and as CI run it. Ends with a line `N passed, N failed`.
#
#   scripts/test.sh            all of it
#   NO_INSTALL=1 …             installs nothing: what is missing is skipped and named
#   TEST_ONLY='fmt clippy' …   only the steps of these names
#
# Two build profiles only: dev for clippy and all tests, release for the static binary.
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
export CI=true TERM=dumb CARGO_TERM_COLOR=never RUST_BACKTRACE=1
target=${CARGO_TARGET_DIR:-$PWD/target}
[ -d "$target/debug" ] || export CARGO_INCREMENTAL=0 # only costs where nobody builds a second time
musl=x86_64-unknown-linux-musl
logs=$(mktemp -d "${TMPDIR:-/tmp}/bundle-test.XXXXXX")
trap 'rm -rf "$logs"' EXIT
[ -d "${HOME:-}/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
passed=0 failed=0 failures=() skips=()
export BUNDLE_SKIPS=$logs/skips
: >"$BUNDLE_SKIPS"

wanted() { [ -z "${TEST_ONLY:-}" ] || [[ " $TEST_ONLY " == *" $1 "* ]]; }
skip() { printf -- '-- %-24s skipped: %s\n' "$1" "$2"; skips+=("$1: $2"); }

# step NAME COMMAND…: one check; its output is shown when it fails.
step() {
  local name=$1 start=$SECONDS; shift
  wanted "$name" || return 0
  printf -- '-- %s\n' "$name"
  if "$@" >"$logs/$name" 2>&1; then
    passed=$((passed + 1)); printf -- '-- %-24s ok, %d s\n' "$name" $((SECONDS - start))
  else
    failed=$((failed + 1)); failures+=("$name")
    tail -n 120 "$logs/$name" | sed 's/^/   | /'
    printf -- '-- %-24s FAILED, %d s\n' "$name" $((SECONDS - start))
  fi
}

# cargo_tests NAME ARGUMENT…: counts each test. A build that fails is one failure.
cargo_tests() {
  local name=$1 start=$SECONDS ok=0 bad=0 code=0 numbers; shift
  wanted "$name" || return 0
  printf -- '-- %s\n' "$name"
  cargo "$@" 2>&1 | tee "$logs/$name" | grep -E --line-buffered '^(test result:|test .* FAILED$|error)|^ +(Running|Doc-tests)' | sed 's/^/   | /'
  code=${PIPESTATUS[0]}
  numbers=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$logs/$name" | awk '{p+=$1; f+=$2} END {print p+0, f+0}')
  read -r ok bad <<<"$numbers"
  passed=$((passed + ok)) failed=$((failed + bad))
  if [ "$code" -ne 0 ]; then
    [ "$bad" -gt 0 ] || { bad=1; failed=$((failed + 1)); } # it did not build
    failures+=("$name")
    awk '/^failures:$/ {on = 1} on; /^test result/ {on = 0}' "$logs/$name" | head -n 400 | sed 's/^/   | /'
    [ "$ok" -gt 0 ] || tail -n 60 "$logs/$name" | sed 's/^/   | /'
  fi
  printf -- '-- %-24s %d passed, %d failed, %d s\n' "$name" "$ok" "$bad" $((SECONDS - start))
}

tell() { # the tally, and the code
  sort -u "$BUNDLE_SKIPS" | while read -r line; do printf 'skipped: %s\n' "$line"; done
  [ ${#skips[@]} -eq 0 ] || printf 'skipped: %s\n' "${skips[@]}"
  [ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
  printf 'took %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

# What the tests use, as Debian packages: `command package`.
install_tools() {
  local missing=() sudo=()
  while read -r command package; do
    command -v "$command" >/dev/null || missing+=("$package")
  done <<'END'
cc build-essential
python3 python3
curl curl
openssl openssl
docker-registry docker-registry
skopeo skopeo
gpg gnupg
podman podman
containerd containerd
bsdtar libarchive-tools
pigz pigz
strace strace
mkfs.vfat dosfstools
musl-gcc musl-tools
chromium chromium
END
  [ ${#missing[@]} -gt 0 ] || { echo "-- tools: all there"; return; }
  if [ -n "${NO_INSTALL:-}" ]; then skip tools "not installed: ${missing[*]}"; return; fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then skip tools "no root and no sudo to install ${missing[*]}"; return; fi
    sudo=(sudo -n)
  fi
  command -v apt-get >/dev/null || { skip tools "no apt-get to install ${missing[*]}"; return; }
  echo "-- tools: installing ${missing[*]}"
  local start=$SECONDS package
  "${sudo[@]}" apt-get update -qq >"$logs/apt" 2>&1
  # RUNLEVEL=1: the packages' services are not started. One by one, so that one that is not to be had costs only itself.
  for package in "${missing[@]}"; do
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -qq --no-install-recommends "$package" >>"$logs/apt" 2>&1 || skip tools "cannot install $package"
  done
  echo "-- tools: $((SECONDS - start)) s"
}

# Through the Go module proxy, where Go is: one more client to agree with, a real S3 server, the reader of catalogs.
install_go_tools() {
  export PATH=$target/go-bin:$PATH
  go_tool crane go_install github.com/google/go-containerregistry/cmd/crane@v0.20.6
  go_tool versitygw go_install github.com/versity/versitygw/cmd/versitygw@v1.8.0
  go_tool helm go_build helm.sh/helm/v3@v3.17.3 ./cmd/helm
  go_tool opm go_build github.com/operator-framework/operator-registry@v1.55.0 ./cmd/opm -tags=containers_image_openpgp
}

go_tool() {
  local name=$1 start=$SECONDS; shift
  command -v "$name" >/dev/null && return
  [ -z "${NO_INSTALL:-}" ] || { skip "$name" "not installed"; return; }
  command -v go >/dev/null || { skip "$name" "no Go on this machine"; return; }
  "$@" >"$logs/$name" 2>&1 || skip "$name" "$1 failed: $(tail -n 1 "$logs/$name")"
  echo "-- $name: $((SECONDS - start)) s"
}

go_install() { GOBIN=$target/go-bin timeout 600 go install "$1"; }

# A module that replaces others is no matter for `go install`: it is built where it lies.
go_build() {
  local module=$1 package=$2 source; shift 2
  source=$(go mod download -json "$module" | python3 -c 'import json, sys; it = json.load(sys.stdin); print(it.get("Dir") or sys.exit(it.get("Error")))') || return
  CGO_ENABLED=0 timeout 1200 go build -C "$source" -ldflags='-s -w' "$@" -o "$target/go-bin/" "$package" && return
  [ $? -ne 124 ] || echo "not built in 20 minutes"
  return 1
}

syntax() {
  local file
  for file in .ci/run scripts/*.sh; do
    sed '/^#__PYTHON__$/,$d' "$file" | bash -n || { echo "in $file"; return 1; }
    [ -x "$file" ] || { echo "$file has no run bit"; return 1; }
  done
  for file in scripts/*.py scripts/bench/*.py; do
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" || return
  done
}

static_binary() {
  # A toolchain that was there before does not get the target that rust-toolchain.toml names.
  if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx "$musl"; then
    rustup target add "$musl" || return
  fi
  cargo build --release --locked --target "$musl" --bin bundle || return
  local binary=$target/$musl/release/bundle linked
  linked=$(ldd "$binary" 2>&1)
  echo "$linked"; ls -l "$binary"
  [[ $linked == *"statically linked"* || $linked == *"not a dynamic executable"* ]] || return
  "$binary" version
}

# The database of advisories: fetched where there is a network, else that of an earlier run.
advisory_database() {
  wanted advisories || return 0
  timeout 120 cargo deny fetch db >"$logs/advisory-db" 2>&1 ||
    compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null
}

codec_in_one_file() { # bincode stays in one file: docs/decisions says why
  ! grep -rln --include='*.rs' 'bincode::' . --exclude-dir=target --exclude-dir=.git | grep -v '^./format-spec/src/codec.rs$'
}

main() { # one function: a script that is edited while it runs goes on as it was
  if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the version"
    failed=1; tell; exit 1
  fi
  rustc --version || { failed=1; failures+=("toolchain"); tell; exit 1; }
  install_tools
  install_go_tools

  step syntax syntax
  step codec codec_in_one_file
  step fmt cargo fmt --all --check
  step clippy cargo clippy --workspace --all-targets --locked -- -D warnings
  cargo_tests test test --workspace --locked --no-fail-fast
  step import-only cargo check --locked --no-default-features --features import --bin bundle
  step create-only cargo check --locked --no-default-features --features create --bin bundle
  step doc env RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items --locked
  if [ -f format-spec/vectors/read.py ]; then step vectors python3 format-spec/vectors/read.py; fi
  if command -v cargo-deny >/dev/null; then
    step deny cargo deny --offline check bans licenses sources
    if advisory_database; then
      step advisories cargo deny --offline check advisories
    else
      skip advisories "the database of advisories cannot be had"
    fi
  else
    skip deny "cargo-deny is not installed: left out"
  fi
  if command -v musl-gcc >/dev/null; then
    step static static_binary
    step quickstart env BUNDLE="$target/$musl/release/bundle" scripts/quickstart.sh
  else
    skip static "no musl-gcc"
    step quickstart scripts/quickstart.sh
  fi
  tell
}

main
exit
