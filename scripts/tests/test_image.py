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


def written(folder: str, name: str, layout: Path | None = None):
    path = Path(folder) / name
    return path, image.plugin("portcullis:test", MODULE).write(path, folder=layout)


def engine() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


class Image(unittest.TestCase):
    def test_one_module_gives_one_archive(self):
        with tempfile.TemporaryDirectory() as folder:
            first, digests = written(folder, "first.tar")
            second, again = written(folder, "second.tar")
            self.assertEqual(digests, again)
            self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_holds_plugin_wasm_alone_in_its_last_layer(self):
        with tempfile.TemporaryDirectory() as folder:
            path, digests = written(folder, "image.tar")
            with tarfile.open(path) as archive:
                def read(name):
                    return archive.extractfile(name).read()

                def blob(named):
                    content = read("blobs/" + named["digest"].replace(":", "/"))
                    self.assertEqual("sha256:" + image.sha256(content), named["digest"])
                    self.assertEqual(len(content), named["size"])
                    return content

                index = json.loads(read("index.json"))
                self.assertEqual(index["manifests"][0]["digest"], f"sha256:{digests.image}")
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

    def test_the_folder_is_the_archive_unpacked_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            layout = Path(folder) / "layout"
            layout.mkdir()
            (layout / "of-before").touch()
            path, _ = written(folder, "image.tar", layout)
            with tarfile.open(path) as archive:
                packed = {member.name: archive.extractfile(member).read() for member in archive}
            laid = {str(file.relative_to(layout)): file.read_bytes() for file in layout.rglob("*") if file.is_file()}
            self.assertEqual(laid, packed)

    def test_each_way_to_publish_has_the_line_to_paste(self):
        digests = image.Digests("1" * 64, "2" * 64)
        said = image.ways("portcullis:1.2.3", digests, MODULE)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        for command, digest in {
            "crane push dist/portcullis-image REGISTRY/portcullis:1.2.3": digests.image,
            "skopeo copy oci-archive:dist/portcullis-image.tar docker://REGISTRY/portcullis:1.2.3": digests.image,
            "regctl image import REGISTRY/portcullis:1.2.3 dist/portcullis-image.tar": digests.image,
            "crane push dist/portcullis-image.tar REGISTRY/portcullis:1.2.3": digests.crane,
        }.items():
            at = next(at for at, line in enumerate(lines) if line.startswith(command))
            self.assertEqual(next(line for line in lines[at:] if line.startswith("sha256: ")), f"sha256: {digest}")
        self.assertEqual(lines[-1], f"sha256: {image.sha256(MODULE)}")
        self.assertIn("crane push dist/portcullis-image registry.example/gate:1\n", image.ways("registry.example/gate:1", digests, MODULE))

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
