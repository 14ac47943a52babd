"""What istiod makes of the policies of docs/migration.md and of tests/it/moving/sets: the filters that the tests put beside
the gate. They are kept in tests/it/moving/istiod, and `RENDER=1` writes them anew."""

import json
import os
import re

from kit import REPOSITORY, expect
from kubernetes.server import Head, documents

from .mesh import soon

MOVING = REPOSITORY / "tests" / "it" / "moving"
KEPT = MOVING / "istiod"
PAGE = REPOSITORY / "docs" / "migration.md"
FILTERS = ("envoy.filters.http.jwt_authn", "envoy.filters.http.rbac")


def policies(text):
    """The policies of Istio in a text of several documents."""
    return [part for part in documents(text) if "apiVersion: security.istio.io/" in part]


def sets():
    """A name and the policies of each set: those of the folder, and those of the page, where the first of the section says
    what a later one leaves out."""
    for file in sorted((MOVING / "sets").glob("*.yaml")):
        if found := policies(file.read_text().split("\nproviders:")[0]):
            yield file.stem, found
    section = PAGE.read_text().split("\n### The providers\n")[1]
    blocks = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    pairs = [found for found in map(policies, blocks[::2]) if found]
    for number, found in enumerate(pairs, 1):
        if not any("kind: RequestAuthentication" in part for part in found):
            found = found + pairs[0]
        yield f"page-{number:02}-{head(found[0]).name}", found


def head(policy):
    """What a policy is about; its metadata are in one line."""
    kind = re.search(r"^kind: (\S+)", policy, re.MULTILINE)[1]
    name, space = re.search(r"^metadata: { name: (\S+), namespace: (\S+) }", policy, re.MULTILINE).groups()
    return Head("security.istio.io/v1", kind, space, name)


def filters_of(proxy, port):
    """The filters of a listener that are made of policies, in their order."""
    for listener in proxy.dump("ListenersConfigDump").get("dynamic_listeners", []):
        found = listener.get("active_state", {}).get("listener", {})
        if found.get("address", {}).get("socket_address", {}).get("port_value") != port:
            continue
        chain = (found.get("filter_chains") or [found["default_filter_chain"]])[0]
        manager = next(each for each in chain["filters"] if "http_filters" in each["typed_config"])
        every = manager["typed_config"]["http_filters"]
        return [each for each in every if each["name"] in FILTERS]
    return []


def written(kept):
    """What is kept of a set, a line for each policy and each filter."""
    parts = []
    for name, every in kept.items():
        lines = ",\n  ".join(json.dumps(each, sort_keys=True) for each in every)
        parts.append(f' "{name}": [\n  {lines}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


class Rendered:
    """A proxy whose policies are one set after the other."""

    def __init__(self, mesh, proxy, port):
        self.mesh, self.proxy, self.port = mesh, proxy, port

    def of(self, found):
        """The policies as they are stored, and their filters."""
        cluster, stored, keys = self.mesh.cluster, [], json.dumps(self.mesh.issuer.server.keys)
        expect("filters before", filters_of(self.proxy, self.port), [])
        for part in found:
            part = re.sub(r'jwksUri: "?https://[^", }\n]+"?', lambda _: f"jwks: '{keys}'", part)
            answer = cluster.apply(part, head=head(part))
            expect(f"{head(part)}", answer.status // 100, 2)
            document = answer.json()
            stored.append({"kind": document["kind"], "name": document["metadata"]["name"], "spec": document["spec"]})
        # A filter for tokens, one for each kind of action, and each policy in one of them.
        rules = [each for each in stored if each["kind"] == "AuthorizationPolicy"]
        actions = {each["spec"].get("action", "ALLOW") for each in rules}
        named = [f"policy[{each['name']}]" for each in rules if each["spec"].get("rules")]

        def settled():
            made = filters_of(self.proxy, self.port)
            text = json.dumps(made)
            return made if len(made) == 1 + len(actions) and all(name in text for name in named) else []

        made = soon("the filters", settled)
        for part in found:
            cluster.must("DELETE", cluster.place(head(part)))
        soon("no filters", lambda: not filters_of(self.proxy, self.port))
        # The keys are another test's.
        for rule in (rule for each in stored for rule in each["spec"].get("jwtRules", [])):
            rule.pop("jwks")
        for provider in (provider for each in made for provider in each["typed_config"].get("providers", {}).values()):
            provider["local_jwks"] = {}
        return {"policies": stored, "http_filters": made}

    def all(self):
        count, different = 0, []
        for name, found in sets():
            file, text = KEPT / f"{name}.json", written(self.of(found))
            if os.environ.get("RENDER"):
                KEPT.mkdir(exist_ok=True)
                file.write_text(text)
            if not file.exists() or file.read_text() != text:
                different.append(name)
            count += 1
        expect("those that differ from what is kept", different, [])
        return f"{count} sets; the filters are those with which the tests compare the gate (tests/it/moving)"
