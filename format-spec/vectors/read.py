#!/usr/bin/env python3
"""An independent reader of the golden vectors: Python 3 standard library, `openssl` for ed25519.

Written from ../SPEC.md alone; the numbers in comments are its sections. Reads every sequence and
every fault of this directory and compares with expected.json and faults.json. Exit code 0 when all
agree, 1 otherwise.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TYPE = "application/vnd.bundle.head.v1+json"
CELL, BLOCK, END = 65536, 512, 1024
MAX_INT = 2**53 - 1
MIB, GIB = 2**20, 2**30


class Refusal(Exception):
    """The kind of section 9."""


def need(condition, kind):
    if not condition:
        raise Refusal(kind)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# 2.1 strict JSON


def strict_json(data, kind):
    def integer(text):
        need(text != "-0" and len(text) < 20 and abs(int(text)) <= MAX_INT, kind)
        return int(text)

    def refuse(_):
        raise Refusal(kind)

    def members(pairs):
        names = [name for name, _ in pairs]
        need(len(names) == len(set(names)), kind)
        return dict(pairs)

    def walk(value, depth):
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refusal(kind)
        elif isinstance(value, (dict, list)):
            need(depth <= 16, kind)
            if isinstance(value, dict):
                for name in value:
                    walk(name, depth)
                value = value.values()
            for item in value:
                walk(item, depth + 1)

    try:
        text = data.decode("utf-8")
        need(not text.startswith("\ufeff"), kind)
        value = json.loads(
            text,
            parse_int=integer,
            parse_float=refuse,
            parse_constant=refuse,
            object_pairs_hook=members,
        )
    except (ValueError, RecursionError):
        raise Refusal(kind)
    walk(value, 1)
    return value


# 3 signature file, 4 keys


def seal_text(entries):
    lines = ["{", '  "payloadType": "%s",' % TYPE, '  "signatures": [']
    for number, (keyid, sig) in enumerate(entries):
        comma = "," if number + 1 < len(entries) else ""
        lines += ["    {", '      "keyid": "%s",' % keyid, '      "sig": "%s"' % sig, "    }" + comma]
    return "\n".join(lines + ["  ]", "}", ""])


def verify(head, seal, key):
    kind = "seal-malformed"
    need(len(seal) <= 64 * 1024, kind)
    try:
        text = seal.decode("ascii")
    except UnicodeDecodeError:
        raise Refusal(kind)
    entries = re.findall(r'"keyid": "(sha256:[0-9a-f]{64})",\n +"sig": "([A-Za-z0-9+/]{86}==)"', text)
    need(1 <= len(entries) <= 16 and text == seal_text(entries), kind)
    for _, sig in entries:
        need(base64.b64encode(base64.b64decode(sig)).decode() == sig, kind)
    with open(key) as file:
        der = base64.b64decode("".join(file.read().split("\n")[1:-2]))
    own = "sha256:" + sha256(der)
    message = b"DSSEv1 %d %s %d " % (len(TYPE), TYPE.encode(), len(head)) + head
    signers = []
    for keyid, sig in entries:
        if keyid == own:
            need(ed25519(key, message, base64.b64decode(sig)), "seal-bad")
            signers = [own]
    need(signers, "seal-unknown-key")
    return signers


def ed25519(key, message, signature):
    order = 2**252 + 27742317777372353535851937790883648493
    if int.from_bytes(signature[32:], "little") >= order:
        return False
    with tempfile.TemporaryDirectory() as directory:
        paths = [os.path.join(directory, name) for name in ("message", "signature")]
        for path, content in zip(paths, (message, signature)):
            with open(path, "wb") as file:
                file.write(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin"]
        command += ["-in", paths[0], "-sigfile", paths[1]]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0


# 2.2 the head

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z\Z"
)


def member(object_, name, type_):
    need(isinstance(object_, dict) and name in object_, "head-json")
    value = object_[name]
    need(isinstance(value, type_) and not isinstance(value, bool), "head-json")
    if type_ is int:
        need(value >= 0, "head-json")
    return value


def digest_text(object_, name):
    value = member(object_, name, str)
    need(DIGEST.match(value), "head-json")
    return value


def sequence_number(object_):
    value = member(object_, "sequence", int)
    need(value >= 1, "head-json")
    return value


def link(object_):
    return (sequence_number(object_), digest_text(object_, "digest"))


def short(text):
    need(len(text.encode()) <= 4096, "head-field")


def cells_of(size):  # 6.4
    if size % BLOCK:
        return None
    for count in (size // 65568, size // 65568 + 1):
        data = size - table_bytes(count)
        if data >= END and -(-data // CELL) == count:
            return count
    return None


def table_bytes(count):
    return BLOCK + padded(32 * count)


def padded(size):
    return -(-size // BLOCK) * BLOCK


def parse_head(data):
    need(len(data) <= 32 * MIB, "head-json")
    head = strict_json(data, "head-json")
    need(isinstance(head, dict), "head-json")
    need(member(head, "type", str) == TYPE, "head-type")
    need(member(head, "formatVersion", int) == 1, "head-version")
    for name in member(head, "crit", list):
        need(isinstance(name, str), "head-json")
        raise Refusal("head-crit")
    # Presence and types.
    need(re.match(r"[0-9a-f]{32}\Z", member(head, "stream", str)), "head-json")
    number = sequence_number(head)
    need(member(head, "kind", str) in ("full", "incremental"), "head-json")
    previous = head.get("previous")
    previous = None if previous is None else link(previous)
    tail = [link(item) for item in member(head, "tail", list)]
    texts = [member(member(head, "tool", dict), name, str) for name in ("name", "version")]
    cell_bytes = member(head, "cellBytes", int)
    parts = [
        (member(part, "name", str), member(part, "bytes", int), digest_text(part, "table"))
        for part in member(head, "parts", list)
    ]
    index = member(head, "index", dict)
    digest_text(index, "digest")
    totals = member(head, "totals", dict)
    for name in ("references", "manifests", "blobs", "bytes", "required", "removals"):
        member(totals, name, int)
    for failure in member(head, "failures", list):
        texts += [member(failure, "reference", str), member(failure, "reason", str)]
        classes = ("release", "operator", "additional", "helm")
        need(member(failure, "class", str) in classes, "head-json")
    labels = member(head, "labels", dict)
    for name in labels:
        texts += [name, member(labels, name, str)]
    times = [member(head, "created", str)]
    for name in ("expires", "nextExpected"):
        if head.get(name) is not None:
            times.append(member(head, name, str))
    # Rules.
    need(cell_bytes == CELL, "head-field")
    if previous:
        need(previous[0] + 1 == number, "head-field")
    else:
        need(number == 1 or head["kind"] == "full", "head-field")
    need(len(tail) <= 32, "head-field")
    need((tail[0] if tail else None) == previous, "head-field")
    need(all(a[0] > b[0] for a, b in zip(tail, tail[1:])), "head-field")
    need(len(parts) <= 100_000, "head-field")
    for place, (name, size, _) in enumerate(parts):
        need(name == "mirror_seq%d_%06d.tar" % (number, place), "head-field")
        need(size <= 256 * GIB and cells_of(size), "head-field")
    need(member(index, "bytes", int) <= 512 * MIB, "head-field")
    need(len(labels) <= 64, "head-field")
    need(all(TIME.match(time) for time in times), "head-field")
    for text in texts + times:
        short(text)
    return head, previous, tail


# 5 the index


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        need(count <= len(self.data) - self.at, "index-format")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count):
        return int.from_bytes(self.raw(count), "little")

    def u8(self):
        return self.number(1)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def digest(self):
        return self.raw(32)

    def bytes(self):
        return self.raw(self.u64())

    def text(self):
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal("index-format")

    def option_text(self):
        tag = self.u8()
        need(tag <= 1, "index-format")
        return self.text() if tag else None

    def list(self, entry):
        # Every entry takes at least one byte, so a number that lies ends at the end of the file.
        return [entry() for _ in range(self.u64())]

    def struct(self, *fields):
        return lambda: {name: read() for name, read in fields}


def parse_index(data):
    kind = "index-format"
    need(len(data) <= 512 * MIB and data[:8] == b"BNDLIDX\0", kind)
    need(data[8:16] == b"\1\0" + bytes(6) and len(data) >= 24, kind)
    need(int.from_bytes(data[16:24], "little") == len(data) - 24, kind)
    c = Cursor(data[24:])
    piece = c.struct(("part", c.u32), ("offset", c.u64), ("size", c.u64))
    pieces = ("pieces", lambda: c.list(piece))
    places = ("repositories", lambda: c.list(c.u32))
    name = (("digest", c.digest), ("size", c.u64))
    manifest = c.struct(*name, ("mediaType", c.text), pieces, places)
    blob = c.struct(*name, ("encoding", c.u8), pieces, places)
    required = c.struct(*name, ("home", c.u32), places)
    target = (("repository", c.u32), ("tag", c.option_text), ("digest", c.digest))
    reference = c.struct(*target, ("source", c.text), ("class", c.u8))
    removal = c.struct(*target)
    resource = c.struct(("name", c.text), ("content", c.bytes))
    index = c.struct(
        ("stream", lambda: c.raw(16)),
        ("sequence", c.u64),
        ("repositories", lambda: c.list(c.text)),
        ("manifests", lambda: c.list(manifest)),
        ("blobs", lambda: c.list(blob)),
        ("required", lambda: c.list(required)),
        ("references", lambda: c.list(reference)),
        ("removals", lambda: c.list(removal)),
        ("resources", lambda: c.list(resource)),
    )()
    need(c.at == len(c.data), kind)
    return index


COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(COMPONENT + "(/" + COMPONENT + r")*\Z")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
CLASSES = {2: "release", 4: "operator", 8: "additional", 16: "helm"}


def ascending(values):
    return all(a < b for a, b in zip(values, values[1:]))


def check_index(index, head):  # 5.3
    repositories, manifests, blobs = index["repositories"], index["manifests"], index["blobs"]
    required, references, removals = index["required"], index["references"], index["removals"]
    need(1 <= index["sequence"] <= MAX_INT, "index-value")
    for name in repositories:
        need(len(name) <= 255 and REPOSITORY.match(name), "index-value")
    for entry in references + removals:
        need(entry["tag"] is None or TAG.match(entry["tag"]), "index-value")
    need(all(blob["encoding"] == 0 for blob in blobs), "index-value")
    need(all(reference["class"] in CLASSES for reference in references), "index-value")

    same = index["stream"].hex() == head["stream"] and index["sequence"] == head["sequence"]
    need(same, "index-other")

    kind = "index-list"
    need(len(manifests) + len(blobs) <= 2_000_000 and len(required) <= 2_000_000, kind)
    for entries in (references, removals, repositories, index["resources"]):
        need(len(entries) <= 1_000_000, kind)
    need(ascending([name.encode() for name in repositories]), kind)
    need(ascending([blob["digest"] for blob in blobs]), kind)
    need(ascending([entry["digest"] for entry in required]), kind)
    carried = {manifest["digest"] for manifest in manifests}
    need(len(carried) == len(manifests), kind)

    for manifest in manifests:
        type_ = manifest["mediaType"]
        need(1 <= len(type_.encode()) <= 512 and type_.strip(" "), "index-text")
        need(all(" " <= c <= "~" for c in type_), "index-text")
    for text in [r["source"] for r in references] + [r["name"] for r in index["resources"]]:
        need(len(text.encode()) <= 4096, "index-text")
        need(not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text), "index-text")

    kind = "index-entry"
    known = range(len(repositories))
    for entry in manifests + blobs + required:
        places = entry["repositories"]
        need(places and ascending(places) and all(place in known for place in places), kind)
    need(all(entry["home"] in known for entry in required), kind)
    need(all(entry["repository"] in known for entry in references + removals), kind)
    need(all(blob["size"] <= 2**50 for blob in blobs), kind)
    need(all(manifest["size"] <= 4 * MIB for manifest in manifests), kind)
    need(sum(entry["size"] for entry in required) <= MAX_INT, kind)
    need(all(reference["digest"] in carried for reference in references), kind)
    names = [(r["repository"], r["tag"] or r["digest"]) for r in references + removals]
    need(len(names) == len(set(names)), kind)
    digests = [entry["digest"] for entry in manifests + blobs + required]
    need(len(digests) == len(set(digests)), kind)
    for entry in manifests + blobs:
        pieces, size = entry["pieces"], entry["size"]
        need(1 <= len(pieces) <= 1_000_000, kind)
        need(sum(piece["size"] for piece in pieces) == size, kind)
        need(all(piece["size"] <= 8 * GIB - 512 for piece in pieces), kind)
        need(len(pieces) == 1 or all(piece["size"] for piece in pieces), kind)
        need(ascending([(piece["part"], piece["offset"]) for piece in pieces]), kind)

    kind = "index-placement"
    members = [[] for _ in head["parts"]]
    for entry in manifests + blobs:
        for number, piece in enumerate(entry["pieces"]):
            need(piece["part"] < len(members), kind)
            name = "blobs/sha256/" + entry["digest"].hex()
            if len(entry["pieces"]) > 1:
                name += ".%06d" % number
            members[piece["part"]].append((piece["offset"], piece["size"], name, entry["digest"]))
    for part, found in zip(head["parts"], members):
        found.sort(key=lambda item: item[0])
        at = table_bytes(cells_of(part["bytes"]))
        for offset, size, _, _ in found:
            need(offset == at + BLOCK, kind)
            at = offset + padded(size)
        need(at + END == part["bytes"], kind)
    return members


# 6 the parts


def header(name, size):
    fields = [
        name.encode().ljust(100, b"\0"),
        b"0000444\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        b"0",
        bytes(100),
        b"ustar\x0000",
        bytes(247),
    ]
    fields[6] = b"%06o\0 " % sum(b"".join(fields))
    return b"".join(fields)


def check_part(data, part, number, place, members, content):
    count = cells_of(part["bytes"])
    start = table_bytes(count)
    need("sha256:" + sha256(data[:start]) == part["table"], "table-digest")
    label = "mirror_seq%d_%06d.cells" % (number, place)
    need(data[:BLOCK] == header(label, 32 * count), "table-header")
    need(not any(data[BLOCK + 32 * count : start]), "table-header")
    for cell in range(count):
        said = data[BLOCK + 32 * cell : BLOCK + 32 * cell + 32].hex()
        at = start + cell * CELL
        need(sha256(data[at : at + CELL]) == said, "cell")
    at = start
    for offset, size, name, digest in members:
        need(data[at:offset] == header(name, size), "member-header")
        content.setdefault(digest, hashlib.sha256()).update(data[offset : offset + size])
        at = offset + padded(size)
        need(not any(data[offset + size : at]), "padding")
    need(not any(data[at:]), "padding")


# 7 the whole, 8 the order


def read(files, number, key):
    def file(name):
        need(name in files, "missing")
        return files[name]

    base = "mirror_seq%d" % number
    data = file(base + ".manifest.json")
    signers = verify(data, file(base + ".manifest.sig"), key)
    head, previous, tail = parse_head(data)
    need(head["sequence"] == number, "head-field")
    for part in head["parts"]:
        need(len(file(part["name"])) == part["bytes"], "part-size")
    raw = file(base + ".index")
    need(len(raw) == head["index"]["bytes"], "index-digest")
    need("sha256:" + sha256(raw) == head["index"]["digest"], "index-digest")
    index = parse_index(raw)
    members = check_index(index, head)
    content = {}
    for place, part in enumerate(head["parts"]):
        check_part(files[part["name"]], part, number, place, members[place], content)
    need(all(hash_.digest() == digest for digest, hash_ in content.items()), "blob")
    return head, "sha256:" + sha256(data), signers, index, previous, tail


def decide(state, stream, number, digest, kind, previous, tail, base=None):
    """State: (stream, sequence, digest) of a target with at most one stream, or None."""
    if state is None:
        return "accept" if number == 1 or kind == "full" else "gap"
    if state[0] != stream:
        return "foreign"
    if number == state[1]:
        return "known" if digest == state[2] else "fork"
    if number < state[1]:
        return "stale"
    links = ([previous] if previous else []) + tail
    if any(link_[0] == state[1] and link_[1] != state[2] for link_ in links):
        return "fork"
    if number == state[1] + 1 or kind == "full":
        return "accept"
    reaches = base is not None and base["sequence"] <= state[1] and any(link_[0] == state[1] for link_ in links)
    return "accept" if reaches else "gap"


def describe(files, number, key):
    """What expected.json says of a sequence."""
    head, digest, signers, index, _, _ = read(files, number, key)
    names = index["repositories"]

    def entry(item, *fields):
        out = {}
        for field in fields:
            value = item[field]
            if field == "digest":
                value = "sha256:" + value.hex()
            elif field == "pieces":
                value = [[piece["part"], piece["offset"], piece["size"]] for piece in value]
            elif field == "repositories":
                value = [names[place] for place in value]
            elif field in ("repository", "home"):
                value = names[value]
            elif field == "encoding":
                value = "raw"
            elif field == "class":
                value = CLASSES[value]
            elif field == "content":
                value = value.decode()
            out[field] = value
        return out

    fields = {
        "manifests": ("digest", "size", "mediaType", "pieces", "repositories"),
        "blobs": ("digest", "size", "encoding", "pieces", "repositories"),
        "required": ("digest", "size", "home", "repositories"),
        "references": ("repository", "tag", "digest", "source", "class"),
        "removals": ("repository", "tag", "digest"),
        "resources": ("name", "content"),
    }
    out = {"sequence": number, "digest": digest, "signers": signers, "head": head}
    out["repositories"] = names
    for name, wanted in fields.items():
        out[name] = [entry(item, *wanted) for item in index[name]]
    return out


def load(name):
    directory = os.path.join(HERE, name)
    files = {}
    for file in os.listdir(directory):
        with open(os.path.join(directory, file), "rb") as opened:
            files[file] = opened.read()
    return files


def damaged(base, fault):
    files = dict(base)
    for name, text in fault.get("replace", {}).items():
        files[name] = base64.b64decode(text)
    patch = fault.get("patch")
    if patch:
        name = patch["file"]
        if patch["from"] is not None:
            files[name] = base[patch["from"]]
        elif patch["xor"] is not None:
            at, value = patch["xor"]
            data = bytearray(base[name])
            data[at] ^= value
            files[name] = bytes(data)
        elif patch["bytes"] is not None:
            files[name] = base[name][: patch["bytes"]].ljust(patch["bytes"], b"\0")
        else:
            del files[name]
    return files


def main():
    key = os.path.join(HERE, "key.pub.pem")
    wrong = []
    bases = {name: load(name) for name in ("media", "tiny")}
    with open(os.path.join(HERE, "expected.json")) as file:
        expected = json.load(file)
    sequences = 0
    for name, described in expected.items():
        for wanted in described:
            sequences += 1
            number = wanted["sequence"]
            try:
                got = describe(bases[name], number, key)
            except Refusal as kind:
                wrong.append("%s/%d: refused as %s" % (name, number, kind))
                continue
            for field in wanted:
                if got[field] != wanted[field]:
                    wrong.append("%s/%d: `%s` differs" % (name, number, field))
    with open(os.path.join(HERE, "faults.json")) as file:
        faults = json.load(file)
    for fault in faults:
        try:
            read(damaged(bases[fault["base"]], fault), fault["sequence"], key)
            answer = "ok"
        except Refusal as kind:
            answer = str(kind)
        if answer != fault["expect"]:
            wrong.append("%s: %s instead of %s" % (fault["name"], answer, fault["expect"]))
    if wrong:
        return report(wrong)
    heads = {}
    for number in (1, 2):
        head, digest, _, _, previous, tail = read(bases["media"], number, key)
        heads[number] = (head["stream"], number, digest, head["kind"], previous, tail)
    at = {number: heads[number][:3] for number in heads}
    other = (at[1][0], 1, "sha256:" + "0" * 64)
    orders = [
        (None, 1, "accept"),
        (None, 2, "gap"),
        (at[1], 2, "accept"),
        (at[1], 1, "known"),
        (at[2], 1, "stale"),
        (other, 1, "fork"),
        (other, 2, "fork"),
        (("0" * 32, 1, at[1][2]), 2, "foreign"),
    ]
    for state, number, wanted in orders:
        answer = decide(state, *heads[number])
        if answer != wanted:
            wrong.append("order %s %d: %s instead of %s" % (state, number, answer, wanted))
    if not wrong:
        print("%d sequences, %d faults and %d orders as expected" % (sequences, len(faults), len(orders)))
    return report(wrong)


def report(wrong):
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
