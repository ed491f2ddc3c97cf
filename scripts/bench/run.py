#!/usr/bin/env python3
"""run.py [--quick] [--rounds N] [--only A,B] [--write]: what scripts/bench.sh measures. See there.

One source registry holds both generations of the corpus. In each round `bundle` and the one-pass reference take turns (who is
first changes), each import into an empty target, with a sync before each measurement. Quoted are medians of the rounds, and the median
of the rounds' ratios: the two sides of a ratio ran within the same minute. Work directory, corpus and binary come by environment."""
import argparse, hashlib, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tarfile, time, urllib.request

here = os.path.dirname(os.path.abspath(__file__))

MIB = 1 << 20
LINK_MBPS, RTT_MS = 125.0, 20  # 1 Gbit/s is 125 MB/s


def log(text):
    print("%s %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A child process that listens on a port; `up` waits until it does."""

    def __init__(self, argv, port, output):
        self.port, self.host = port, "127.0.0.1:%d" % port
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=open(output, "w"), stderr=subprocess.STDOUT)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit("%s does not listen: %s" % (argv[0], open(output).read()[-500:]))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def into_page(mark, text):
    """Puts a table into docs/benchmarks.md, between the two lines with this mark."""
    path = os.path.join(here, "..", "..", "docs", "benchmarks.md")
    page = open(path).read()
    begin, end = "<!-- %s: begin -->\n" % mark, "<!-- %s: end -->" % mark
    before, rest = page.split(begin)
    with open(path, "w") as f:
        f.write(before + begin + text + end + rest.split(end)[1])


class Bench:
    def __init__(self, options):
        self.options = options
        self.bundle = os.path.abspath(os.environ["BUNDLE"])
        self.corpus = os.path.abspath(os.environ["CORPUS"])
        self.dir = os.path.join(os.environ["BENCH_DIR"], "run")
        self.servers, self.rows, self.notes = [], [], []
        self.values = {}  # (name, side) -> list of measurements
        self.made = 0
        with open(self.corpus + "/catalog.json") as f:
            catalog = json.load(f)
        self.refs = {g: ["%s:%s" % (x["repo"], x["tag"]) for x in catalog[g]] for g in ("v1", "v2")}
        blobs = {g: self.unique(catalog[g]) for g in ("v1", "v2")}
        self.bytes = {"v1": sum(blobs["v1"].values()),
                      "delta": sum(z for d, z in blobs["v2"].items() if d not in blobs["v1"])}
        self.count = {"v1": len(blobs["v1"]), "delta": len(set(blobs["v2"]) - set(blobs["v1"]))}

    @staticmethod
    def unique(items):
        found = {}

        def walk(x):
            for child in x["children"]:
                walk(child)
            found.update((d, z) for d, z in x["blobs"])
        for x in items:
            walk(x)
        return found

    # servers and directories

    def fresh(self, name):
        self.made += 1
        path = os.path.join(self.dir, "%s-%d" % (name, self.made))
        os.makedirs(path)
        return path

    def registry(self, data):
        port = free_port()
        config = data + ".yml"
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                    "storage: {filesystem: {rootdirectory: '%s'}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}\n"
                    "http: {addr: '127.0.0.1:%d'}\n" % (data, port))
        server = Server(["docker-registry", "serve", config], port, data + ".log")
        self.servers.append(server)
        return server

    def relay(self, to):
        port, stats = free_port(), os.path.join(self.dir, "relay-%d.json" % free_port())
        server = Server([sys.executable, here + "/proxy.py", str(port), str(to.port), str(LINK_MBPS), str(RTT_MS), stats], port, stats + ".log")
        server.stats = stats
        self.servers.append(server)
        return server

    @staticmethod
    def relay_counts(relay):
        time.sleep(0.7)  # it writes its counts every 0.3 s
        with open(relay.stats) as f:
            return json.load(f)

    def drop(self, server):
        server.stop()
        self.servers.remove(server)

    def configuration(self, source, generation):
        path = os.path.join(self.dir, "imageset-%s-%d.yaml" % (generation, source.port))
        with open(path, "w") as f:
            f.write("kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror:\n  additionalImages:\n")
            f.writelines("    - name: %s/%s\n" % (source.host, ref) for ref in self.refs[generation])
        return path

    # one measured command

    def run(self, name, side, argv, env=None, codes=(0,)):
        subprocess.run(["sync"], check=True)
        out = os.path.join(self.dir, "last.out")
        # In a small process of its own: a child's peak memory is never less than what its parent had when it was made.
        with open(out, "w") as o, open(out + ".err", "w") as e:
            subprocess.run([sys.executable, "-S", here + "/measure.py", out + ".json", "--"] + argv,
                           env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL, stdout=o, stderr=e)
        with open(out + ".json") as f:
            m = json.load(f)
        if m["code"] not in codes:
            sys.exit("%s (%s) ended with %d, expected %s\n%s\n%s" % (
                name, side, m["code"], codes, " ".join(argv), (open(out).read() + open(out + ".err").read())[-3000:]))
        self.values.setdefault((name, side), []).append(m)
        log("%-24s %-8s %7.2f s  user %6.2f  sys %6.2f  peak %6.1f MiB  written %9.1f MiB" % (
            name, side, m["wall"], m["user"], m["sys"], m["peak"] / MIB, m["written"] / MIB))
        return m

    def create(self, name, source, generation, to, workspace):
        return self.run(name, "bundle", [self.bundle, "create", "--config", self.configuration(source, generation),
                                         "--to", to, "--workspace", workspace])

    def load(self, name, media, target, workspace, trust, codes=(0,)):
        return self.run(name, "bundle", [self.bundle, "import", "--from", media, "--trust", trust,
                                         "--workspace", workspace, "docker://" + target.host], codes=codes)

    def floor(self, name, mode, lanes, archive, generation, source, target=None):
        return self.run(name, "one pass", [sys.executable, here + "/floor.py", mode, str(lanes), archive, generation, self.corpus],
                        {"SRC": source.host, "DST": target.host if target else source.host})

    # the parts of the bench

    def sequences(self, source, round_number):
        """Create and import, both generations, both sides. Leaves media and archives of the last round."""
        media, workspace = {"v1": self.fresh("media"), "delta": self.fresh("media")}, self.fresh("connected")
        archive = {"v1": os.path.join(self.fresh("floor"), "a"), "delta": os.path.join(self.fresh("floor"), "a")}

        def ours():
            self.create("create", source, "v1", media["v1"], workspace)
            self.create("create delta", source, "v2", media["delta"], workspace)
            self.create("create nothing new", source, "v2", self.fresh("none"), workspace)

        def reference():
            self.floor("create", "create", 2, archive["v1"], "v1", source)
            self.floor("create delta", "create", 2, archive["delta"], "delta", source)

        def ours_import():
            data = self.fresh("target")
            target, place = self.registry(data), self.fresh("disconnected")
            self.load("import", media["v1"], target, place, self.trust)
            self.load("import delta", media["delta"], target, place, self.trust)
            self.load("import again", media["delta"], target, place, self.trust)
            self.same(source, target, "v2")
            self.drop(target)
            shutil.rmtree(data)

        def reference_import():
            data = self.fresh("target")
            target = self.registry(data)
            self.floor("import", "import", 6, archive["v1"], "v1", source, target)
            self.floor("import delta", "import", 6, archive["delta"], "delta", source, target)
            self.drop(target)
            shutil.rmtree(data)

        self.trust = os.path.join(workspace, "keys", "default.pub.pem")
        for pair in ((ours, reference), (ours_import, reference_import)):
            for side in pair if round_number % 2 == 0 else reversed(pair):
                side()
        if round_number + 1 < self.options.rounds:
            for path in list(media.values()) + [os.path.dirname(a) for a in archive.values()]:
                shutil.rmtree(path)
        self.media, self.workspace, self.archive = media, workspace, archive

    def same(self, source, target, generation):
        """Every tag's digest at the target equals the source's."""
        accept = ("application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
                  "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json")
        for ref in self.refs[generation]:
            repo, tag = ref.split(":")
            got = []
            for host in (source.host, target.host):
                ask = urllib.request.Request("http://%s/v2/%s/manifests/%s" % (host, repo, tag), headers={"Accept": accept})
                with urllib.request.urlopen(ask) as answer:
                    got.append(hashlib.sha256(answer.read()).hexdigest())
            if got[0] != got[1]:
                sys.exit("%s: the target has %s, the source %s" % (ref, got[1], got[0]))

    def link(self, source):
        relay = self.relay(source)
        media, workspace = self.fresh("media"), self.fresh("connected")
        self.create("link create", relay, "v1", media, workspace)
        self.values["link create", "wire"] = [self.relay_counts(relay)["down"]]
        archive = os.path.join(self.fresh("floor"), "a")
        self.floor("link create", "create", 2, archive, "v1", relay)
        self.drop(relay)
        data = self.fresh("target")
        target = self.registry(data)
        relay = self.relay(target)
        self.load("link import", media, relay, self.fresh("disconnected"), os.path.join(workspace, "keys", "default.pub.pem"))
        self.values["link import", "wire"] = [self.relay_counts(relay)["up"]]
        self.drop(relay)
        self.drop(target)
        shutil.rmtree(data)
        # What the relay itself makes of the machine: it is one Python process, which looks through what goes up.
        data = self.fresh("target")
        target = self.registry(data)
        relay = self.relay(target)
        self.floor("link import", "import", 6, archive, "v1", source, relay)
        self.drop(relay)
        self.drop(target)
        for path in (data, media, os.path.dirname(archive)):
            shutil.rmtree(path)

    def refuse(self):
        data = self.fresh("target")
        target = self.registry(data)
        relay = self.relay(target)
        parts = sorted(n for n in os.listdir(self.media["v1"]) if n.endswith(".tar"))
        other = sorted(n for n in os.listdir(self.media["delta"]) if n.endswith(".tar"))[0]
        for fault, codes in (("missing", (66,)), ("short", (65, 66)), ("foreign", (65, 66, 67))):
            bad = self.fresh("bad")
            for name in os.listdir(self.media["v1"]):
                os.symlink(os.path.join(self.media["v1"], name), os.path.join(bad, name))
            victim = os.path.join(bad, parts[-1])
            os.unlink(victim)
            if fault == "short":
                with open(os.path.join(self.media["v1"], parts[-1]), "rb") as f, open(victim, "wb") as g:
                    g.write(f.read(MIB))
            elif fault == "foreign":
                shutil.copy(os.path.join(self.media["delta"], other), victim)
            self.load("refuse " + fault, bad, relay, self.fresh("disconnected"), self.trust, codes=codes)
        self.values["refuse", "requests"] = [sum(self.relay_counts(relay)[m] for m in ("GET", "HEAD", "POST", "PATCH", "PUT"))]
        self.drop(relay)
        self.drop(target)

    def many(self):
        """Numbers instead of bytes: 100,000 blobs in the history, then one image more."""
        images, layers = (50, 199) if self.options.quick else (500, 199)
        port = free_port()
        source = Server([sys.executable, here + "/many.py", str(port), str(images + 1), str(layers)], port, os.path.join(self.dir, "many.log"))
        self.servers.append(source)
        self.blobs_known = images * (layers + 1)
        self.refs["many"] = ["many/%d:1" % n for n in range(images)]
        workspace = self.fresh("connected")
        self.create("many blobs", source, "many", self.fresh("media"), workspace)
        self.refs["many"].append("many/%d:1" % images)
        self.create("many blobs known", source, "many", self.fresh("media"), workspace)
        self.drop(source)
        # Many images of few blobs: names and manifests instead of blobs.
        self.images = 1000 if self.options.quick else 10000
        port = free_port()
        source = Server([sys.executable, here + "/many.py", str(port), str(self.images), "3"], port, os.path.join(self.dir, "many.log"))
        self.servers.append(source)
        self.refs["many"] = ["many/%d:1" % n for n in range(self.images)]
        workspace, media = self.fresh("connected"), self.fresh("media")
        self.create("many images", source, "many", media, workspace)
        self.drop(source)
        self.run("many images imported", "bundle", [self.bundle, "import", "--from", media, "--workspace", self.fresh("disconnected"),
                                                    "--trust", os.path.join(workspace, "keys", "default.pub.pem")])

    def peers(self, source):
        if shutil.which("skopeo"):
            tree = self.fresh("skopeo")
            copy = "set -e; for r in %s; do skopeo copy -q --all --preserve-digests %s; done"
            refs = " ".join(self.refs["v1"])
            self.run("create", "skopeo", ["bash", "-c", copy % (
                refs, '--src-tls-verify=false docker://%s/$r dir:%s/$(echo $r | tr /: __)' % (source.host, tree))])
            data = self.fresh("target")
            target = self.registry(data)
            self.run("import", "skopeo", ["bash", "-c", copy % (
                refs, '--dest-tls-verify=false dir:%s/$(echo $r | tr /: __) docker://%s/$r' % (tree, target.host))])
            self.values["media", "skopeo"] = [self.tree_bytes(tree)]
            self.drop(target)
            shutil.rmtree(data)
            shutil.rmtree(tree)
        else:
            self.notes.append("skopeo is not on this machine.")
        if shutil.which("oc-mirror"):
            out, cache = self.fresh("oc-mirror"), self.fresh("oc-cache")
            common = ["oc-mirror", "--v2", "-c", self.configuration(source, "v1"), "--cache-dir", cache, "--remove-signatures"]
            self.run("create", "oc-mirror", common + ["--src-tls-verify=false", "file://" + out])
            self.values["media", "oc-mirror"] = [sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out) if n.endswith(".tar"))]
            data = self.fresh("target")
            target = self.registry(data)
            self.run("import", "oc-mirror", common[:-3] + ["--cache-dir", self.fresh("oc-cache"), "--remove-signatures", "--dest-tls-verify=false",
                                                          "--from", "file://" + out, "docker://" + target.host])
            self.drop(target)
            shutil.rmtree(data)
        else:
            self.notes.append("oc-mirror v2 is not on this machine (its module is not served by every Go proxy): its column is missing.")

    @staticmethod
    def tree_bytes(path):
        return sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(path) for n in names)

    # the table

    def walls(self, name, side):
        return [m["wall"] for m in self.values.get((name, side), [])]

    def most(self, name, what):
        return max((m[what] for m in self.values.get((name, "bundle"), [])), default=None)

    def row(self, what, figure, detail, bar, held):
        self.rows.append("| %s | %s | %s | %s | %s |" % (what, figure, detail, bar, {None: "", True: "yes", False: "**no**"}[held]))

    def ratio(self, what, name, bar):
        ours, theirs = self.walls(name, "bundle"), self.walls(name, "one pass")
        if ours and theirs:
            value = statistics.median(a / b for a, b in zip(ours, theirs))
            self.row(what, "%.2f ×" % value, "%.2f s ÷ %.2f s" % (statistics.median(ours), statistics.median(theirs)),
                     "≤ %.2f ×" % bar, value <= bar)

    def table(self):
        self.ratio("create, first sequence ÷ one pass", "create", 1.10)
        self.ratio("import, first sequence ÷ one pass", "import", 1.05)
        self.ratio("create, increment ÷ one pass", "create delta", 1.5)
        self.ratio("import, increment ÷ one pass", "import delta", 1.5)
        unique = self.bytes["v1"]
        for name in ("create", "import"):
            walls = self.walls("link " + name, "bundle")
            if walls:
                wire = unique / (LINK_MBPS * 1e6)
                value = statistics.median(walls) / wire
                self.row("%s over 1 Gbit/s, 20 ms ÷ bytes ÷ rate" % name, "%.3f ×" % value,
                         "%.2f s ÷ %.2f s" % (statistics.median(walls), wire), "≤ 1.05 ×", value <= 1.05)
                floor = self.walls("link " + name, "one pass")
                self.row("%s over 1 Gbit/s, 20 ms ÷ one pass over the same" % name,
                         "%.3f ×" % (statistics.median(walls) / statistics.median(floor)),
                         "%.2f s ÷ %.2f s" % (statistics.median(walls), statistics.median(floor)), "", None)
                seen = max(self.values["link " + name, "wire"])
                self.row("bytes on the wire, %s ÷ unique" % name, "%.4f ×" % (seen / unique), "%d ÷ %d" % (seen, unique),
                         "≤ 1.005 ×", seen <= 1.005 * unique)
        if hasattr(self, "media"):
            for name, generation in (("media size", "v1"), ("media size, increment", "delta")):
                total, tables = self.media_bytes(self.media[generation])
                value = (total - tables) / self.bytes[generation]
                self.row(name + " ÷ unique", "%.4f ×" % value, "%d B, cell tables %d B not counted" % (total, tables), "≤ 1.002 ×", value <= 1.002)
            for name in ("create nothing new", "import again"):
                value = max(self.walls(name, "bundle"))
                self.row(name, "%.2f s" % value, "the slowest round", "≤ 1 s", value <= 1)
            written, media = self.most("create", "written"), self.media_bytes(self.media["v1"])[0]
            self.row("bytes written by create ÷ payload", "%.4f ×" % (written / unique), "media %d B" % media, "≤ 1.01 ×", written <= 1.01 * unique)
            written = self.most("import", "written")
            self.row("written by import outside the registry", "%.2f MiB" % (written / MIB), "", "≤ 1 MiB", written <= MIB)
            for name in ("create", "import", "create delta", "import delta"):
                peak = self.most(name, "peak")
                self.row("peak memory, " + name, "%.1f MiB" % (peak / MIB), "", "≤ 64 MiB", peak <= 64 * MIB)
        for name, what in (("many blobs", "first sequence of %d blobs"), ("many blobs known", "one image more, %d blobs in the history")):
            if self.walls(name, "bundle"):
                peak = self.most(name, "peak")
                self.row("peak memory, create, " + what % self.blobs_known, "%.1f MiB" % (peak / MIB),
                         "%.1f s" % self.walls(name, "bundle")[0], "≤ 256 MiB", peak <= 256 * MIB)
        for name, what in (("many images", "create, %d images"), ("many images imported", "import into the own registry, %d images")):
            if self.walls(name, "bundle"):
                peak = self.most(name, "peak")
                self.row("peak memory, " + what % self.images, "%.1f MiB" % (peak / MIB),
                         "%.1f s" % self.walls(name, "bundle")[0], "≤ 64 MiB", peak <= 64 * MIB)
        for fault in ("missing", "short", "foreign"):
            walls = self.walls("refuse " + fault, "bundle")
            if walls:
                self.row("%s part refused" % fault, "%.2f s" % max(walls), "exit code %d, %d requests to the target" % (
                    self.values["refuse " + fault, "bundle"][-1]["code"], self.values["refuse", "requests"][0]),
                    "≤ 1 s, none", max(walls) <= 1 and not self.values["refuse", "requests"][0])
        for peer in ("skopeo", "oc-mirror"):
            for name, least in (("create", 2.5), ("import", 2.0)):
                theirs = self.walls(name, peer)
                if theirs and self.walls(name, "bundle"):
                    value = theirs[0] / statistics.median(self.walls(name, "bundle"))
                    bar = "≥ %.1f ×" % least if peer == "oc-mirror" else ""
                    self.row("%s: %s takes" % (name, peer), "%.1f × as long" % value, "%.1f s" % theirs[0], bar, value >= least if bar else None)
            if ("media", peer) in self.values:
                self.row("media size, %s ÷ unique" % peer, "%.2f ×" % (self.values["media", peer][0] / unique), "", "", None)

    @staticmethod
    def media_bytes(directory):
        """Bytes of all files, and those of the cell tables among them."""
        total = tables = 0
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            total += os.path.getsize(path)
            if name.endswith(".tar"):
                with tarfile.open(path) as tar:
                    tables += tar.next().size
        return total, tables

    def print(self, mark, more=""):
        """The corpus, the machine and the rows; with --write into docs/benchmarks.md at this mark."""
        head = ["Corpus: %d tags, %d unique blobs, %.0f MB%s. Rounds: %d. %s. %s, %s." % (
            len(self.refs["v1"]), self.count["v1"], self.bytes["v1"] / 1e6, more, self.options.rounds, machine(),
            first_line(["docker-registry", "--version"]), first_line([self.bundle, "version"])), "",
            "| what | figure | from | bar | held |", "|---|---|---|---|---|"]
        text = "\n".join(head + self.rows + ([""] + self.notes if self.notes else [])) + "\n"
        print(text)
        if self.options.write:
            into_page(mark, text)

    def all(self):
        only = self.options.only.split(",") if self.options.only else ["sequences", "link", "refuse", "many", "peers"]
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        try:
            source = None
            if set(only) - {"many"}:
                source = self.registry(self.fresh("source"))
                log("pushing the corpus to the source registry")
                subprocess.run([here + "/../corpus.sh", "push", self.corpus, source.host, "all"], check=True, stdout=subprocess.DEVNULL)
            if "sequences" in only or "refuse" in only:
                for n in range(self.options.rounds):
                    log("round %d of %d" % (n + 1, self.options.rounds))
                    self.sequences(source, n)
            if "link" in only:
                self.link(source)
            if "refuse" in only:
                self.refuse()
            if "many" in only:
                self.many()
            if "peers" in only:
                self.peers(source)
        finally:
            for server in list(self.servers):
                server.stop()
        self.table()
        self.print("table", "; increment %d blobs, %.0f MB" % (self.count["delta"], self.bytes["delta"] / 1e6))
        if not self.options.keep:
            shutil.rmtree(self.dir)
        return 1 if any(row.endswith("**no** |") for row in self.rows) else 0


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    return "Machine: %d × %s, %s" % (os.cpu_count(), cpu[1] if cpu else os.uname().machine, time.strftime("%Y-%m-%d"))


def first_line(argv):
    out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return out.splitlines()[0] if out else argv[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    sys.exit(Bench(options).all())
