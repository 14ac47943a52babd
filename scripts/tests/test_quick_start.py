"""scripts/quick-start reads the README's own words: what to install, what to type, what to try."""

import unittest

from scripts import FOLDER, load

script = load("quick-start")

README = """\
# Something

## Quick start

You need Rust through [rustup](https://rustup.rs), a C compiler, Python 3 with pip, make
and curl. The rest comes by itself.

```console
make run
```

builds everything.

```yaml
no: command
```

```console
$ make test
make last
```

## Another section

```console
make nothing
```
"""

UP = """\
All 26 steps came out as they say.

Running
  gateway            http://127.0.0.1:10000

To try
  TOKEN=$(curl -s http://127.0.0.1:8081/token)
  curl -i http://127.0.0.1:10000/healthz

Ctrl-C"""


class QuickStart(unittest.TestCase):
    def test_what_is_typed_are_the_lines_of_the_console_blocks_in_order(self):
        self.assertEqual(script.commands(script.section(README)), ["make run", "make test", "make last"])

    def test_what_is_installed_is_what_the_readme_names(self):
        wanted = ["gcc", "libc6-dev", "python3", "python3-pip", "make", "curl", "ca-certificates"]
        self.assertEqual(script.packages(script.section(README)), wanted)

    def test_a_need_that_is_no_known_package_is_an_error_and_not_passed_over(self):
        with self.assertRaisesRegex(script.Failed, "cmake 4"):
            script.packages(script.section(README.replace("make\nand", "cmake 4,\nmake and")))
        with self.assertRaisesRegex(script.Failed, "rustup"):
            script.packages(script.section(README.replace("Rust through", "Rust, not through")))

    def test_a_readme_without_commands_is_an_error(self):
        with self.assertRaises(script.Failed):
            script.commands(script.section(README.replace("console", "text")))
        with self.assertRaises(script.Failed):
            script.section("# Something\n")

    def test_what_is_tried_is_what_make_run_tells_to_try(self):
        token, healthz = script.to_try(UP)
        self.assertEqual(token, "TOKEN=$(curl -s http://127.0.0.1:8081/token)")
        self.assertEqual(healthz, "curl -i http://127.0.0.1:10000/healthz")
        with self.assertRaises(script.Failed):
            script.to_try("Running\n")

    def test_only_what_has_a_token_or_is_public_is_to_pass(self):
        self.assertEqual(script.status_of("curl -i http://g/healthz"), "200")
        self.assertEqual(script.status_of('curl -i http://g/orders/7 -H "Authorization: Bearer $TOKEN"'), "200")
        self.assertEqual(script.status_of("curl -i http://g/orders/7"), "401")
        self.assertIsNone(script.status_of("curl -s http://g/"))

    def test_the_page_gets_the_readers_own_values_and_nothing_else_is_changed(self):
        page = (FOLDER.parent / "docs" / "getting-started.md").read_text(encoding="utf-8")
        lines = script.commands(page)
        own = {name: "own" for name in script.OWN_VALUES}
        changed = [line for line in lines if script.filled_in(line, own) != line]
        self.assertEqual([line.split("=")[0] for line in changed], [f"export {name}" for name in script.OWN_VALUES])
        self.assertEqual([script.status_of(line) for line in lines if script.status_of(line)], ["401", "200", "401"])
        self.assertFalse([line for line in lines if line.endswith("\\")])

    def test_the_readme_of_this_repository_can_be_followed(self):
        section = script.section((FOLDER.parent / "README.md").read_text(encoding="utf-8"))
        self.assertEqual(script.commands(section), ["make run", "make test"])
        self.assertIn("git", script.packages(section))


if __name__ == "__main__":
    unittest.main()
