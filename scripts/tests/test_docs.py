"""scripts/docs finds links that lead nowhere, and there are none."""

import tempfile
import unittest
from pathlib import Path

from scripts import load

script = load("docs")


class Docs(unittest.TestCase):
    def test_no_link_of_the_pages_is_dead_and_the_book_lists_every_page(self):
        self.assertEqual(script.dead(script.LISTED + [script.ROOT / "README.md"]) + script.left_out(), [])

    def test_a_dead_link_is_found_and_none_in_a_block_of_code_is_looked_at(self):
        (script.ROOT / "target").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=script.ROOT / "target") as folder:
            page = Path(folder) / "page.md"
            page.write_text("# One\n\n[a](#one) [b](#two) [c](gone.md) <img src=\"gone.svg\">\n\n```text\n[d](never.md)\n```\n", encoding="utf-8")
            wrong = [line.split(": ", 1)[1] for line in script.dead([page])]
            self.assertEqual(wrong, ["#two: no such heading", "gone.md: no such file", "gone.svg: no such file"])

    def test_anchors_are_those_of_github(self):
        found = script.anchors("# `providers.<name>`\n## One request, one rule\n### Same\n### Same\n")
        self.assertEqual(found, {"providersname", "one-request-one-rule", "same", "same-1"})


if __name__ == "__main__":
    unittest.main()
