{
  "payloadType": "application/vnd.bundle.head.v1+json",
  "signatures": [
    {
      "keyid": "sha256:fd1c8ea435fe3cc2e56b3783db25885b611c20b31e54c1e36681c9d1c00d9b6f",
      "sig": "IGwhDZpiZIPdzff1LzuvlesBHGoQbn/TscYbmtxpM6S6W4c28bkQ5NG+JFmave1Tdlv2zIB9z7ttJXJ0LD4xBA=="
    }
  ]
}
