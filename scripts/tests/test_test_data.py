"""scripts/test-data fetches what the tests look for where it puts it, and tells what it could not fetch."""

import contextlib
import io
import re
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from scripts import load

script = load("test-data")


class TestData(unittest.TestCase):
    def test_the_harness_looks_for_these_parts_and_no_other(self):
        source = (script.ROOT / "tests/harness/src/vectors.rs").read_text(encoding="utf-8")
        body = re.search(r"fn is_published\(.*?\n\}", source, re.DOTALL)[0]
        self.assertEqual(re.findall(r'"([\w/-]+)"', body), sorted(script.PARTS))

    def test_a_part_comes_whole_or_not_at_all(self):
        def whole(folder, _work):
            (folder / "file").write_text("data", encoding="utf-8")

        def broken(folder, _work):
            (folder / "half").write_text("data", encoding="utf-8")
            raise script.Failed("no network")

        with tempfile.TemporaryDirectory() as place, mock.patch.object(script, "CACHE", Path(place) / "data"), \
                mock.patch.object(script, "ROOT", Path(place)), \
                mock.patch.object(script, "PARTS", {"a/b": whole, "c": broken, "d": lambda *_: None}), \
                contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
            self.assertEqual(script.main(), 1)
            found = sorted(str(path.relative_to(script.CACHE)) for path in script.CACHE.rglob("*") if path.is_file())
        self.assertEqual(found, ["a/b/file"])
        self.assertIn("no c: no network", told.getvalue())
        self.assertIn("no d: there is nothing in the package", told.getvalue())


if __name__ == "__main__":
    unittest.main()
