#!/usr/bin/python3 -IB
# SPDX-License-Identifier: Apache-2.0
"""Images as docker archives, made without a container engine.

usage: oci_image.py NAME:TAG FOLDER [--entrypoint PROGRAM] [--user UID] > archive.tar
"""
import argparse
import hashlib
import io
import json
import os
import sys
import tarfile


def layer_of(files):
    """A layer from {path: (text or bytes, mode)}; a path that ends in / is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(files):
            data, mode = files[path]
            info = tarfile.TarInfo(path.strip("/"))
            info.mode = mode
            if path.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
                continue
            data = data.encode() if isinstance(data, str) else data
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def layer_of_folder(folder):
    """A layer with the files of a folder, owned by root."""
    def as_root(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(os.path.join(folder, name), arcname=name, filter=as_root)
    return out.getvalue()


class Archive:
    """Writes images that share layers to a stream, each layer once."""

    def __init__(self, stream):
        self._tar = tarfile.open(fileobj=stream, mode="w|")
        self._images = []
        self._layers = set()

    def add_layer(self, data):
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._layers:
            self._layers.add(digest)
            self._write(f"{digest}.tar", io.BytesIO(data), len(data))
        return digest

    def add_layer_file(self, path):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(
                hashlib, "file_digest") else hashlib.sha256(file.read()).hexdigest()
            if digest not in self._layers:
                self._layers.add(digest)
                file.seek(0)
                self._write(f"{digest}.tar", file, os.path.getsize(path))
        return digest

    def add_image(self, names, layers, config):
        """`config` in the words of the image specification: Entrypoint, Cmd, Env, User, WorkingDir."""
        document = json.dumps({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
        }, sort_keys=True).encode()
        name = hashlib.sha256(document).hexdigest() + ".json"
        self._write(name, io.BytesIO(document), len(document))
        self._images.append({"Config": name, "RepoTags": names,
                             "Layers": [f"{layer}.tar" for layer in layers]})

    def close(self):
        manifest = json.dumps(self._images).encode()
        self._write("manifest.json", io.BytesIO(manifest), len(manifest))
        self._tar.close()

    def _write(self, name, stream, size):
        info = tarfile.TarInfo(name)
        info.size = size
        self._tar.addfile(info, stream)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder")
    parser.add_argument("--entrypoint")
    parser.add_argument("--user")
    given = parser.parse_args()
    config = {}
    if given.entrypoint:
        config["Entrypoint"] = [given.entrypoint]
    if given.user:
        config["User"] = given.user
    archive = Archive(sys.stdout.buffer)
    archive.add_image([given.name], [archive.add_layer(layer_of_folder(given.folder))], config)
    archive.close()


if __name__ == "__main__":
    main()
