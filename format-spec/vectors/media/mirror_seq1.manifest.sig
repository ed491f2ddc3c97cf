{
  "payloadType": "application/vnd.bundle.head.v1+json",
  "signatures": [
    {
      "keyid": "sha256:fd1c8ea435fe3cc2e56b3783db25885b611c20b31e54c1e36681c9d1c00d9b6f",
      "sig": "AOwr50czlqJNIDVhKv4l7LBaH+E1D01U+/eqdFqq9OvZjdXq0y4S5eINxstWuFEFLyvpxkxSOQBBieQegCXnDA=="
    }
  ]
}
