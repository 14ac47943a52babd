"""The image of the dynamic module: the module, its architecture, and nothing of the plugin."""

import gzip
import io
import json
import tarfile
import tempfile
import unittest
from pathlib import Path

from scripts import load

image = load("native-image")


def module(machine: int, *versions: str) -> bytes:
    head = b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + machine.to_bytes(2, "little")
    return head + bytes(44) + b"".join(b"\0GLIBC_" + version.encode() for version in versions) + b"\0end"


class NativeImage(unittest.TestCase):
    def test_one_module_gives_one_archive(self):
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("first.tar", "second.tar")]
            for file in files:
                image.native("portcullis-native:test", module(62)).write(file)
            self.assertEqual(*(file.read_bytes() for file in files))

    def test_holds_the_module_alone_for_its_architecture(self):
        for machine, name in ((62, "amd64"), (183, "arm64")):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "image.tar"
                image.native("portcullis-native:test", module(machine)).write(path)
                with tarfile.open(path) as archive:
                    def blob(digest):
                        return archive.extractfile("blobs/" + digest.replace(":", "/")).read()

                    manifest = json.loads(blob(image.digest(path)))
                    config = json.loads(blob(manifest["config"]["digest"]))
                    [layer] = manifest["layers"]
                    packed = blob(layer["digest"])
            self.assertEqual(config["architecture"], name)
            self.assertNotIn("module.wasm.image/variant", manifest["annotations"])
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as files:
                self.assertEqual(files.getnames(), ["libportcullis.so"])
                self.assertEqual(files.getmember("libportcullis.so").mode, 0o755)
                self.assertEqual(files.extractfile("libportcullis.so").read(), module(machine))

    def test_a_file_that_is_no_module_is_refused(self):
        for content in (b"", b"MZ", module(3), module(62)[1:]):
            with self.assertRaises(SystemExit):
                image.native("portcullis-native:test", content)

    def test_says_which_glibc_is_asked_for(self):
        self.assertEqual(image.glibc(module(62, "2.2.5", "2.17", "2.34", "2.9")), "2.34")
        self.assertEqual(image.glibc(module(62)), "of any version")
