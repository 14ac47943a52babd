// A client made with npm's @modelcontextprotocol/client: node client_npm.mjs URL [newest]
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Login, patiently, take } from './steps.mjs';

const [url, newest] = process.argv.slice(2);
const login = new Login(newest ? 'client, newest' : 'client');
let transport, client;
const finish = (brought) => transport.finishAuth(brought);
const connect = async () => {
  transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: login });
  client = new Client({ name: 'real', version: '1' }, newest ? { versionNegotiation: { mode: 'auto' } } : {});
  await client.connect(transport);
  return client.getNegotiatedProtocolVersion();
};
await take(
  () => patiently(login, finish, connect),
  () => patiently(login, finish, () => client.listTools()),
  (call) => patiently(login, finish, () => client.callTool(call)),
);
