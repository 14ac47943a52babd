// The examples of the page, made from the repository's own files: the walk's steps and the shop's promises, the recipes
// for providers, MCP. Nothing is written twice.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

/** The configuration of the gate within a file for Envoy: the text that Envoy hands over. */
function within(value) {
  if (value === null || typeof value !== "object") return null;
  if (String(value["@type"]).endsWith("StringValue") && value.value?.includes('"providers"')) return value.value;
  for (const member of Object.values(value)) {
    const found = within(member);
    if (found) return found;
  }
  return null;
}

/** The claims that a provider's tokens have because the configuration asks for them. */
function needed(config) {
  const [provider] = Object.values(JSON.parse(config).providers);
  const value = ({ equals, any_of: words }) => equals ?? words?.[0] ?? "demo";
  return Object.fromEntries((provider.required_claims ?? []).map((claim) => [claim.claim ?? claim, value(claim)]));
}

/** The steps of the walk that one request shows: those before keys change and tokens are revoked. */
function walk(root, config) {
  const source = readFileSync(join(root, "tests/harness/src/walk/steps.rs"), "utf8");
  const read = { READ: { scope: "orders:read" }, WRITE: { scope: "orders:read orders:write" } };
  const steps = [];
  for (const name of ["entry", "claims", "scopes", "tricks"]) {
    const body = new RegExp(`^fn ${name}\\(.*?^}`, "ms").exec(source)?.[0] ?? "";
    const tokens = {};
    for (const [, variable, list] of body.matchAll(/let (\w+) = walk\.token\(&\[(.*?)\]\)\?;/gs)) {
      const claims = {};
      let alg;
      for (const [, word, key, value] of list.matchAll(/\b(READ|WRITE)\b|\("(\w+)", "([^"]*)"\)/g)) {
        if (word) Object.assign(claims, read[word]);
        else if (key === "alg") alg = value;
        else if (key === "ttl") claims.exp = "TTL" + value;
        else claims[key] = value;
      }
      tokens[variable] = { claims, alg };
    }
    for (const step of body.split("walk.take(").slice(1)) {
      const begun = /(?:get\(|Step::new\(\s*"(\w+)",)\s*"([^"]*)",\s*"([^"]*)"/s.exec(step);
      if (!begun) continue;
      const [, method, path, withWhat] = begun;
      const bearers = [...step.matchAll(/\.bearer\(&(\w+)\)/g)].map(([, variable]) => tokens[variable]);
      // Two tokens in one request cannot be written here: keys are made for one.
      if (bearers.length > 1 || bearers.includes(undefined)) continue;
      const headers = [...step.matchAll(/\.header\("([^"]*)", "([^"]*)"\)/g)].map(([, key, value]) => `${key}: ${value}`);
      const expected = /\.passes\(/.test(step)
        ? { decision: "allow", reason: null }
        : { decision: "deny", reason: /\.refused_as\(\s*\d+,\s*(?:&\[[^\]]*\]|\w+),\s*"(\w+)"/s.exec(step)?.[1] ?? /\.refused\(\s*\d+,\s*&\["(\w+)"/s.exec(step)?.[1] };
      const [token] = bearers;
      const fields = { path };
      if (method) fields.method = method;
      if (headers.length) fields.headers = headers.join("\n");
      if (token) {
        const claims = { ...needed(config), ...token.claims };
        // A time that lies so far from the page's.
        if (typeof claims.exp === "string") [claims.iat, claims.exp] = [1767222000, 1767222600 + Number(claims.exp.slice(3))];
        fields.token = JSON.stringify(claims);
        if (token.alg) fields.alg = token.alg;
      }
      steps.push({ name: `${method ?? "GET"} ${path}, ${withWhat}`, config: 0, fields, expected });
    }
  }
  return steps;
}

/** What a file of promises asks, as far as the page has a field for it. */
function promises(text, config) {
  const known = ["claims", "alg", "provider"];
  const { tests } = parse(text);
  return tests
    .filter(({ token }) => !token || Object.keys(token).every((name) => known.includes(name)))
    .map(({ name, request, token, expect }) => {
      const headers = Object.entries(request.headers ?? {}).flatMap(([key, value]) => [value].flat().map((one) => `${key}: ${one}`));
      const fields = { path: request.path ?? "/" };
      if (request.method) fields.method = request.method;
      if (request.host) fields.host = request.host;
      if (headers.length) fields.headers = headers.join("\n");
      if (token) fields.token = JSON.stringify(token.claims ?? {});
      if (token?.alg) fields.alg = token.alg;
      if (token?.provider) fields.provider = token.provider;
      const expected = { status: expect.status, ...(expect.reason && { reason: expect.reason }) };
      return { name, config, fields, expected };
    });
}

/** A recipe, and a request that its first rule is for. */
function recipe(name, text, at) {
  const match = parse(text).rules?.find((rule) => rule.requires)?.match ?? {};
  const path = match.path ?? match.prefix ?? match.path_separated_prefix ?? "/";
  const fields = { path, token: "{}" };
  const [method] = match.methods ?? [];
  if (method) fields.method = method;
  const [host] = match.hosts ?? [];
  if (host && !host.includes("*")) fields.host = host;
  return { name, config: at, fields };
}

function mcp(text) {
  const { protected_resources: resources } = JSON.parse(text);
  const host = new URL(resources[0].resource).host;
  const path = resources[0].match.path;
  const call = (method, more) => JSON.stringify({ "envoy.filters.http.mcp": { method, ...more } });
  const base = { method: "POST", path, host };
  return [
    { name: "a client without a token learns where to get one", config: 0, fields: { ...base, metadata: call("tools/list", {}) } },
    { name: "the tool that reads, with its scopes", config: 0, fields: { ...base, metadata: call("tools/call", { params: { name: "read" } }), token: '{"scope": "mcp:use files:read"}' } },
    { name: "the tool that writes, with the scopes for reading", config: 0, fields: { ...base, metadata: call("tools/call", { params: { name: "write" } }), token: '{"scope": "mcp:use files:read"}' } },
    { name: "the document that says who issues tokens", config: 0, fields: { method: "GET", path: `/.well-known/oauth-protected-resource${path}`, host } },
  ];
}

/** Groups of examples: `configs` are texts, each example names one by its place and fills the other fields. */
export function examples(root) {
  const text = (path) => readFileSync(join(root, path), "utf8");
  const shop = within(parse(text("envoy/envoy.yaml")));
  const tools = within(parse(text("envoy/mcp/envoy.yaml")));
  const files = readdirSync(join(root, "envoy/providers"))
    // Keys that are PEM texts in an environment variable are not here, and nothing can stand for them.
    .filter((name) => name.endsWith(".yaml") && !/local_jwks:\s*\{? *environment_variable/.test(text(`envoy/providers/${name}`)))
    .sort();
  const recipes = files.map((name) => text(`envoy/providers/${name}`));
  return [
    { name: "The walk through the shop", configs: [shop], examples: walk(root, shop) },
    { name: "What the shop promises", configs: [shop], examples: promises(text("envoy/tests/shop.yaml"), 0) },
    { name: "MCP", configs: [tools], examples: mcp(tools) },
    { name: "Recipes for providers", configs: recipes, examples: files.map((name, at) => recipe(name.replace(".yaml", ""), recipes[at], at)) },
  ];
}
