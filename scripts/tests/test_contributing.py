"""CONTRIBUTING.md tells of every target that `make` lists, and of no other."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


class Contributing(unittest.TestCase):
    def test_it_has_every_target(self):
        listed = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) - {"help"}
        self.assertIn("test", listed)
        table = PAGE.split("## Targets")[1].split("## What a change needs")[0]
        self.assertEqual(set(re.findall(r"`make ([a-z-]+)`", table)), listed)


if __name__ == "__main__":
    unittest.main()
