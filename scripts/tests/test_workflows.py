"""The workflows of .github call make targets that exist, run pinned actions, and may do no more than they need."""

import re
import unittest
from pathlib import Path

from scripts import load

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
ALL = WORKFLOWS + sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
# Actions by major version: each is named in a comment at its place, with the reason.
BY_VERSION = {"actions/attest-build-provenance@v3"}
# What else a step may run: publishing a release runs nothing of the repository, and what the runner forbids is allowed on it alone.
OTHER = ("gh release create ", "sudo sysctl ")


def lines(path, key):
    """The values of a key, wherever it is in the file."""
    return re.findall(rf"^ *(?:- )?{key}: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))


class Workflows(unittest.TestCase):
    def test_there_is_one_for_each_purpose(self):
        wanted = {"checks", "tests", "matrix", "fuzz", "nightly", "docs", "release"}
        self.assertEqual({path.stem for path in WORKFLOWS}, wanted)

    def test_each_step_is_a_make_target(self):
        known = targets()
        self.assertIn("test", known)
        for path in ALL:
            for command in lines(path, "run"):
                if command.startswith(OTHER):
                    continue
                words = command.split()
                self.assertEqual(words[0], "make", f"{path.name}: {command}")
                self.assertIn(words[1], known, f"{path.name}: {command}")

    def test_each_action_is_pinned_by_its_commit(self):
        for path in ALL:
            for action in lines(path, "uses"):
                name = action.split(" #")[0]
                if name.startswith("./") or name in BY_VERSION:
                    continue
                self.assertRegex(action, r"^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", path.name)

    def test_each_job_ends_and_reads_only_but_where_it_says_so(self):
        for path in WORKFLOWS:
            text = path.read_text(encoding="utf-8")
            self.assertIn("\npermissions:\n  contents: read\n", text, path.name)
            self.assertRegex(text, r"\nconcurrency:\n", path.name)
            self.assertEqual(len(lines(path, "runs-on")), len(lines(path, "timeout-minutes")), path.name)
            checkouts = text.count("actions/checkout@")
            self.assertEqual(checkouts, text.count("persist-credentials: false"), path.name)

    def test_every_fuzzer_runs_at_night(self):
        night = re.search(r"target: \[(.+)\]", (FOLDER / "fuzz.yaml").read_text(encoding="utf-8"))
        self.assertEqual(tuple(night[1].split(", ")), load("fuzz").TARGETS)

    def test_the_matrix_has_every_supported_envoy(self):
        matrix = re.search(r"envoy: \[(.+)\]", (FOLDER / "matrix.yaml").read_text(encoding="utf-8"))
        self.assertEqual(tuple(re.findall(r"[\d.]+", matrix[1])), load("test-matrix").VERSIONS)


if __name__ == "__main__":
    unittest.main()
