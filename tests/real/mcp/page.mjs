// What runs in the page: npm's @modelcontextprotocol/client, with everything that has to live longer than the page in its
// session storage, for the browser leaves to log in and comes back.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const kept = (name) => JSON.parse(sessionStorage.getItem(name) ?? 'null') ?? undefined;
const keep = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));
const here = new URL(location.href);
if (here.searchParams.has('resource')) keep('resource', here.searchParams.get('resource'));

let away = null;
const login = {
  redirectUrl: `${location.origin}/callback`,
  clientMetadata: {
    client_name: 'page',
    redirect_uris: [`${location.origin}/callback`],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  clientInformation: () => kept('client'),
  saveClientInformation: (client) => keep('client', client),
  tokens: () => kept('tokens'),
  saveTokens: (tokens) => keep('tokens', tokens),
  codeVerifier: () => kept('verifier'),
  saveCodeVerifier: (verifier) => keep('verifier', verifier),
  discoveryState: () => kept('discovery'),
  saveDiscoveryState: (discovery) => keep('discovery', discovery),
  redirectToAuthorization: (url) => { away = url.href; },
};

const open = () => new StreamableHTTPClientTransport(new URL(kept('resource')), { authProvider: login });
let client;

async function connect() {
  client = new Client({ name: 'page', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(open());
  return client.getNegotiatedProtocolVersion();
}

async function step(name, text) {
  if (name === 'connect') return connect();
  if (!client) await connect();
  if (name === 'tools') return (await client.listTools()).tools.map((tool) => tool.name).sort().join();
  return (await client.callTool({ name, arguments: { text } })).content[0].text;
}

// Takes a step; `null` where the page leaves to log in, and the step is to be taken again.
window.take = async (name, text) => {
  try {
    return await step(name, text);
  } catch (error) {
    if (!away) return `FAILED ${error.constructor.name}: ${error.message}`;
    setTimeout(() => { location.href = away; }, 10);
    return null;
  }
};

window.ready = (async () => {
  if (here.pathname === '/callback') {
    await open().finishAuth(here.searchParams);
    history.replaceState(null, '', '/');
  }
  return true;
})();
window.ready.then(() => { window.isReady = true; }, (error) => { window.isReady = `FAILED ${error.message}`; });
