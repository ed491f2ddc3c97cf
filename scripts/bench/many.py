#!/usr/bin/env python3
"""many.py PORT IMAGES LAYERS: a source registry of IMAGES images `many/N:1` with LAYERS tiny layers each, none shared, made up on the fly.

For the cost of numbers instead of bytes: history, plan and index of 100,000 blobs. Reads only; standard library only."""
import hashlib, json, re, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, images, layers = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
blobs, manifests = {}, {}


def add(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"digest": digest, "size": len(data)}


for image in range(images):
    config = add(b'{"architecture":"amd64","os":"linux","config":{"Labels":{"n":"%d"}}}' % image)
    content = [add(b"layer %d of image %d\n" % (layer, image)) for layer in range(layers)]
    data = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": dict(config, mediaType="application/vnd.oci.image.config.v1+json"),
                       "layers": [dict(d, mediaType="application/vnd.oci.image.layer.v1.tar") for d in content]}).encode()
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    manifests["many/%d" % image, "1"] = manifests["many/%d" % image, name] = (name, data)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one write an answer
    disable_nagle_algorithm = True

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        path = self.path.split("?")[0]
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if path == "/v2/":
            self.answer(200, b"{}")
        elif path.endswith("/tags/list"):
            self.answer(200, json.dumps({"name": path[4:-10], "tags": ["1"]}).encode(), Content_Type="application/json")
        elif found and found[2] == "manifests" and (found[1], found[3]) in manifests:
            digest, data = manifests[found[1], found[3]]
            self.answer(200, data, Content_Type=MANIFEST, Docker_Content_Digest=digest)
        elif found and found[2] == "blobs" and found[3] in blobs:
            self.answer(200, blobs[found[3]], Content_Type="application/octet-stream")
        else:
            self.answer(404)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


Server(("127.0.0.1", port), Handler).serve_forever()
