"""The plugin image: what is in it, and that nothing of this machine is."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

from scripts import load

image = load("image")
MODULE = b"\0asm\1\0\0\0" + bytes(range(256)) * 40


def written(folder: str, name: str) -> tuple[Path, str]:
    path = Path(folder) / name
    return path, image.plugin("portcullis:test", MODULE).write(path)


def engine() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


class Image(unittest.TestCase):
    def test_one_module_gives_one_archive(self):
        with tempfile.TemporaryDirectory() as folder:
            first, digest = written(folder, "first.tar")
            second, again = written(folder, "second.tar")
            self.assertEqual(digest, again)
            self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_holds_plugin_wasm_alone_in_its_last_layer(self):
        with tempfile.TemporaryDirectory() as folder:
            path, digest = written(folder, "image.tar")
            with tarfile.open(path) as archive:
                def read(name):
                    return archive.extractfile(name).read()

                def blob(named):
                    content = read("blobs/" + named["digest"].replace(":", "/"))
                    self.assertEqual("sha256:" + image.sha256(content), named["digest"])
                    self.assertEqual(len(content), named["size"])
                    return content

                index = json.loads(read("index.json"))
                self.assertEqual(index["manifests"][0]["digest"], f"sha256:{digest}")
                manifest = json.loads(blob(index["manifests"][0]))
                config = json.loads(blob(manifest["config"]))
                packed = blob(manifest["layers"][-1])
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as layer:
                self.assertEqual(layer.getnames(), ["plugin.wasm"])
                member = layer.getmember("plugin.wasm")
                self.assertEqual((member.uid, member.gid, member.uname, member.mode), (0, 0, "", 0o644))
                self.assertEqual(layer.extractfile(member).read(), MODULE)
            labels = config["config"]["Labels"]
            self.assertEqual(labels["org.opencontainers.image.title"], "portcullis")
            self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
            self.assertRegex(labels["org.opencontainers.image.version"], r"^\d+\.\d+\.\d+")

    def test_docker_takes_it(self):
        if not engine():
            self.skipTest("no Docker engine answers")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.tar"
            image.plugin("portcullis-test:load", MODULE).write(path)
            docker = lambda *words: subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()
            docker("load", "--input", str(path))
            container = docker("create", "portcullis-test:load", "/none")
            try:
                docker("cp", f"{container}:/plugin.wasm", str(Path(folder) / "copy"))
            finally:
                docker("rm", container)
                docker("rmi", "portcullis-test:load")
            self.assertEqual((Path(folder) / "copy").read_bytes(), MODULE)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
