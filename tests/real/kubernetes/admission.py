"""`portcullis admission` as a webhook of the API server: what it lets be stored, and what not."""

import base64
import copy
import json
import ssl
import time

from kit import REPOSITORY, Program, certificate, eventually, expect, free_port, module, portcullis

from .server import Head, documents

# Where the kinds come from: modules that have their definitions as files.
ENVOY_GATEWAY = ("github.com/envoyproxy/gateway", "v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=")
ISTIO = ("istio.io/api", "v1.32.0", "h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=")
MANIFEST = REPOSITORY / "envoy" / "kubernetes" / "admission.yaml"
HOST = "portcullis-admission.portcullis.svc"
# What is wrong with a wrong one, and what is said of it.
MISTAKE = ("audiences", "audience")
SAID = 'unknown field; did you mean "audiences"?'
# A new certificate is served after so many seconds, as the page says.
RENEWED = 15
KINDS = ["WasmPlugin", "TrafficExtension", "EnvoyExtensionPolicy", "EnvoyFilter", "EnvoyPatchPolicy"]


def definitions():
    """The definitions of all kinds of Istio, Envoy Gateway and the Gateway API."""
    gateway = module(*ENVOY_GATEWAY) / "charts" / "gateway-crds-helm" / "templates"
    files = [gateway / "standard-gatewayapi-crds.yaml", *sorted((gateway / "generated").glob("*.yaml"))]
    files.append(module(*ISTIO) / "kubernetes" / "customresourcedefinitions.gen.yaml")
    for file in files:
        # Of a chart, which is for all or nothing.
        lines = [line for line in file.read_text().splitlines() if not line.startswith("{{")]
        for document in documents("\n".join(lines)):
            if Head.of(document).kind == "CustomResourceDefinition":
                yield document


def filter_of(configuration):
    """The filter in Envoy's own words, for the kinds that have those."""
    return {
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "portcullis", "failure_policy": "FAIL_RELOAD",
                "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": "/etc/portcullis.wasm"}}},
                "configuration": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration},
            },
        },
    }


def written_out(configuration):
    """The kinds of which the repository has none with the filter in it."""
    value = filter_of(configuration)
    yield {
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "filter", "namespace": "shop"},
        "spec": {"configPatches": [{
            "applyTo": "HTTP_FILTER", "match": {"context": "GATEWAY"},
            "patch": {"operation": "INSERT_FIRST", "value": value},
        }]},
    }
    yield {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyPatchPolicy",
        "metadata": {"name": "filter", "namespace": "shop"},
        "spec": {
            "type": "JSONPatch", "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway"},
            "jsonPatches": [{
                "type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "shop/gateway/http",
                "operation": {"op": "add", "path": "/default_filter_chain/filters/0/typed_config/http_filters/0", "value": value},
            }],
        },
    }


def configuration_of(node):
    """The first configuration of the filter in a manifest."""
    if isinstance(node, dict):
        if "providers" in node:
            return node
        node = list(node.values())
    for part in node if isinstance(node, list) else []:
        if found := configuration_of(part):
            return found
    return None


def bare(stored, name):
    """A manifest as a person writes it, of one that is stored."""
    metadata = {"name": name, "namespace": stored["metadata"]["namespace"]}
    kept = {key: copy.deepcopy(stored[key]) for key in ("apiVersion", "kind", "spec")}
    return {**kept, "metadata": metadata}


def spoiled(manifest):
    """The same with a mistake in it."""
    changed = copy.deepcopy(manifest)
    for provider in configuration_of(changed)["providers"].values():
        provider[MISTAKE[1]] = provider.pop(MISTAKE[0])
    return changed


def open_to_all_issuers(manifest):
    """The same, and legal, and it trusts whatever issuer has signed with these keys."""
    changed = copy.deepcopy(manifest)
    for provider in configuration_of(changed)["providers"].values():
        del provider["issuer"]
    return changed


def warnings(answer):
    return answer.headers.get_all("Warning") or []


class Webhook:
    """`portcullis admission`, run as the Deployment says, and reached as the Service says."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder, self.program = cluster, folder, None
        self.port, self.examples = free_port(), {}

    def stop(self):
        if self.program:
            self.program.stop()

    def certify(self):
        """A certificate, another one each time, and the API server is told whom to believe."""
        certified = certificate(self.folder, HOST)
        bundle = base64.b64encode(certified.read_bytes()).decode()
        patch = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
        headers = {"Content-Type": "application/json-patch+json"}
        self.cluster.must("PATCH", self.cluster.place(Head.of(self.hook)), document=patch, headers=headers)

    def start(self):
        """Starts the container's program."""
        container = self.deployment["spec"]["template"]["spec"]["containers"][0]
        listens = next(port["containerPort"] for port in container["ports"] if port["name"] == "https")
        arguments = [
            argument.replace(f"0.0.0.0:{listens}", f"127.0.0.1:{self.port}").replace("/tls/", f"{self.folder}/")
            for argument in container["args"]
        ]
        self.program = Program([portcullis(), *arguments], self.folder / "admission.log", is_heard=False)

    def is_asked(self):
        """Whether it answers the API server."""
        return self.try_out(spoiled(self.examples["EnvoyFilter"])).status == 422

    def try_out(self, manifest):
        return self.post(manifest, "?dryRun=All")

    def post(self, manifest, query=""):
        return self.cluster.ask("POST", self.cluster.place(Head.of(manifest), named=False) + query, document=manifest)

    # The rows.

    def rows(self):
        page = "[envoy/kubernetes/admission.yaml](../envoy/kubernetes/admission.yaml)"
        yield f"{page}, applied as it stands", self.installed
        yield "every manifest of envoy/envoy-gateway and envoy/istio, applied", self.stored
        for kind in KINDS:
            yield f"{kind}", lambda kind=kind: self.judged(kind)
        yield "the webhook gets another certificate", self.renewed
        yield "the webhook is down, and comes back", self.down

    def installed(self):
        """Everything is stored, and what it describes answers."""
        for document in definitions():
            self.cluster.applied(document)
        names = {Head.of(part).space for part in self.manifests()}
        for name in sorted(name for name in names if name):
            self.cluster.make("v1", "Namespace", None, name)
        stored = {}
        for part in documents(MANIFEST.read_text()):
            answer = self.cluster.apply(part)
            expect(f"{Head.of(part).kind}", (answer.status, warnings(answer)), (201, []))
            stored[Head.of(part).kind] = answer.json()
        self.hook, self.deployment = stored["ValidatingWebhookConfiguration"], stored["Deployment"]
        service = stored["Service"]["spec"]
        self.cluster.services.leads[f"{service['clusterIP']}:{service['ports'][0]['port']}"] = self.port
        self.certify()
        self.start()
        policy = next(part for part in self.manifests() if Head.of(part).kind == "EnvoyExtensionPolicy")
        dry = self.cluster.apply(policy, "&dryRun=All")
        configuration = configuration_of(dry.json())
        self.examples = {part["kind"]: part for part in written_out(configuration)}
        eventually("the webhook", self.is_asked)
        return (
            "stored, without a warning; the tool runs with the arguments of its Deployment, and the API server reaches it at "
            "the address of its Service, by the name of its certificate"
        )

    @staticmethod
    def manifests():
        """Those of the repository, for Envoy Gateway and for Istio."""
        for folder in ("envoy-gateway", "istio"):
            for file in sorted((REPOSITORY / "envoy" / folder).glob("*.yaml")):
                yield from documents(file.read_text())

    def stored(self):
        counted = {}
        for part in self.manifests():
            head, answer = Head.of(part), self.cluster.apply(part)
            expect(f"{head.kind} {head.name}", (answer.status // 100, warnings(answer)), (2, []))
            counted[head.kind] = counted.get(head.kind, 0) + 1
            stored = answer.json()
            if configuration_of(stored["spec"]):
                self.examples.setdefault(head.kind, bare(stored, "example"))
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
        return f"stored, without a warning: {kinds}"

    def judged(self, kind):
        right = self.examples[kind]
        wrong, dangerous = spoiled(right), open_to_all_issuers(right)
        refused = self.post(wrong)
        said = refused.json().get("message", "")
        expect("a wrong one", (refused.status, SAID in said), (422, True))
        made = self.post(right)
        expect("a right one", (made.status, warnings(made)), (201, []))
        place = self.cluster.place(Head.of(right))
        version = made.json()["metadata"]["resourceVersion"]

        def put(manifest):
            metadata = {**manifest["metadata"], "resourceVersion": version}
            return self.cluster.ask("PUT", place, document={**manifest, "metadata": metadata})

        expect("a change to a wrong one", put(wrong).status, 422)
        expect("what is stored then", self.cluster.must("GET", place)["metadata"]["resourceVersion"], version)
        expect("a wrong one, applied", self.cluster.apply_document(wrong).status, 422)
        changed = put(dangerous)
        warned = warnings(changed)
        expect("a dangerous one", (changed.status, any("issuer" in warning for warning in warned)), (200, True))
        other = json.loads(json.dumps(wrong).replace("portcullis", "another"))
        other["metadata"]["name"] = "another"
        passed = self.post(other)
        expect("somebody else's", (passed.status, warnings(passed)), (201, []))
        expect("its deletion", self.cluster.ask("DELETE", place).status, 200)
        line = said.split("denied the request: ")[-1]
        return (
            f"right: stored. Wrong: refused when created, changed or applied (`{line}`), and what was stored stays. Without an "
            "issuer: stored, with a warning. Called something else: not looked at"
        )

    def renewed(self):
        began = time.monotonic()
        self.certify()
        certified = (self.folder / "tls.crt").read_text().strip()

        def is_served():
            return ssl.get_server_certificate(("127.0.0.1", self.port)).strip() == certified

        eventually("the new certificate", is_served, RENEWED)
        took = time.monotonic() - began
        # What the API server is told is on its way, too.
        eventually("the webhook", self.is_asked, RENEWED)
        expect("a right one", self.try_out(self.examples["EnvoyFilter"]).status, 201)
        return f"served {took:.0f} s later, and the API server goes on to ask, once its `caBundle` is the new one"

    def down(self):
        right, wrong = self.examples["WasmPlugin"], spoiled(self.examples["WasmPlugin"])
        expect("a right one before", self.post(right).status, 201)
        self.program.stop()
        refused = self.try_out({**right, "metadata": {**right["metadata"], "name": "while-down"}})
        expect("a right one while it is down", refused.status, 500)
        expect("a wrong one while it is down", self.try_out(wrong).status in (409, 500), True)
        expect("a deletion while it is down", self.cluster.ask("DELETE", self.cluster.place(Head.of(right))).status, 200)
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": "shop"}}
        expect("another kind while it is down", self.post(document).status, 201)
        self.start()
        eventually("the webhook", self.is_asked)
        expect("a right one when it is back", self.post(right).status, 201)
        message = refused.json()["message"].split(": ")[1]
        return (
            f"nothing of these kinds is stored, right or wrong (500, `{message}`); deletions and other kinds go on; when it is "
            "back, so do these"
        )
