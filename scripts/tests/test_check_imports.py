"""scripts/check-imports lets a module pass that a filter may be, and no other."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from scripts import load

check = load("check-imports")

FUNCTION, TABLE, MEMORY, GLOBAL = range(4)
GOOD_IMPORTS = [*(("env", name) for name in sorted(check.HOST_CALLS)), ("wasi_snapshot_preview1", "fd_write")]
GOOD_EXPORTS = ["memory", "_initialize", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate",
                "proxy_on_context_create", "proxy_on_configure", "proxy_on_request_headers",
                "proxy_on_request_body", "proxy_on_request_trailers", "proxy_on_response_headers",
                "proxy_on_http_call_response", "proxy_on_tick", "proxy_on_delete"]
UNUSED = ["proxy_on_done", "proxy_on_log", "portcullis_on_request_headers", "malloc", "proxy_on_response_trailers", "proxy_on_response_body", "proxy_on_grpc_close", "main"]


def number(value):
    """An unsigned LEB128."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value):
    return number(len(value.encode())) + value.encode()


def section(identity, entries):
    content = number(len(entries)) + b"".join(entries)
    return bytes([identity]) + number(len(content)) + content


TYPES = {FUNCTION: b"\0", TABLE: b"\x70\x01\x01\x02", MEMORY: b"\0\x01", GLOBAL: b"\x7f\0"}


def module(imports=(), exports=(), kind=FUNCTION, before=b""):
    """A module with these imports (module, name) of one kind, and these exports."""
    wanted = [text(m) + text(n) + bytes([kind]) + TYPES[kind] for m, n in imports]
    given = [text(n) + bytes([MEMORY if n == "memory" else FUNCTION]) + b"\0" for n in exports]
    return b"\0asm\x01\0\0\0" + before + section(2, wanted) + section(7, given)


class CheckImports(unittest.TestCase):
    def wrong(self, *named, **arguments):
        found = check.findings(module(*named, **arguments))
        self.assertTrue(found, "nothing was found")
        return "\n".join(found)

    def test_a_good_module_passes(self):
        self.assertEqual(check.findings(module(GOOD_IMPORTS, GOOD_EXPORTS)), [])

    def test_a_custom_section_does_not_hide_what_follows(self):
        custom = bytes([0]) + number(300) + text("name") + bytes(295)
        self.assertEqual(check.findings(module(GOOD_IMPORTS, GOOD_EXPORTS, before=custom)), [])
        self.assertIn("placeholder", self.wrong([("__wbindgen_placeholder__", "x")], GOOD_EXPORTS, before=custom))

    def test_a_foreign_module_fails(self):
        for name in ("__wbindgen_placeholder__", "wasi_unstable", "", "ENV"):
            self.assertIn("does not have", self.wrong([*GOOD_IMPORTS, (name, "proxy_log")], GOOD_EXPORTS))

    def test_a_foreign_function_fails(self):
        for pair in (("env", "proxy_continue_request"), ("env", "emscripten_notify_memory_growth"),
                     ("wasi_snapshot_preview1", "sock_recv"), ("env", "fd_write")):
            self.assertIn("not on the list", self.wrong([*GOOD_IMPORTS, pair], GOOD_EXPORTS))

    def test_what_is_not_a_function_fails(self):
        for kind in (TABLE, MEMORY, GLOBAL):
            self.assertIn(" as a ", self.wrong([("env", "proxy_log")], GOOD_EXPORTS, kind=kind))

    def test_a_host_call_that_is_no_longer_made_fails(self):
        for pair in GOOD_IMPORTS[:-1]:
            rest = [other for other in GOOD_IMPORTS if other != pair]
            self.assertIn(f"does not import env.{pair[1]}", self.wrong(rest, GOOD_EXPORTS))

    def test_a_missing_export_fails(self):
        for name in GOOD_EXPORTS:
            rest = [other for other in GOOD_EXPORTS if other != name]
            self.assertIn("export", self.wrong(GOOD_IMPORTS, rest))

    def test_an_export_for_tests_alone_fails(self):
        for name in ("portcullis_trap", "proxy_abi_version_0_1_0", "main", "__trap"):
            self.assertIn("no host asks for", self.wrong(GOOD_IMPORTS, [*GOOD_EXPORTS, name]))

    def test_a_callback_that_the_filter_does_not_answer_fails(self):
        for name in UNUSED:
            self.assertIn("no host asks for", self.wrong(GOOD_IMPORTS, [*GOOD_EXPORTS, name]))

    def test_the_build_exports_what_is_answered_and_the_filters_own_in_place_of_the_sdks(self):
        sdk = ["proxy_on_request_headers", *(name for name in GOOD_EXPORTS if name != "proxy_on_request_headers"),
               *(name for name in UNUSED if name.startswith("proxy"))]
        indexes = {name: at for at, name in enumerate(sdk, 200)}
        own = {"portcullis_on_request_headers": 7, "portcullis_on_http_call_response": 70_000}
        entries = [text(name) + bytes([MEMORY if name == "memory" else FUNCTION]) + number(at)
                   for name, at in (indexes | own).items()]
        custom = bytes([0]) + number(5) + text("name")
        start = b"\0asm\x01\0\0\0" + custom + section(2, [])
        built = check.with_answered_exports(start + section(7, entries) + section(10, []))
        self.assertTrue(built.startswith(start) and built.endswith(section(10, [])))
        reader = check.Reader(dict(check.sections(built))[check.EXPORT_SECTION])
        found = [(reader.name(), reader.byte(), reader.number()) for _ in range(reader.number())]
        expected = {name: indexes[name] for name in GOOD_EXPORTS}
        expected |= {"proxy_on_request_headers": 7, "proxy_on_http_call_response": 70_000}
        self.assertEqual({name: at for name, _, at in found}, expected)
        self.assertEqual(len(found), len(expected))
        self.assertEqual(check.with_answered_exports(built), built)

    def test_what_is_no_module_fails(self):
        good = module(GOOD_IMPORTS, GOOD_EXPORTS)
        for data in (b"", b"\0asm", b"\x7fELF" + good[4:], good[:-3], good[:40],
                     b"\0asm\x0d\0\x01\0" + good[8:], good[:9] + b"\xff" * 12):
            self.assertIn("malformed", "\n".join(check.findings(data)))

    def test_the_command_ends_with_1_for_a_bad_module_and_0_for_a_good_one(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "filter.wasm"
            cases = ((module(GOOD_IMPORTS, GOOD_EXPORTS), 0),
                     (module([("env", "system")], GOOD_EXPORTS), 1), (None, 1))
            for data, code in cases:
                path.unlink() if data is None else path.write_bytes(data)
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
                    self.assertEqual(check.main([str(path)]), code)
                self.assertEqual(bool(err.getvalue()), bool(code))


if __name__ == "__main__":
    unittest.main()
