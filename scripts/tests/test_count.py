"""scripts/test counts what cargo test prints, and tells a skip from a failure."""

import tempfile
import unittest
from pathlib import Path

from scripts import load

script = load("test")

OUTPUT = """\
   Compiling portcullis v0.1.0 (/somewhere)
     Running unittests src/lib.rs (target/debug/deps/portcullis-0)

running 4 tests
test rules::template ... ok
test rules::first_match - should panic ... ok
test vectors::all ... ok
test token::huge ... ignored, takes an hour

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/gate.rs (target/debug/deps/gate-0)

running 2 tests
test rotation ... FAILED
test cold_start ... ok

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s

error: test failed, to rerun pass `--test gate`
   Doc-tests portcullis

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
"""

NOWHERE = Path("/nonexistent/shared")


def tally(output=OUTPUT, code=101):
    counted = script.Tally()
    for line in output.splitlines():
        counted.rust(line)
    counted.rust_ended(code)
    return counted


class Count(unittest.TestCase):
    def test_the_programs_are_summed(self):
        counted = tally()
        self.assertEqual((counted.passed, counted.failed), (4, 1))
        self.assertEqual(counted.failures, ["rotation"])
        self.assertEqual(counted.skipped([], NOWHERE), [("token::huge", "takes an hour")])

    def test_a_recorded_skip_is_not_a_pass(self):
        counted = tally()
        recorded = [("vectors::all", "the shared data folder is not there"), ("vectors::all", "no internet")]
        skipped = counted.skipped(recorded, NOWHERE)
        self.assertEqual((counted.passed, counted.failed), (3, 1))
        self.assertIn(("vectors::all", "the shared data folder is not there; no internet"), skipped)
        self.assertEqual(len(skipped), 2)

    def test_a_skip_for_want_of_a_folder_that_is_there_is_a_failure(self):
        with tempfile.TemporaryDirectory() as folder:
            counted = tally()
            skipped = counted.skipped([("vectors::all", "no shared data folder"), ("x", "no Docker")], Path(folder))
        self.assertEqual((counted.passed, counted.failed), (2, 2))
        self.assertEqual([name for name, _ in skipped], ["token::huge", "x"])

    def test_a_test_that_skipped_and_failed_has_failed(self):
        counted = tally()
        skipped = counted.skipped([("rotation", "no Envoy")], NOWHERE)
        self.assertEqual((counted.passed, counted.failed), (4, 1))
        self.assertEqual([name for name, _ in skipped], ["token::huge"])

    def test_a_program_that_dies_has_failed_and_what_its_tests_came_to_before_stands(self):
        died = "     Running tests/gate.rs (/t)\n\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\n"
        for rest, passed, failed in (("error: test failed\n", 1, 2), (OUTPUT, 5, 3)):
            counted = tally(died + rest)
            self.assertEqual(counted.failures[:2], ["b", "tests/gate.rs: died before its result"])
            self.assertEqual((counted.passed, counted.failed), (passed, failed))

    def test_a_build_that_fails_has_failed(self):
        counted = tally("error[E0425]: cannot find value\n")
        self.assertEqual((counted.passed, counted.failed), (0, 1))

    def test_nothing_failed(self):
        counted = tally("running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 m\n", 0)
        self.assertEqual((counted.passed, counted.failed, counted.failures), (1, 0, []))

    def test_the_scripts_own_tests_are_counted(self):
        for report, code, expected in (
            (["Ran 5 tests in 0.01s", "", "OK"], 0, (5, 0, 0)),
            (["Ran 5 tests in 0.01s", "", "OK (skipped=2)"], 0, (3, 0, 2)),
            (["Ran 5 tests in 0.01s", "", "FAILED (failures=1, errors=1, skipped=1)"], 1, (2, 2, 1)),
            (["Traceback"], 1, (0, 1, 0)),
        ):
            counted = script.Tally()
            counted.own(report, code)
            self.assertEqual((counted.passed, counted.failed, len(counted.ignored)), expected)

    def test_a_test_may_call_itself_by_the_end_of_its_name(self):
        for name, whole in (("all", "vectors::all"), ("vectors::all", "vectors::all"), ("nowhere", "nowhere")):
            self.assertEqual(tally().whole(name), whole)
        counted = tally()
        self.assertEqual(counted.skipped([("all", "no Envoy")], NOWHERE)[1], ("vectors::all", "no Envoy"))
        self.assertEqual(counted.passed, 3)

    def test_what_nextest_reports_is_counted_like_what_cargo_test_prints(self):
        report = """<testsuites><testsuite name="portcullis::it">
            <testcase name="gate::rotation"><failure/></testcase>
            <testcase name="vectors::all"/><testcase name="gate::cold_start"/>
        </testsuite></testsuites>"""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "junit.xml"
            path.write_text(report, encoding="utf-8")
            counted = script.Tally()
            counted.nextest(path, 100)
            self.assertEqual((counted.passed, counted.failed), (2, 1))
            self.assertEqual(counted.failures, ["gate::rotation"])
            self.assertEqual(counted.skipped([("all", "no Envoy")], NOWHERE), [("vectors::all", "no Envoy")])
            self.assertEqual(counted.passed, 1)
            for code, failed in ((0, 0), (101, 1)):
                path.write_text("<testsuites/>", encoding="utf-8")
                counted = script.Tally()
                counted.nextest(path, code)
                self.assertEqual((counted.passed, counted.failed), (0, failed))
            counted = script.Tally()
            counted.nextest(Path(folder) / "none.xml", 101)
            self.assertEqual(counted.failed, 1)

    def test_the_skip_file_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "skips"
            path.write_text("a::b\tno Envoy\n\nc\n", encoding="utf-8")
            self.assertEqual(script.recorded(path), [("a::b", "no Envoy"), ("c", "no reason given")])


if __name__ == "__main__":
    unittest.main()
