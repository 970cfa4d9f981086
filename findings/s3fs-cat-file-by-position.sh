#!/usr/bin/env bash
# s3fs 2026.9.0: cat_file(path, start, end) by position returns another part of the object than on other file systems.
#
# Behaviour: fsspec defines cat_file(path, start=None, end=None). S3FileSystem has the parameter version_id in second
# place, so cat_file(path, 0, 4) takes 0 as the version, which a file system that is not version-aware ignores, and 4 as
# the start: it returns everything from byte 4 on. There is no warning or error. By name, start and end work.
# Seen with s3fs 2026.9.0, fsspec 2026.9.0 and the server of moto 5.2.5, Python 3.11, on 2026-11-28; the output:
#     memory: by position b'abcd', by name b'abcd'
#     s3: by position b'efghij', by name b'abcd'
# Exits with 1 where the behaviour differs from this description.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet s3fs==2026.9.0 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 "$folder/venv/bin/python" - <<'PYTHON'
import logging
import os

import fsspec
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
s3 = fsspec.filesystem("s3", endpoint_url=f"http://{host}:{port}")
s3.mkdir("bucket")
read = {}
for name, fs in (("memory", fsspec.filesystem("memory")), ("s3", s3)):
    fs.pipe_file("bucket/key", b"abcdefghij")
    read[name] = (fs.cat_file("bucket/key", 0, 4), fs.cat_file("bucket/key", start=0, end=4))
    print(f"{name}: by position {read[name][0]}, by name {read[name][1]}", flush=True)
os._exit(read != {"memory": (b"abcd", b"abcd"), "s3": (b"efghij", b"abcd")})
PYTHON
