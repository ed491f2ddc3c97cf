#!/usr/bin/env python3
"""registry.py [--quick] [--rounds N] [--only A,B] [--write]: what `scripts/bench.sh registry` measures. See there.

Two registries on the same disk, ours and CNCF distribution, plain HTTP on loopback, one client (registry/examples/load.rs). In each round
every measurement is made of both, one right after the other, each time the other one first, with a sync before it. Quoted is the median of
the rounds' ratios. Work directory, corpus, binary and client come by environment."""
import argparse, hashlib, json, os, re, shutil, socket, statistics, subprocess, sys, time, urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import MIB, Server, first_line, free_port, into_page, log, machine

PARTS = ["push", "pull", "cold", "manifests", "small", "memory", "start"]
SIDES = ("bundle", "distribution")
BLOBS = 100_000


class Side:
    """A registry that runs: where it is, and what its process has taken."""

    def __init__(self, name, argv, host, output):
        self.name, self.host, self.output = name, host, output
        self.server = Server(argv, int(host.split(":")[1]), output)

    def peak(self):
        return int(re.search(r"VmHWM:\s*(\d+)", open("/proc/%d/status" % self.server.process.pid).read())[1]) * 1024

    def spent(self):
        """Seconds of the processor."""
        fields = open("/proc/%d/stat" % self.server.process.pid).read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.server.stop()


class Bench:
    def __init__(self, options):
        self.options = options
        self.bundle, self.load = os.path.abspath(os.environ["BUNDLE"]), os.path.abspath(os.environ["LOAD"])
        self.corpus = os.path.abspath(os.environ["CORPUS"])
        self.dir = os.path.join(os.environ["BENCH_DIR"], "registry")
        self.values, self.sides, self.rows, self.made = {}, [], [], 0
        with open(self.corpus + "/catalog.json") as f:
            self.images = json.load(f)["v1"]
        lines = subprocess.run([os.path.join(os.path.dirname(__file__), "..", "corpus.sh"), "blobs", self.corpus, "v1"],
                               check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
        self.items = [line.split() for line in lines if line]
        self.bytes = sum(int(size) for _, _, size in self.items)

    def blob(self, digest):
        return os.path.join(self.corpus, "blobs", *digest.split(":"))

    # files and servers

    def fresh(self, name):
        self.made += 1
        path = os.path.join(self.dir, "%s-%d" % (name, self.made))
        os.makedirs(path)
        return path

    def list(self, name, lines):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.writelines(" ".join(map(str, line)) + "\n" for line in lines)
        return path

    def blobs(self, name, repository=None):
        return self.list(name, [(repository or repo, digest, self.blob(digest), size) for repo, digest, size in self.items])

    def start(self, name, data=None):
        data, port = data or self.fresh(name), free_port()
        host, output = "127.0.0.1:%d" % port, os.path.join(self.dir, "%s-%d.log" % (name, port))
        if name == "bundle":
            argv = [self.bundle, "registry", "serve", "--data-dir", data, "--listen", host, "--http"]
        else:
            with open(data + ".yml", "w") as f:
                f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                        "storage: {filesystem: {rootdirectory: '%s'}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}\n"
                        "http: {addr: '%s'}\n" % (data, host))
            argv = ["docker-registry", "serve", data + ".yml"]
        side = Side(name, argv, host, output)
        side.data = data
        self.sides.append(side)
        return side

    def drop(self, side):
        side.stop()
        self.sides.remove(side)
        shutil.rmtree(side.data)

    # one measurement

    def run(self, what, side, mode, path, connections, seconds=None):
        subprocess.run(["sync"], check=True)
        argv = [self.load, mode, side.host, path, str(connections)] + ([str(seconds)] if seconds else [])
        spent = side.spent()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        text = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not text:
            sys.exit("%s (%s): the client failed\n%s" % (what, side.name, open(side.output).read()[-2000:]))
        m = json.loads(text)
        if m["failed"]:
            sys.exit("%s (%s): %d of %d requests failed\n%s" % (what, side.name, m["failed"], m["requests"], open(side.output).read()[-2000:]))
        m.update(client=used.ru_utime + used.ru_stime, server=side.spent() - spent)
        self.values.setdefault((what, side.name), []).append(m)
        log("%-22s %-12s %7.2f s  %8.0f requests/s  %7.1f MiB/s  p99 %7.1f ms  processor: client %5.2f s, registry %5.2f s" % (
            what, side.name, m["seconds"], m["requests"] / m["seconds"], m["bytes"] / MIB / m["seconds"], m["p99"] * 1e3, m["client"], m["server"]))
        return m

    def both(self, pair, *arguments):
        """The same of both, each time the other one first."""
        for side in pair if self.round % 2 == 0 else reversed(pair):
            self.run(arguments[0], side, *arguments[1:])

    # the parts of the bench

    def push_manifests(self, side):
        def put(image, tag):
            for child in image["children"]:
                put(dict(child, repo=image["repo"]), child["digest"])
            with open(self.blob(image["digest"]), "rb") as f:
                body = f.read()
            ask = urllib.request.Request("http://%s/v2/%s/manifests/%s" % (side.host, image["repo"], tag), data=body, method="PUT",
                                         headers={"Content-Type": image["mediaType"]})
            urllib.request.urlopen(ask).read()

        for repo in {image["repo"] for image in self.images}:
            # A blob is pushed once, and every repository that needs it mounts it.
            known = {digest: repo for repo, digest, _ in self.items}
            for image in self.images:
                for digest in self.digests(image) if image["repo"] == repo else ():
                    if known[digest] != repo:
                        path = "http://%s/v2/%s/blobs/uploads/?mount=%s&from=%s" % (side.host, repo, digest, known[digest])
                        if urllib.request.urlopen(urllib.request.Request(path, method="POST")).status != 201:
                            sys.exit("%s mounts nothing" % side.name)
        for image in self.images:
            put(image, image["tag"])

    def digests(self, image):
        return {digest for digest, _ in image["blobs"]}.union(*(self.digests(child) for child in image["children"]))

    def same(self, side):
        """Every blob of the corpus comes back with its digest."""
        for repo, digest, _ in self.items:
            with urllib.request.urlopen("http://%s/v2/%s/blobs/%s" % (side.host, repo, digest)) as answer:
                state = hashlib.sha256()
                while piece := answer.read(MIB):
                    state.update(piece)
            if "sha256:" + state.hexdigest() != digest:
                sys.exit("%s: %s came back with other bytes" % (side.name, digest))

    def side_by_side(self, parts):
        self.round = 0
        seconds = 1 if self.options.quick else 4
        for self.round in range(self.options.rounds):
            log("round %d of %d" % (self.round + 1, self.options.rounds))
            pair = [self.start(name) for name in SIDES]
            listed = self.blobs("blobs")
            if {"push", "pull", "cold", "manifests"} & set(parts):
                self.both(pair, "push", "push", listed, 6)
            if "pull" in parts:
                # The page cache is warm for both: what the second push pushed out comes back.
                for side in pair:
                    subprocess.run([self.load, "pull", side.host, listed, "6"], check=True, stdout=subprocess.DEVNULL)
                self.both(pair, "pull", "pull", listed, 6)
            if "cold" in parts:
                for side in pair:
                    self.forget(side)
                self.both(pair, "cold pull", "pull", listed, 6)
            if "manifests" in parts:
                for side in pair:
                    self.push_manifests(side)
                for by in ("tag", "digest"):
                    paths = self.list("paths-" + by, [["/v2/%s/manifests/%s" % (x["repo"], x[by])] for x in self.images])
                    self.both(pair, "manifests by " + by, "get", paths, 16, seconds)
            if "small" in parts:
                self.both(pair, "small push", "small-push", listed, 32, seconds)
                small = self.small()
                for side in pair:
                    subprocess.run([self.load, "push", side.host, small, "4"], check=True, stdout=subprocess.DEVNULL)
                self.both(pair, "small pull", "small-pull", small, 64, seconds)
            if self.round == 0 and "push" in parts:
                self.same(pair[0])
            for side in pair:
                self.drop(side)

    def small(self):
        """A list of 64 blobs of 1 MiB."""
        small = []
        for n in range(64):
            data = hashlib.sha256(b"%d" % n).digest() * (MIB // 32)
            path = os.path.join(self.dir, "small-%d" % n)
            with open(path, "wb") as f:
                f.write(data)
            small.append(("small/blobs", "sha256:" + hashlib.sha256(data).hexdigest(), path, len(data)))
        return self.list("small", small)

    @staticmethod
    def forget(side):
        """Takes the files of a registry out of the page cache, and of nobody else."""
        for directory, _, names in os.walk(side.data):
            for path in (os.path.join(directory, name) for name in names):
                if not os.path.isfile(path):
                    continue  # our control socket
                file = os.open(path, os.O_RDONLY)
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)

    def memory(self):
        """64 clients push and 64 pull at the same time: the corpus, then blobs of 1 MiB."""
        for name in SIDES:
            side = self.start(name)
            listed, other, small = self.blobs("blobs"), self.blobs("others", "other/place"), self.small()
            for path in (listed, small):
                subprocess.run([self.load, "push", side.host, path, "2"], check=True, stdout=subprocess.DEVNULL)
            idle = side.peak()
            side.stop()
            self.sides.remove(side)
            side = self.start(name, side.data)
            for together in ((("push", other), ("pull", listed)), (("small-push", small), ("small-pull", small))):
                clients = [subprocess.Popen([self.load, mode, side.host, path, "64", "4"], stdout=subprocess.PIPE, text=True)
                           for mode, path in together]
                done = [json.loads(client.communicate()[0]) for client in clients]
                if any(d["failed"] for d in done):
                    sys.exit("%s: requests failed under 64 pushes and 64 pulls: %s" % (name, done))
            self.values["memory", name] = side.peak()
            log("memory                 %-12s peak %.1f MiB, with 2 connections %.1f MiB" % (name, side.peak() / MIB, idle / MIB))
            self.drop(side)

    def start_up(self):
        """A store of many blobs: what a push leaves behind, as often as is asked."""
        count = 10_000 if self.options.quick else BLOBS
        side = self.start("bundle")
        sample = b"a sample"
        digest = hashlib.sha256(sample).hexdigest()
        path = "http://%s/v2/many/r0/blobs/uploads/?digest=sha256:%s" % (side.host, digest)
        urllib.request.urlopen(urllib.request.Request(path, data=sample, method="POST")).read()
        side.stop()
        self.sides.remove(side)
        left = [os.path.relpath(os.path.join(d, n), side.data) for d, _, names in os.walk(side.data) for n in names if digest in n]
        log("a blob is %s" % " and ".join(left))
        for n in range(count):
            data = b"blob %d" % n
            name = hashlib.sha256(data).hexdigest()
            for pattern in left:
                path = os.path.join(side.data, pattern.replace(digest, name).replace("/%s/" % digest[:2], "/%s/" % name[:2]).replace(
                    "/r0/", "/r%d/" % (n % 100)))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(data if "blobs/" in pattern.split("repositories")[0] else b"")
        last = "many/r%d/blobs/sha256:%s" % ((count - 1) % 100, name)
        for _ in range(3):
            port = free_port()
            begin = time.monotonic()
            process = subprocess.Popen([self.bundle, "registry", "serve", "--data-dir", side.data, "--listen", "127.0.0.1:%d" % port, "--http"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit("the registry does not start on %d blobs" % count)
                    time.sleep(0.002)
            with urllib.request.urlopen("http://127.0.0.1:%d/v2/%s" % (port, last)) as answer:
                if answer.read() != data:
                    sys.exit("a blob of %d is not what it was" % count)
            took = time.monotonic() - begin
            peak = int(re.search(r"VmHWM:\s*(\d+)", open("/proc/%d/status" % process.pid).read())[1]) / 1024
            log("start                  bundle       %7.3f s with %d blobs, peak %.1f MiB" % (took, count, peak))
            self.values.setdefault("start", []).append((took, count))
            process.terminate()
            process.wait()
        shutil.rmtree(side.data)

    # the table

    def row(self, what, figure, detail, bar="", held=None):
        self.rows.append("| %s | %s | %s | %s | %s |" % (what, figure, detail, bar, {None: "", True: "yes", False: "**no**"}[held]))

    def ratio(self, label, what, of, unit, bar=None, less=False):
        ours, theirs = ([of(m) for m in self.values.get((what, side), [])] for side in SIDES)
        if not ours:
            return
        each = [a / b for a, b in zip(ours, theirs)]
        value = statistics.median(each)
        held = None if bar is None else (value <= bar if less else value >= bar)
        self.row(label, "%.2f ×" % value, "%.0f ÷ %.0f %s; rounds %s" % (
            statistics.median(ours), statistics.median(theirs), unit, ", ".join("%.2f" % x for x in each)),
            "" if bar is None else "≥ %.1f ×" % bar, held)

    def table(self):
        rate, speed = lambda m: m["requests"] / m["seconds"], lambda m: m["bytes"] / MIB / m["seconds"]
        self.ratio("push of the corpus, 6 connections", "push", speed, "MiB/s", 1.0)
        self.ratio("pull of the corpus, 6 connections", "pull", speed, "MiB/s", 1.2)
        self.ratio("pull of the corpus, 6 connections, not in the page cache", "cold pull", speed, "MiB/s")
        self.ratio("manifests by tag, 16 connections", "manifests by tag", rate, "a second", 3)
        self.ratio("manifests by digest, 16 connections", "manifests by digest", rate, "a second", 3)
        for what, label in (("small push", "push of 1 MiB, 32 connections"), ("small pull", "pull of 1 MiB, 64 connections")):
            self.ratio(label, what, rate, "a second")
            self.ratio(label + ", p99", what, lambda m: m["p99"] * 1e3, "ms")
        if ("memory", "bundle") in self.values:
            peak = self.values["memory", "bundle"] / MIB
            self.row("peak memory, 64 push and 64 pull at once", "%.1f MiB" % peak,
                     "distribution %.1f MiB" % (self.values["memory", "distribution"] / MIB), "≤ 64 MiB", peak <= 64)
        if "start" in self.values:
            took, count = max(self.values["start"])
            self.row("start until the first blob, %d blobs" % count, "%.3f s" % took, "the slowest of 3", "≤ 1 s", took <= 1)
        costs = ["%s %.0f %% and %.0f %%" % (what, *(100 * statistics.median(m["client"] / (m["client"] + m["server"])
                 for m in self.values[what, side]) for side in SIDES)) for what in ("push", "pull", "manifests by tag") if (what, SIDES[0]) in self.values]
        if costs:
            self.rows += ["", "The client's share of the processor time, with ours and with distribution: %s." % "; ".join(costs)]

    def print(self):
        head = ["Corpus: %d unique blobs, %.0f MB. Rounds: %d. %s. %s, %s." % (
            len(self.items), self.bytes / 1e6, self.options.rounds, machine(), first_line(["docker-registry", "--version"]), first_line([self.bundle, "version"])), "",
            "| what | figure | ours ÷ distribution | bar | held |", "|---|---|---|---|---|"]
        text = "\n".join(head + self.rows) + "\n"
        print(text)
        if self.options.write:
            into_page("registry", text)

    def all(self):
        parts = self.options.only.split(",") if self.options.only else PARTS
        if set(parts) - set(PARTS):
            sys.exit("--only takes %s" % ", ".join(PARTS))
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        try:
            if set(parts) - {"memory", "start"}:
                self.side_by_side(parts)
            if "memory" in parts:
                self.memory()
            if "start" in parts:
                self.start_up()
        finally:
            for side in list(self.sides):
                side.stop()
        self.table()
        self.print()
        shutil.rmtree(self.dir)
        return 1 if any(row.endswith("**no** |") for row in self.rows) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    sys.exit(Bench(options).all())
