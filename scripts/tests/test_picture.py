"""scripts/picture draws what was printed, as it was printed."""

import unittest
import xml.etree.ElementTree as xml

from scripts import load

script = load("picture")
LIGHT = script.THEMES[0]
PRINTED = """\
Starting something
Each line: a request

\x1b[1mWho gets in\x1b[0m
  1 \x1b[32m✔\x1b[0m GET /a<b>  → \x1b[1m200\x1b[0m
  2 \x1b[31m✘\x1b[0m GET /b

\x1b[32mAll 2 steps came out as they say.\x1b[0m
"""


class Picture(unittest.TestCase):
    def test_the_lines_are_those_from_the_first_heading_on_and_how_it_ended(self):
        lines = script.chosen(PRINTED)
        self.assertEqual(lines[0], "Each line: a request")
        self.assertIn("All 2 steps", lines[-1])

    def test_each_line_is_drawn_to_the_letter_with_its_blanks_and_colours(self):
        text = script.terminal("make run", script.chosen(PRINTED), LIGHT)
        shown = ["".join(line.itertext()).replace("\u00a0", " ") for line in xml.fromstring(text).iter() if line.tag.endswith("}text")]
        self.assertIn("  1 ✔ GET /a<b>  → 200", shown)
        self.assertIn("$ make run", shown)
        self.assertIn(f'fill="{LIGHT.good}">✔', text)
        self.assertIn(f'fill="{LIGHT.bad}">✘', text)

    def test_what_is_wider_than_the_picture_is_cut_and_says_so(self):
        drawn = script.spans("x" * (script.COLUMNS + 1), LIGHT)
        self.assertEqual(drawn, "x" * (script.COLUMNS - 1) + "…")

    def test_the_way_of_a_request_is_a_picture_in_both_themes(self):
        for theme in script.THEMES:
            xml.fromstring(script.request(theme))


if __name__ == "__main__":
    unittest.main()
