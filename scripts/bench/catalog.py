#!/usr/bin/env python3
"""catalog.py [--quick] [--rounds N] [--write]: what `scripts/bench.sh catalog` measures. See there.

Catalogs of real packages, the largest one repeated under other names until it has a gigabyte of JSON, as OCI layouts. In each round
`bundle create --dry-run` with an empty workspace (it reads the layer, chooses and rebuilds; images of bundles are blocked), the same again
from the workspace's copy, `bundle list operators`, and beside them `opm`, which loads all of a directory with the same files. Work directory,
binary, the maker (bundler/examples/catalog.rs) and the data come by environment."""
import argparse, glob, os, shutil, statistics, subprocess, sys, tarfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from measure import run
from run import MIB, first_line, into_page, log, machine

CONFIG = """kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
mirror:
  operators:
  - catalog: oci://%s
  blockedImages:
  - name: '@sha256:|:[^/]*$'
"""


class Bench:
    def __init__(self, options):
        self.options, self.rows = options, []
        self.bundle, self.maker = (os.path.abspath(os.environ[name]) for name in ("BUNDLE", "CATALOG"))
        self.dir = os.path.join(os.environ["BENCH_DIR"], "catalog")
        self.opm = shutil.which("opm")

    def quiet(self, argv):
        """Runs it with its output in a file."""
        output = os.open(os.path.join(self.dir, "output"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        kept = os.dup(1), os.dup(2)
        os.dup2(output, 1), os.dup2(output, 2)
        try:
            result = run(argv)
        finally:
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)
            for fd in (output, *kept):
                os.close(fd)
        if result["code"] != 0:
            sys.exit("%s ended with %d:\n%s" % (" ".join(argv), result["code"], open(os.path.join(self.dir, "output")).read()[-3000:]))
        result["cpu"] = result["user"] + result["sys"]
        return result

    def make(self, name, mib):
        """A layout with so many MiB of JSON, and the bytes of its JSON."""
        layout = os.path.join(self.dir, name)
        subprocess.run([self.maker, "make", layout, str(mib), os.environ["CATALOGS"]], check=True, stdout=subprocess.DEVNULL)
        layer = max(glob.glob(layout + "/blobs/sha256/*"), key=os.path.getsize)
        with tarfile.open(layer) as tar:
            size = sum(entry.size for entry in tar if entry.isfile())
        return layout, layer, size

    def one(self, label, mib, bars):
        layout, layer, size = self.make("layout", mib)
        configs = os.path.join(self.dir, "configs")
        if self.opm:
            os.makedirs(configs)
            subprocess.run(["tar", "-xf", layer, "-C", self.dir], check=True)
        config = os.path.join(self.dir, "config.yaml")
        with open(config, "w") as f:
            f.write(CONFIG % layout)
        workspace, home = (os.path.join(self.dir, name) for name in ("workspace", "home"))
        os.makedirs(home, exist_ok=True)
        os.environ.update(HOME=home, TMPDIR=home)
        create = [self.bundle, "create", "--config", config, "--to", self.dir + "/media", "--workspace", workspace, "--dry-run"]
        lists = [self.bundle, "list", "operators", "--catalog", "oci://" + layout, "--workspace", workspace]
        found = {}
        for number in range(self.options.rounds):
            log("%s, round %d" % (label, number + 1))
            shutil.rmtree(workspace, ignore_errors=True)
            for name, argv in (("first", create), ("again", create), ("list", lists)):
                found.setdefault(name, []).append(self.quiet(argv))
            # Seconds to minutes, and what it holds does not change.
            if self.opm and number == 0:
                found["validate"] = [self.quiet([self.opm, "validate", configs])]
                found["render"] = [self.quiet([self.opm, "render", configs, "-o", "json"])]
        middle = lambda name, what: statistics.median(one[what] for one in found[name])
        peak = max(one["peak"] for one in found["first"])
        rate = size / 1e6 / middle("first", "cpu")
        beside = lambda name: "" if name not in found else "; `opm %s` %.1f s, %.0f MiB" % (
            name, found[name][0]["wall"], found[name][0]["peak"] / MIB)
        label += " (%.0f MB of JSON)" % (size / 1e6)
        self.row(label + ": read, choose the heads, rebuild", "%.0f MB/s a core" % rate, "%.2f s, %.2f s of processor time%s%s" % (
            middle("first", "wall"), middle("first", "cpu"), beside("validate"), beside("render")), "≥ 100 MB/s" if bars else "", rate >= 100 if bars else None)
        self.row(label + ": peak memory of that", "%.0f MiB" % (peak / MIB), "", "≤ 256 MiB" if bars else "", peak <= 256 * MIB if bars else None)
        self.row(label + ": the same from the workspace", "%.2f s" % middle("again", "wall"), "%.0f MiB" % (max(one["peak"] for one in found["again"]) / MIB))
        self.row(label + ": `list operators` from the workspace", "%.2f s" % middle("list", "wall"), "%.0f MiB" % (max(one["peak"] for one in found["list"]) / MIB))
        for path in (layout, configs, workspace):
            shutil.rmtree(path, ignore_errors=True)

    def row(self, what, figure, detail, bar="", held=None):
        self.rows.append("| %s | %s | %s | %s | %s |" % (what, figure, detail, bar, {None: "", True: "yes", False: "**no**"}[held]))

    def all(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        if self.options.quick:
            self.one("64 MiB of real packages", 64, False)
        else:
            self.one("256 MiB, as the largest catalogs", 256, True)
            self.one("1 GiB of real packages under other names", 1024, True)
        shutil.rmtree(self.dir)
        opm = ", opm %s" % first_line([self.opm, "version"]) if self.opm else ""
        head = ["Rounds: %d. %s. %s%s." % (self.options.rounds, machine(), first_line([self.bundle, "version"]), opm), "",
                "| what | figure | | bar | held |", "|---|---|---|---|---|"]
        text = "\n".join(head + self.rows) + "\n"
        print(text)
        if self.options.write:
            into_page("catalog", text)


parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--write", action="store_true")
Bench(parser.parse_args()).all()
