"""tests/real: what is no proof is not taken for one."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "real"))

from istio import gateway, rendered  # noqa: E402
from mcp import system  # noqa: E402

USE, READ, WRITE = "mcp:use", "mcp:use files:read", "mcp:use files:read files:write"
CAME = {"connect": "2026-07-28", "tools": "read,write", "read once": "read ran", "write once": "write ran", "read again": "read ran"}


def granted(*scopes, again="refresh_token"):
    before = [(False, {"scope": scope, "grant_type": "authorization_code"}) for scope in scopes]
    return before + ([(True, {"scope": scopes[-1], "grant_type": again})] if again else [])


def held(came, grants):
    return system.judged("client", came, "server", "2026-07-28", grants).held


class Mcp(unittest.TestCase):
    def test_a_client_has_to_have_gone_the_whole_way(self):
        self.assertTrue(held(CAME, granted(USE, READ, WRITE)))
        self.assertTrue(held(CAME, granted(USE, READ + " offline_access", WRITE, again="authorization_code")))
        for what, grants in {
            "no step-up": granted(WRITE),
            "one step-up": granted(USE, WRITE),
            "nothing after its token had run out": granted(USE, READ, WRITE, again=None),
            "nothing at all": [],
        }.items():
            self.assertFalse(held(CAME, grants), what)
        for step in CAME:
            for came in ("FAILED", ""):
                self.assertFalse(held({**CAME, step: came}, granted(USE, READ, WRITE)), step)
        self.assertFalse(held({**CAME, "connect": "2025-11-25"}, granted(USE, READ, WRITE)))


class Istio(unittest.TestCase):
    def test_a_name_of_which_no_rule_makes_labels_is_found(self):
        known = ["portcullis_requests_decision_deny_provider_corp_reason_expired_instance_second{}",
                 'portcullis_token_corp_result_hit{cache="provider"}', "portcullis_client_failures{}"]
        self.assertEqual(gateway.without_labels([*known, "portcullis_new_provider_corp{}"]), ["portcullis_new_provider_corp"])

    def test_policies_are_found_in_the_sets_and_in_the_page(self):
        found = dict(rendered.sets())
        self.assertGreaterEqual(sum(name[0].isdigit() for name in found), 10)
        self.assertGreaterEqual(sum(name.startswith("page-") for name in found), 10)
        for name, policies in found.items():
            kinds = {rendered.head(policy).kind for policy in policies}
            self.assertIn("RequestAuthentication", kinds, name)
            self.assertTrue((rendered.KEPT / f"{name}.json").is_file(), name)


if __name__ == "__main__":
    unittest.main()
