"""scripts/release: a release has all that it should, its bill of materials names every crate, and bytes do not vary."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import tomllib
import unittest
from pathlib import Path
from unittest import mock

from scripts import load

release = load("release")
sbom = release.sbom

TIME = 1_700_000_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fake(artifact):
    return f"the bytes of {artifact}".encode()


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The page's npm packages are not needed to test the rest.
        every = {name: one for name, one in sbom.artifacts().items() if name != "playground"}
        cls.set = release.Set(release.image.version(), every)
        cls.files = cls.made()

    @classmethod
    def made(cls):
        artifacts = {name: fake(name) for name in cls.set.artifacts}
        with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH=str(TIME)):
            return release.assembled(cls.set, artifacts, TIME, COMMIT, None)

    def test_has_all_that_a_release_has(self):
        self.assertEqual(sorted(self.files), self.set.names())
        self.assertEqual(release.findings(self.set, self.files), [])
        version, host = self.set.version, sbom.machine()
        for name in (f"portcullis-{version}.wasm", f"portcullis-{version}-image.tar", f"libportcullis-{version}-{host}.so",
                     f"portcullis-{version}-{host}.tar.gz", f"portcullis-{version}.schema.json", f"portcullis-{version}.wasm.cdx.json",
                     "THIRD-PARTY-LICENSES.txt", "CHANGELOG.md", "provenance.json", "SHA256SUMS"):
            self.assertIn(name, self.files)

    def test_the_same_sources_give_the_same_bytes(self):
        self.assertEqual(self.made(), self.files)

    def test_the_checksums_are_those_that_sha256sum_takes(self):
        lines = self.files["SHA256SUMS"].decode().splitlines()
        self.assertEqual(len(lines), len(self.files) - 1)
        for line in lines:
            digest, name = line.split("  ")
            self.assertEqual(digest, hashlib.sha256(self.files[name]).hexdigest())

    def test_each_bill_names_every_crate_of_cargo_tree_and_no_other(self):
        for name, artifact in self.set.artifacts.items():
            printed = subprocess.run(["cargo", "tree", "--locked", "--package", artifact.package, "--target", artifact.target,
                                      "--edges", "normal,build", "--prefix", "none"], cwd=release.ROOT, check=True,
                                     capture_output=True, text=True).stdout
            crates = {tuple(line.replace(" (*)", "").split()[:2]) for line in printed.splitlines() if line.strip()}
            bill = json.loads(self.files[self.set.bill(name)])
            named = [bill["metadata"]["component"], *bill["components"]]
            found = {(one["name"], "v" + one["version"]) for one in named if one["purl"].startswith("pkg:cargo/")}
            self.assertEqual(found, crates, name)
            for one in bill["components"]:
                self.assertTrue(one["licenses"], one["name"])
                if one["purl"].startswith("pkg:cargo/") and not one["name"].startswith("portcullis"):
                    self.assertRegex(one["hashes"][0]["content"], "^[0-9a-f]{64}$", one["name"])

    def test_what_only_builds_is_not_taken_for_a_part(self):
        bill = json.loads(self.files[self.set.bill("wasm")])
        scopes = {one["name"]: one["scope"] for one in bill["components"]}
        self.assertEqual((scopes["serde_json"], scopes["serde_derive"], scopes["rust"]), ("required", "excluded", "required"))
        self.assertNotIn("aws-lc-rs", scopes, "a dependency of the tests")

    def test_what_is_wrong_is_found(self):
        bill, module = self.set.bill("wasm"), self.set.name("wasm")
        without = json.loads(self.files[bill])
        without["components"] = [one for one in without["components"] if one["name"] != "serde_json"]
        licences = self.files[release.LICENCES].replace(b"\nserde_json ", b"\nanother ")
        for name, content, said in (
            (module, b"other", f"{release.SUMS} does not have {module} as it is"),
            (module, b"other", f"{bill} is of another wasm"),
            (bill, json.dumps(without).encode(), f"{bill} does not name serde_json "),
            (release.LICENCES, licences, f"{release.LICENCES} does not name serde_json "),
            ("LICENSE", None, "LICENSE is missing"),
            ("more.txt", b"", "more.txt is not of a release"),
        ):
            files = {**self.files, name: content}
            if content is None:
                del files[name]
            self.assertIn(said, "\n".join(release.findings(self.set, files)))

    def test_the_statement_names_commit_and_files_and_says_that_nobody_signed_it(self):
        statement = json.loads(self.files[release.PROVENANCE])
        self.assertEqual({one["name"] for one in statement["subject"]}, set(self.files) - {release.PROVENANCE, release.SUMS})
        definition = statement["predicate"]["buildDefinition"]
        self.assertIn({"gitCommit": COMMIT}, [one.get("digest") for one in definition["resolvedDependencies"]])
        self.assertEqual(definition["internalParameters"], {"signed": False})

    def test_nothing_of_this_machine_is_in_it(self):
        for name, content in self.files.items():
            for place in (str(release.ROOT), str(Path.home())):
                self.assertNotIn(place.encode(), content, name)

    def test_a_difference_is_told(self):
        with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(release.compare(self.files, self.made()), 0)
            self.assertEqual(release.compare(self.files, {**self.files, "LICENSE": b"another"}), 1)
        self.assertIn("files are the same, to the byte", out.getvalue())
        self.assertIn("LICENSE differs, from byte 0 on", told.getvalue())


class Page(unittest.TestCase):
    def test_what_is_in_the_page_is_under_licences_that_the_crates_may_have(self):
        deny = tomllib.loads((release.ROOT / "deny.toml").read_text(encoding="utf-8"))
        packages = release.sbom.page_packages()
        names = {one.name for one in packages}
        self.assertIn("@codemirror/view", names)
        self.assertIn("style-mod", names, "what a package needs")
        self.assertNotIn("esbuild", names, "it is not in the page")
        for one in packages:
            self.assertIn(one.licence, deny["licenses"]["allow"], one.name)
            self.assertRegex(one.digest, "^[0-9a-f]{128}$", one.name)


class Changes(unittest.TestCase):
    LOG = "# Changelog\n\n## [Unreleased]\n\n{}\n## [0.2.0] - 2027-01-01\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- Old.\n"

    def of(self, unreleased, version, tag):
        log = mock.Mock(**{"read_text.return_value": self.LOG.format(unreleased)})
        with mock.patch.object(release, "ROOT", mock.MagicMock(__truediv__=lambda *_: log)):
            return release.changes(version, tag)

    def test_are_those_of_the_version(self):
        self.assertEqual(self.of("", "0.2.0", "v0.2.0"), "### Added\n\n- A thing.\n")
        self.assertEqual(self.of("- New.\n", "0.2.0", None), "- New.\n")

    def test_a_tag_has_to_fit(self):
        for unreleased, version, tag, said in (
            ("", "0.2.0", "v0.3.0", "the tag is v0.3.0"),
            ("", "0.3.0", "v0.3.0", "no section [0.3.0]"),
            ("- New.\n", "0.2.0", "v0.2.0", "changes under [Unreleased]"),
        ):
            with self.assertRaises(release.Failed) as failed:
                self.of(unreleased, version, tag)
            self.assertIn(said, str(failed.exception))


class Tool(unittest.TestCase):
    def test_the_archive_of_the_tool_can_be_used(self):
        with tempfile.TemporaryDirectory() as place, mock.patch.object(release, "DIST", Path(place)):
            for name in ("portcullis", "man/portcullis.1", "completions/portcullis.bash"):
                path = Path(place) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(name.encode())
            archive = release.packed(TIME)
            self.assertEqual(archive, release.packed(TIME))
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            self.assertEqual(tar.getnames(), ["LICENSE", "completions/portcullis.bash", "man/portcullis.1", "portcullis"])
            self.assertEqual((tar.getmember("portcullis").mode, tar.getmember("LICENSE").mode), (0o755, 0o644))


if __name__ == "__main__":
    unittest.main()
