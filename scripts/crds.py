#!/usr/bin/env python3
"""Holds files for clusters against the schemas of the objects that are in them.

    scripts/crds.py DIR...

The schemas are the CustomResourceDefinitions of OpenShift and of the Operator lifecycle managers: below $BUNDLE_CRDS, or
where Go keeps the modules that have them (`go mod download MODULE@VERSION` brings them there; MODULES below). Where the schema
of an object is missing, or PyYAML, it says so and ends with 77. Of a schema are looked at: type, properties, required, items,
enum, pattern, minimum, maxLength; a field that it does not know is refused, as `oc apply` warns of it and the cluster drops it.
Objects without a schema anywhere are looked at by hand: a ConfigMap's keys, an UpdateService's fields.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys

SKIPPED = 77
OBJECT_MAX = 262_144
OPEN = {"metadata"}

# Who has the schema of a kind, and how its file is called.
OPENSHIFT = "github.com/openshift/api"
MODULES = {
    "ImageDigestMirrorSet": (OPENSHIFT, "*imagedigestmirrorsets*.yaml"),
    "ImageTagMirrorSet": (OPENSHIFT, "*imagetagmirrorsets*.yaml"),
    "ImageContentSourcePolicy": (OPENSHIFT, "*contentsourcepolicies*.yaml"),
    "CatalogSource": ("github.com/operator-framework/api", "*catalogsources*.yaml"),
    "ClusterCatalog": ("github.com/operator-framework/operator-controller", "*clustercatalogs*.yaml"),
}


def skip(why):
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(SKIPPED)


try:
    import yaml
except ImportError:
    skip("PyYAML is not on this machine")


def places(module):
    named = os.environ.get("BUNDLE_CRDS")
    if named:
        return [pathlib.Path(named)]
    try:
        cache = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return []
    above, name = module.rsplit("/", 1)
    return sorted(pathlib.Path(cache, above).glob(f"{name}@*"))


def schemas():
    """Schemas by (apiVersion, kind)."""
    found = {}
    for module, pattern in MODULES.values():
        for path in [path for place in places(module) for path in sorted(place.rglob(pattern))]:
            try:
                crd = yaml.safe_load(path.read_text())
            except yaml.YAMLError:
                continue
            if not isinstance(crd, dict) or crd.get("kind") != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def check(schema, value, at, top=False):
    kind = TYPES.get(schema.get("type"))
    if kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        yield f"{at}: {type(value).__name__} where {schema['type']} is expected"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} does not fit its pattern"
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield f"{at}: {value!r} is too long"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{at}: {value!r} is below {schema['minimum']}"
    if isinstance(value, dict) and "properties" in schema:
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}: `{name}` is missing"
        for name, below in value.items():
            if top and name in OPEN or below is None:  # nothing is a field that is not there
                continue
            if name not in schema["properties"]:
                yield f"{at}: `{name}` is no field"
                continue
            yield from check(schema["properties"][name], below, f"{at}.{name}")
    if isinstance(value, list):
        if schema.get("x-kubernetes-list-type") == "set" and len(set(map(str, value))) < len(value):
            yield f"{at}: an item stands twice"
        for number, below in enumerate(value):
            yield from check(schema.get("items", {}), below, f"{at}[{number}]")


UPDATE_SERVICE = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"enum": ["updateservice.operator.openshift.io/v1"]},
        "kind": {},
        "metadata": {},
        "spec": {
            "type": "object",
            "required": ["graphDataImage", "releases", "replicas"],
            "properties": {
                "graphDataImage": {"type": "string"},
                "releases": {"type": "string", "pattern": "^[^:]+(:[0-9]+)?/[^:@]+$"},
                "replicas": {"type": "integer", "minimum": 1},
            },
        },
    },
}


def config_map(value):
    labels = value["metadata"].get("labels", {})
    if labels.get("release.openshift.io/verification-signatures") != "":
        yield "the label that a cluster looks for is missing"
    if value["metadata"].get("namespace") != "openshift-config-managed":
        yield "a cluster does not look into this namespace"
    for key, content in value["binaryData"].items():
        if not re.fullmatch(r"sha256-[0-9a-f]{64}-[1-9][0-9]*", key):
            yield f"`{key}` is no key of a signature"
        base64.b64decode(content, validate=True)


def problems(value, known):
    name = value.get("metadata", {}).get("name", "")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        yield f"`{name}` is no name of an object"
    # What `oc apply` keeps in an annotation.
    if len(json.dumps(value, separators=(",", ":"))) >= OBJECT_MAX:
        yield "it is larger than `oc apply` takes"
    key = (value.get("apiVersion"), value.get("kind"))
    if key == ("v1", "ConfigMap"):
        yield from config_map(value)
    elif key[1] == "UpdateService":
        yield from check(UPDATE_SERVICE, value, key[1], top=True)
    elif key in known:
        yield from check(known[key], value, key[1], top=True)
    else:
        yield f"no schema of {key}"


def objects(path):
    text = path.read_text()
    documents = [json.loads(text)] if path.suffix == ".json" else list(yaml.safe_load_all(text))
    for document in documents:
        yield from document["items"] if document.get("kind") == "List" else [document]


def main():
    known = schemas()
    kinds = {kind for _, kind in known}
    faults = count = 0
    missing = set()
    for directory in sys.argv[1:]:
        for path in sorted(pathlib.Path(directory).iterdir()):
            if path.name.startswith(".") or path.suffix not in (".yaml", ".json"):
                continue
            for value in objects(path):
                if value.get("kind") in MODULES.keys() - kinds:
                    missing.add(value["kind"])
                    continue
                count += 1
                for problem in problems(value, known):
                    faults += 1
                    print(f"{path}: {problem}")
    print(f"{count} objects, {faults} faults")
    if missing and not faults:
        modules = ", ".join(sorted({MODULES[kind][0] for kind in missing}))
        skip(f"no schema of {', '.join(sorted(missing))} (set BUNDLE_CRDS, or `go mod download` of {modules})")
    sys.exit(1 if faults or not count else 0)


main()
