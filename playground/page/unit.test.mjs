// What of the page needs no browser: completion by the schema, and links.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { completions, resolve, wayTo } from "./src/schema.js";
import { fieldsOf, fragment, withoutTokens } from "./src/share.js";

const schema = {
  properties: {
    providers: { additionalProperties: { $ref: "#/$defs/provider" } },
    rules: { type: "array", items: { properties: { name: {}, match: { properties: { prefix: { description: "A path" }, methods: {} } } } } },
    unmatched: { enum: ["deny", "allow"] },
  },
  $defs: { provider: { anyOf: [{ properties: { issuer: {}, forward: { type: "boolean" } } }] } },
};

/** A text with the cursor at `|`, as the editor gives it. */
function at(text) {
  const pos = text.indexOf("|");
  const lines = text.replace("|", "").split("\n");
  const number = text.slice(0, pos).split("\n").length;
  const from = text.lastIndexOf("\n", pos - 1) + 1;
  const doc = { line: (n) => ({ text: lines[n - 1], number: n }), lineAt: () => ({ text: lines[number - 1], number, from }) };
  const matchBefore = (pattern) => {
    const word = new RegExp(`(?:${pattern.source})$`).exec(text.slice(from, pos))[0];
    return { from: pos - word.length, to: pos };
  };
  return { explicit: true, pos, state: { doc }, matchBefore };
}
const labels = (text) => (completions(schema, at(text))?.options ?? []).map((option) => option.label);

test("what fits where the cursor is", () => {
  for (const [text, expected] of [
    ["|", ["providers", "rules", "unmatched"]],
    ["un|", ["providers", "rules", "unmatched"]],
    ["unmatched: |", ["deny", "allow"]],
    ["providers:\n  corp:\n    |", ["issuer", "forward"]],
    ["providers:\n  corp:\n    issuer: x\n    forward: |", ["true", "false"]],
    ["providers: { corp: { |", ["issuer", "forward"]],
    ["rules:\n  - |", ["name", "match"]],
    ["rules:\n- |", ["name", "match"]],
    ["rules:\n  - name: a\n    |", ["name", "match"]],
    ["rules:\n  - name: a\n    match:\n      |", ["prefix", "methods"]],
    ["rules:\n  - match: { |", ["prefix", "methods"]],
    ["rules:\n  - name: a\n    match: { |", ["prefix", "methods"]],
    ["rules:\n  - name: a\n  - match:\n      |", ["prefix", "methods"]],
    ["nothing:\n  |", []],
  ]) {
    assert.deepEqual(labels(text), expected, text);
  }
});

test("an empty schema completes nothing", () => {
  assert.equal(completions({}, at("|")), null);
  assert.deepEqual(wayTo({ line: () => ({ text: "" }) }, 1, ""), []);
});

test("a link has no token", () => {
  const answer = { token_headers: ["x-id"], token_params: ["key"] };
  const token = "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln";
  for (const [fields, expected] of [
    [{ token, config: "a", keys: "k" }, { config: "a", headers: "", path: "" }],
    [{ headers: "X-Id: secret\nx: 1\nCookie: a=b" }, { headers: "x: 1", path: "" }],
    [{ path: "/?key=secret&%61ccess_token=secret&x=1" }, { headers: "", path: "/?key=&%61ccess_token=&x=1" }],
    [{ path: `/a/${token}`, metadata: `{"a":"${token}"}` }, { headers: "", path: "/a/", metadata: '{"a":""}' }],
    [{ path: "/?%zz=1" }, { headers: "", path: "/?%zz=1" }],
  ]) {
    assert.deepEqual(withoutTokens(fields, answer), expected);
  }
});

test("a link says what was written, and a wrong one nothing", async () => {
  const fields = { config: "é: 😀\n", path: "/x", method: "POST", tls: true };
  assert.deepEqual(await fieldsOf(await fragment(fields, null)), { ...fields, headers: "" });
  for (const wrong of ["", "#", "#1.", "#1.AAAA", "#1.*", "#2.abc"]) assert.equal(await fieldsOf(wrong), null, wrong);
  const bomb = await fragment({ config: "a".repeat(1 << 20) }, null).catch(() => null);
  assert.equal(bomb && (await fieldsOf(bomb)), null);
});

test("the schema of the configuration completes", () => {
  const own = JSON.parse(readFileSync(new URL("../../docs/portcullis.schema.json", import.meta.url), "utf8"));
  for (const [way, members] of [
    [[], ["providers", "rules"]],
    [["providers", "corp"], ["issuer", "audiences", "remote_jwks"]],
    [["rules", "[]", "match"], ["prefix", "methods"]],
    [["providers", "corp", "remoteJwks", "httpUri"], ["uri", "cluster"]],
  ]) {
    const found = resolve(own, way).flatMap((part) => Object.keys(part.properties ?? {}));
    for (const name of members) assert.ok(found.includes(name), `${way.join(".")}: ${name} is not among ${found}`);
  }
});
