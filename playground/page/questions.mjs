// Requests of many kinds over every configuration of the examples, the same in each run.

function generator(seed) {
  let state = seed;
  // mulberry32
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const PATHS = ["/", "/orders", "/orders/7", "/orders/../admin", "/orders%2f7", "//orders", "/healthz", "/me?x=1", "/admin", "/mcp", "/a;b=c/orders", "/orders/7?access_token=opaque", "/caf%C3%A9"];
const METHODS = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "PROPFIND"];
const TOKENS = ["", "{}", '{"scope":"orders"}', '{"scope":"orders:read orders:write mcp:use files:read"}', '{"exp":1767220000}', '{"exp":null}', '{"aud":"other"}', '{"iss":"https://elsewhere.example"}', '{"sub":"bob","typ":"Bearer","roles":["writer"]}', '{"nbf":1777220000}', '{"iat":1777220000}', "opaque", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA"];
const HEADERS = ["", "x-user: mallory", "X_User: mallory\nx-other: 1", "cookie: a=1; b=2", "origin: https://app.example\naccess-control-request-method: POST", "content-type: application/json", "authorization: Basic YTpi", "x-forwarded-for: 10.0.0.1"];
const HOSTS = ["", "mcp.example.com", "orders.example.com:443", "ORDERS.example.com."];

/** At least `count` questions, each with a configuration. */
export function questions(groups, count) {
  const random = generator(19);
  const one = (list) => list[Math.floor(random() * list.length)];
  const made = groups.flatMap((group) => group.examples.map((example) => ({ name: example.name, ...example.fields, config: group.configs[example.config] })));
  const bases = [...made];
  while (made.length < count) {
    const base = one(bases);
    const question = { ...base };
    if (random() < 0.4) question.path = one(PATHS);
    if (random() < 0.4) question.method = one(METHODS);
    if (random() < 0.7) question.token = one(TOKENS);
    if (random() < 0.3) question.headers = one(HEADERS);
    if (random() < 0.2) question.host = one(HOSTS);
    if (random() < 0.1) question.tls = true;
    // The tool takes an algorithm only beside claims.
    if (!question.token?.startsWith("{")) delete question.alg;
    else if (random() < 0.15) question.alg = one(["EdDSA", "ES256", "HS256", "none"]);
    made.push(question);
  }
  return made.map((question) => (question.token?.startsWith("{") ? question : { ...question, alg: undefined }));
}
