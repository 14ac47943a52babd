// Links: the configuration and the request in the fragment, which no browser sends. No token is in one.

const SHARED = ["config", "method", "host", "path", "headers", "provider", "alg", "now", "client_address", "metadata", "route", "tls"];
const TOKEN_HEADERS = ["authorization", "proxy-authorization", "cookie", "dpop", "sec-websocket-protocol"];
const TOKEN_PARAMS = ["access_token", "id_token", "token"];
/** No link says more. */
const MAX_BYTES = 1 << 20;

/** The fields without tokens; `answer` says where the configuration has tokens come. */
export function withoutTokens(fields, answer) {
  const names = new Set([...TOKEN_HEADERS, ...(answer?.token_headers ?? [])]);
  const params = new Set([...TOKEN_PARAMS, ...(answer?.token_params ?? [])]);
  const kept = Object.fromEntries(SHARED.map((name) => [name, fields[name]]).filter(([, value]) => value));
  const lines = (kept.headers ?? "").split("\n");
  kept.headers = lines.filter((line) => !names.has(line.split(":")[0].trim().toLowerCase())).join("\n");
  kept.path = (kept.path ?? "").replace(/([?&;])([^=&;#]*)=[^&;#]*/g, (all, sign, name) => (params.has(decoded(name)) ? `${sign}${name}=` : all));
  // A JWT is a JWT wherever it stands.
  for (const [name, value] of Object.entries(kept)) {
    if (typeof value === "string") kept[name] = value.replace(/ey[\w-]{4,}(?:\.[\w-]*){2,4}/g, "");
  }
  return kept;
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

async function through(bytes, stream) {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let length = 0;
  for (let next; !(next = await reader.read()).done; ) {
    length += next.value.length;
    if (length > MAX_BYTES) throw new Error("too long");
    parts.push(next.value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The fragment of a link. */
export async function fragment(fields, answer) {
  const text = new TextEncoder().encode(JSON.stringify(withoutTokens(fields, answer)));
  const bytes = await through(text, new CompressionStream("deflate-raw"));
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return `#1.${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** The fields of a fragment; none where it is no link of this page. */
export async function fieldsOf(text) {
  if (!text.startsWith("#1.")) return null;
  try {
    const binary = atob(text.slice(3).replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = await through(Uint8Array.from(binary, (c) => c.charCodeAt(0)), new DecompressionStream("deflate-raw"));
    const given = JSON.parse(new TextDecoder().decode(bytes));
    const good = SHARED.filter((name) => typeof given[name] === (name === "tls" ? "boolean" : "string"));
    return Object.fromEntries(good.map((name) => [name, given[name]]));
  } catch {
    return null;
  }
}
