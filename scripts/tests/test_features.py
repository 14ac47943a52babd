"""Programs and tests of the workspace ask for the same features of the crates that they share, so that none is compiled twice."""

import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def crates(kinds):
    """Each crate with its features, as cargo chooses them for these kinds of dependencies."""
    line = ["cargo", "tree", "--workspace", "--locked", "--edges", kinds, "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.replace(" (*)", "").splitlines())


class Features(unittest.TestCase):
    def test_tests_ask_for_no_more_than_programs_of_what_both_have(self):
        programs, tests = crates("normal,build"), crates("normal,build,dev")
        self.assertGreater(len(programs), 100)
        message = "name the missing features in tests/harness/Cargo.toml"
        self.assertEqual(sorted(programs - tests), [], message)


if __name__ == "__main__":
    unittest.main()
