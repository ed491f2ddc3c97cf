#!/usr/bin/env python3
"""Small real images for the quickstart, made from files of this machine. Standard library only.

sample-images.py push REGISTRY 1|2       push the first generation, or what changes in the second
sample-images.py refs 1|2                print "repository:tag" lines that a configuration would name
sample-images.py check SOURCE TARGET 1|2 pull everything from TARGET, hash it, compare it with SOURCE

REGISTRY is host:port, spoken to over plain HTTP. The same machine gives the same bytes.
"""
import gzip, hashlib, http.client, io, json, os, re, sys, sysconfig, tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
ACCEPT = ", ".join([MANIFEST, INDEX])
REFS = {1: ["samples/shell:1.0", "samples/python:3", "samples/app:1.0", "samples/everywhere:1.0"]}
REFS[2] = REFS[1][:2] + ["samples/app:1.1"] + REFS[1][3:]


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dump(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def layer(files):
    """A tar.gz of (name, bytes, mode) and its diff id."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, mode in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    raw = raw.getvalue()
    return gzip.compress(raw, 6, mtime=0), digest(raw)


def from_machine(paths, limit=12 << 20):
    files, total = [], 0
    for path in paths:
        try:
            with open(path, "rb") as f:
                data = f.read()
        except OSError:
            continue
        if total + len(data) <= limit and len(path.lstrip("/")) < 100:
            files.append((path.lstrip("/"), data, 0o755 if os.access(path, os.X_OK) else 0o644))
            total += len(data)
    return files


def base_layer():
    names = "sh bash dash cat ls cp mv rm mkdir grep sed tar gzip sleep date id env true false".split()
    return layer(from_machine(["/etc/os-release"] + ["/bin/" + n for n in names]))


def python_layer():
    root = sysconfig.get_paths()["stdlib"]
    paths = [os.path.join(root, n) for n in sorted(os.listdir(root)) if n.endswith(".py")]
    return layer([("usr/lib/python/" + os.path.basename(n), d, m)
                  for n, d, m in [(p, open(p, "rb").read(), 0o644) for p in paths]])


def app_layer(generation, arch="amd64"):
    text = "".join("line %d of the program, build %d for %s\n" % (n, generation, arch) for n in range(20_000))
    return layer([("app/program.txt", text.encode(), 0o644), ("app/version", b"1.%d\n" % (generation - 1), 0o644)])


class Registry:
    def __init__(self, host):
        self.connection = http.client.HTTPConnection(host, timeout=60)

    def ask(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer, answer.read()

    def want(self, status, method, path, body=None, headers=None):
        answer, data = self.ask(method, path, body, headers)
        if answer.status != status:
            sys.exit("%s %s: %d %s" % (method, path, answer.status, data[:200].decode("utf-8", "replace")))
        return answer, data

    def put_blob(self, repo, data):
        name = digest(data)
        if self.ask("HEAD", "/v2/%s/blobs/%s" % (repo, name))[0].status != 200:
            answer, _ = self.want(202, "POST", "/v2/%s/blobs/uploads/" % repo, headers={"Content-Length": "0"})
            place = re.sub(r"^https?://[^/]+", "", answer.getheader("Location"))
            place += ("&" if "?" in place else "?") + "digest=" + name
            self.want(201, "PUT", place, data, {"Content-Type": "application/octet-stream"})
        return name

    def put_manifest(self, repo, media_type, value, tag=None):
        data = dump(dict(value, schemaVersion=2, mediaType=media_type))
        self.want(201, "PUT", "/v2/%s/manifests/%s" % (repo, tag or digest(data)), data, {"Content-Type": media_type})
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def put_image(self, repo, layers, tag=None, arch="amd64"):
        config = dump({"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                       "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in layers]}})
        descriptors = [{"mediaType": LAYER, "digest": self.put_blob(repo, data), "size": len(data)} for data, _ in layers]
        return self.put_manifest(repo, MANIFEST, {
            "config": {"mediaType": CONFIG, "digest": self.put_blob(repo, config), "size": len(config)},
            "layers": descriptors}, tag)

    def manifest(self, repo, reference):
        return self.want(200, "GET", "/v2/%s/manifests/%s" % (repo, reference), headers={"Accept": ACCEPT})[1]


def push(host, generation):
    registry, base = Registry(host), base_layer()
    if generation == 2:
        registry.put_image("samples/app", [base, app_layer(2)], "1.1")
        return
    registry.put_image("samples/shell", [base], "1.0")
    registry.put_image("samples/python", [base, python_layer()], "3")
    app = registry.put_image("samples/app", [base, app_layer(1)], "1.0")
    children = []
    for arch in ("amd64", "arm64"):
        child = registry.put_image("samples/everywhere", [app_layer(1, arch)], arch=arch)
        children.append(dict(child, platform={"architecture": arch, "os": "linux"}))
    registry.put_manifest("samples/everywhere", INDEX, {"manifests": children}, "1.0")
    # A signature beside its image, where cosign puts it. It has to travel with the image.
    text = dump({"critical": {"image": {"docker-manifest-digest": app["digest"]}, "type": "cosign container image signature"}})
    config = dump({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [digest(text)]}})
    registry.put_manifest("samples/app", MANIFEST, {
        "config": {"mediaType": CONFIG, "digest": registry.put_blob("samples/app", config), "size": len(config)},
        "layers": [{"mediaType": SIGNATURE, "digest": registry.put_blob("samples/app", text), "size": len(text),
                    "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}],
    }, app["digest"].replace(":", "-") + ".sig")


def check(source, target, generation):
    source, target, pulled, seen = Registry(source), Registry(target), 0, set()

    def walk(repo, reference):
        nonlocal pulled
        theirs, ours = source.manifest(repo, reference), target.manifest(repo, reference)
        if theirs != ours:
            sys.exit("%s %s: %s at the source, %s at the target" % (repo, reference, digest(theirs), digest(ours)))
        value = json.loads(ours)
        for child in value.get("manifests", []):
            walk(repo, child["digest"])
        for blob in [value[k] for k in ("config",) if k in value] + value.get("layers", []):
            if (repo, blob["digest"]) in seen:
                continue
            seen.add((repo, blob["digest"]))
            data = target.want(200, "GET", "/v2/%s/blobs/%s" % (repo, blob["digest"]))[1]
            if digest(data) != blob["digest"]:
                sys.exit("%s: the target's %s hashes to %s" % (repo, blob["digest"], digest(data)))
            pulled += len(data)
        return digest(ours)

    for ref in REFS[generation]:
        repo, tag = ref.split(":")
        found = walk(repo, tag)
        print("    %-24s %s" % (ref, found))
        signature = found.replace(":", "-") + ".sig"
        if source.ask("GET", "/v2/%s/manifests/%s" % (repo, signature), headers={"Accept": ACCEPT})[0].status == 200:
            walk(repo, signature)
            print("    %-24s and its signature" % "")
    print("    %d blobs pulled and hashed, %.1f MB" % (len(seen), pulled / 1e6))


def main(args):
    if len(args) == 3 and args[0] == "push":
        push(args[1], int(args[2]))
    elif len(args) == 2 and args[0] == "refs":
        print("\n".join(REFS[int(args[1])]))
    elif len(args) == 4 and args[0] == "check":
        check(args[1], args[2], int(args[3]))
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
