"""scripts/wasm-linker links the callbacks that the filter answers, its own in place of the SDK's, and no other."""

import unittest

from scripts import load

linker = load("wasm-linker")

LISTED = frozenset({"proxy_on_tick", "proxy_on_request_headers"})


class WasmLinker(unittest.TestCase):
    def test_exports_that_nothing_answers_are_left_out(self):
        line = ["-flavor", "wasm", "--export", "_initialize", "--export", "portcullis_on_request_headers",
                "--export", "proxy_on_grpc_close", "--export", "proxy_on_request_headers",
                "--export", "proxy_on_tick", "-o", "proxy_on_log", "a.o", "--gc-sections"]
        kept = ["-flavor", "wasm", "--export", "_initialize", "--export", "portcullis_on_request_headers",
                "--export", "proxy_on_tick", "-o", "proxy_on_log", "a.o", "--gc-sections"]
        self.assertEqual(linker.answered(line, LISTED, "portcullis_on_"), kept)

    def test_another_command_line_stays_as_it_is(self):
        line = ["-o", "x", "--export", "main"]
        self.assertEqual(linker.answered(line, LISTED, "portcullis_on_"), line)


if __name__ == "__main__":
    unittest.main()
