// An authorization server on loopback: `node server.mjs PORT`. It gives opaque tokens and JWTs to one client, answers two
// others what a token is (one of them with signed answers), and revokes.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', kid: 'first', use: 'sig' };

const client = (id, secret, more = {}) => ({
  client_id: id,
  client_secret: secret,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  ...more,
});

const resource = (accessTokenFormat) => ({
  audience: 'orders',
  scope: 'orders.read orders.write',
  accessTokenTTL: 600,
  accessTokenFormat,
  ...(accessTokenFormat === 'jwt' ? { jwt: { sign: { alg: 'RS256' } } } : {}),
});
const resources = { 'urn:orders:opaque': resource('opaque'), 'urn:orders:jwt': resource('jwt') };

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [
    client('svc', 'svc-secret'),
    client('gate:odd', 'p:w+d %2F/&=x%41 end'),
    client('gate-signed', 'gate-signed-secret', { introspection_signed_response_alg: 'RS256' }),
  ],
  cookies: { keys: ['for a test alone'] },
  extraTokenClaims: () => ({ tenant: 't1' }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (context, name) => {
        if (!(name in resources)) throw new Error(`no such resource: ${name}`);
        return resources[name];
      },
    },
  },
});

createServer(provider.callback()).listen(port, '127.0.0.1');
