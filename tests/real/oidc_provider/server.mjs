// An authorization server on loopback: `node server.mjs PORT STATE RECEIVER`. Its keys are kept in the file STATE, and change by
// what is written to it: `add` a key in front of the others, `drop` the oldest, `replace` all that sign by default.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';

const [port, state, receiver] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const ORDERS = 'https://orders.example.com/';
const ALGORITHMS = ['RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA'];
const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

function made(alg) {
  const kind = alg in CURVES ? ['ec', { namedCurve: CURVES[alg] }] : alg.startsWith('Ed') ? ['ed25519', {}] : ['rsa', { modulusLength: 2048 }];
  return { ...generateKeyPairSync(...kind).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomBytes(6).toString('hex') };
}

let keys = existsSync(state) ? JSON.parse(readFileSync(state)) : ['RS256', ...ALGORITHMS].map(made);
const ofDefault = () => keys.filter(({ alg }) => alg === 'RS256');
const changes = {
  add: () => [made('RS256'), ...keys],
  drop: () => keys.filter((key) => key !== ofDefault().at(-1)),
  replace: () => [made('RS256'), ...keys.filter((key) => !ofDefault().includes(key))],
};

// What it remembers: its own memory begins anew with each set of keys.
const memory = new Map();
class Memory {
  constructor(kind) {
    this.kind = kind;
  }
  of(id) {
    return `${this.kind} ${id}`;
  }
  async upsert(id, payload) {
    memory.set(this.of(id), payload);
  }
  async find(id) {
    return memory.get(this.of(id));
  }
  async findByUid(uid) {
    return [...memory.values()].find((payload) => payload.kind === this.kind && payload.uid === uid);
  }
  async consume(id) {
    memory.get(this.of(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    memory.delete(this.of(id));
  }
  async revokeByGrantId(grantId) {
    for (const [id, payload] of memory) if (payload.grantId === grantId) memory.delete(id);
  }
}

const resource = (audience, more) => ({ audience, scope: 'orders.read orders.write', accessTokenTTL: 600, ...more });
const signed = (sign) => resource(ORDERS, { accessTokenFormat: 'jwt', jwt: { sign } });
const resources = {
  [ORDERS]: resource(ORDERS, { accessTokenFormat: 'jwt' }),
  'https://other.example.com/': resource('https://other.example.com/', { accessTokenFormat: 'jwt' }),
  'urn:orders:opaque': resource('orders-opaque', { accessTokenFormat: 'opaque' }),
  'urn:other:opaque': resource('other-opaque', { accessTokenFormat: 'opaque' }),
  [`${ORDERS}?HS256`]: signed({ alg: 'HS256', key: randomBytes(32), kid: 'shared' }),
  ...Object.fromEntries(ALGORITHMS.map((alg) => [`${ORDERS}?${alg}`, signed({ alg })])),
};

const SERVICE = { client_secret: 'a-secret-of-nobody', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
const BROWSER = {
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1:9/back'],
  application_type: 'native',
  backchannel_logout_uri: `${receiver}/backchannel-logout`,
};

function provider() {
  writeFileSync(state, JSON.stringify(keys));
  return new Provider(issuer, {
    adapter: Memory,
    jwks: { keys },
    clients: [{ client_id: 'svc', ...SERVICE }, { client_id: 'gate', ...SERVICE }, { client_id: 'web', ...BROWSER }],
    cookies: { keys: ['of nobody'] },
    scopes: ['openid', 'offline_access'],
    // Without its own choice of how to fetch, which not every Node has.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    enabledJWA: { idTokenSigningAlgValues: ['RS256'] },
    issueRefreshToken: () => true,
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (context, name) => resources[name],
      },
    },
  });
}

let answer = provider().callback();
createServer((request, response) => answer(request, response)).listen(port, '127.0.0.1');
createInterface({ input: process.stdin }).on('line', (line) => {
  keys = changes[line]();
  answer = provider().callback();
  console.log(line);
});
