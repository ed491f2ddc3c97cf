#!/usr/bin/env python3
"""mirror.py [--quick] [--rounds N] [--write]: what `scripts/bench.sh mirror` measures. See there.

From one registry straight into an empty one: `bundle mirror`, the floor (the same blobs pulled, hashed and pushed, each once, then the mounts
and manifests, at the number of connections that was fastest before the first round), and `skopeo sync` where it is. They take turns; quoted
are medians of the rounds and of the rounds' ratios."""
import argparse, os, shutil, statistics, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import MIB, Bench, log
import subprocess

LANES = (2, 3, 4, 6, 8)


class Mirrors(Bench):
    def target(self):
        data = self.fresh("target")
        return data, self.registry(data)

    def gone(self, data, target):
        self.drop(target)
        shutil.rmtree(data)

    def ours(self, source):
        data, target = self.target()
        place = self.fresh("workspace")
        argv = [self.bundle, "mirror", "--config", self.configuration(source, "v1"), "--workspace", place, "docker://" + target.host]
        self.run("mirror", "bundle", argv)
        self.same(source, target, "v1")
        self.run("again", "bundle", argv)
        self.gone(data, target)

    def reference(self, source, lanes, name="mirror"):
        data, target = self.target()
        m = self.floor(name, "mirror", lanes, "-", "v1", source, target)
        self.gone(data, target)
        return m["wall"]

    def skopeo(self, source):
        data, target = self.target()
        listed = os.path.join(self.dir, "sync.yaml")
        repos = {}
        for ref in self.refs["v1"]:
            repo, tag = ref.split(":")
            repos.setdefault(repo, []).append(tag)
        with open(listed, "w") as f:
            f.write("%s:\n  tls-verify: false\n  images:\n" % source.host)
            for repo, tags in repos.items():
                f.write("    %s: [%s]\n" % (repo, ", ".join("'%s'" % tag for tag in tags)))
        self.run("mirror", "skopeo", ["skopeo", "sync", "--all", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false",
                                      listed, target.host])
        self.gone(data, target)

    def all(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        has_skopeo = shutil.which("skopeo") is not None
        try:
            source = self.registry(self.fresh("source"))
            log("pushing the corpus to the source registry")
            subprocess.run([os.path.dirname(os.path.abspath(__file__)) + "/../corpus.sh", "push", self.corpus, source.host, "all"],
                           check=True, stdout=subprocess.DEVNULL)
            tried = {lanes: self.reference(source, lanes, "lanes") for lanes in LANES}
            lanes = min(tried, key=tried.get)
            for n in range(self.options.rounds):
                log("round %d of %d" % (n + 1, self.options.rounds))
                sides = [lambda: self.ours(source), lambda: self.reference(source, lanes)]
                if has_skopeo:
                    sides.append(lambda: self.skopeo(source))
                for side in sides[n % len(sides):] + sides[:n % len(sides)]:
                    side()
        finally:
            for server in list(self.servers):
                server.stop()
        ours = self.walls("mirror", "bundle")

        def ratio(what, side, bar):
            theirs = self.walls("mirror", side)
            ratios = [a / b for a, b in zip(ours, theirs)]
            if ratios:
                value = statistics.median(ratios)
                self.row(what, "%.2f ×" % value, "%.2f s ÷ %.2f s; rounds %s" % (
                    statistics.median(ours), statistics.median(theirs), ", ".join("%.2f" % one for one in ratios)), "≤ %.1f ×" % bar, value <= bar)
        ratio("mirror ÷ floor (%d connections)" % lanes, "one pass", 1.2)
        ratio("mirror ÷ `skopeo sync`", "skopeo", 0.6)
        self.row("peak memory of it", "%.0f MiB" % (self.most("mirror", "peak") / MIB), "", "", None)
        self.row("bytes it writes to disk", "%.1f MiB" % (self.most("mirror", "written") / MIB), "", "", None)
        self.row("the same again, nothing new", "%.2f s" % statistics.median(self.walls("again", "bundle")), "", "", None)
        if not has_skopeo:
            self.notes.append("skopeo is not on this machine.")
        self.print("mirror")
        shutil.rmtree(self.dir)
        return 1 if any(row.endswith("**no** |") for row in self.rows) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    sys.exit(Mirrors(options).all())
