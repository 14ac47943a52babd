// What a person types, and what has to be read then.

const config = `# an orders service
providers:
  corp:
    issuer: https://idp.example
    audiences: [orders]
    forward: false
    claim_to_headers:
      - { header_name: x-user, claim_name: sub }
    remote_jwks:
      http_uri: { uri: "https://idp.example/keys", cluster: idp, timeout: 1s }
public_rules: explicit
rules:
  - name: health
    match: { path: /healthz }
    public: true
  - name: read
    match: { prefix: /orders, methods: [GET] }
    requires: { provider_name: corp }
    authorize: { scopes: { all_of: ["orders:read"] } }
  - name: write
    match: { prefix: /orders, methods: [POST] }
    requires: { provider_name: corp }
    authorize: { scopes: { all_of: ["orders:write"] } }
`;
const unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoib3JkZXJzIiwiZXhwIjoxNzY3MjI1OTAwfQ.";

export const scenarios = [
  { name: "a public path", fields: { config, path: "/healthz" }, expected: { data: { decision: "allow", status: "200", rule: "health" }, text: ["allow", "health", "To the upstream"] } },
  { name: "no token", fields: { path: "/orders/7" }, expected: { data: { decision: "deny", status: "401", reason: "token_missing", rule: "read" }, text: ["deny", "401", "Answer to the client: 401", "www-authenticate", 'scope="orders:read"', 'rule "health": path does not hold'] } },
  { name: "a token with the scope", fields: { path: "/orders/7", token: '{"scope": "orders:read"}' }, expected: { data: { decision: "allow", rule: "read" }, text: ["x-user", "alice", "exp", "2026-01-01T00:05:00Z", "Signed here"] } },
  { name: "a token without it", fields: { path: "/orders/7", token: "{}" }, expected: { data: { decision: "deny", status: "403", reason: "scope_insufficient" }, text: ["scope_insufficient"] } },
  { name: "reading is not writing", fields: { method: "POST", path: "/orders", token: '{"scope": "orders:read"}' }, expected: { data: { decision: "deny", status: "403", rule: "write" } } },
  { name: "a token that ran out", fields: { path: "/orders/7", now: "2026-01-31T12:00:00Z", token: '{"scope": "orders:read", "exp": 1767225600}' }, expected: { data: { decision: "deny", reason: "expired" }, text: ["2026-01-01T00:00:00Z"] } },
  { name: "a token that nobody signed", fields: { path: "/orders/7", token: unsigned }, expected: { data: { decision: "deny", status: "401" }, text: ["As it was pasted", "2026-01-01T00:05:00Z"], absent: [unsigned] } },
  { name: "a header that the client made up", fields: { path: "/healthz", headers: "x-user: mallory\nx-kept: 1" }, expected: { data: { decision: "allow" }, text: ["x-kept", "Taken away or replaced: x-user"], absent: ["mallory"] } },
  { name: "a path that can be read in two ways", fields: { path: "/healthz%252F..%252Forders" }, expected: { data: { decision: "deny", status: "400", reason: "path_ambiguous" } } },
  { name: "a configuration with an error", fields: { config: config.replace("methods: [GET]", "method: [GET]"), path: "/" }, expected: { data: { state: "refused", decision: undefined }, text: ["The filter refuses this configuration: 1 error", "rules[1].match.method"], line: 17, path: "rules[1].match.method" } },
  { name: "a configuration that is no YAML", fields: { config: "rules: [\n  {" }, expected: { data: { state: "refused" }, text: ["line "] } },
  { name: "a time that is none", fields: { config, path: "/healthz", now: "yesterday" }, expected: { data: { state: "refused" }, text: ["now", "is no time"] } },
];
