// A client made with npm's @modelcontextprotocol/sdk: node client_sdk.mjs URL
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Login, patiently, take } from './steps.mjs';

const login = new Login('sdk');
let transport, client;
const finish = (brought) => transport.finishAuth(brought.get('code'));
const connect = async () => {
  // Each try is a connection of its own: this client starts one once.
  transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), { authProvider: login });
  client = new Client({ name: 'real', version: '1' });
  await client.connect(transport);
  return transport.protocolVersion;
};
await take(
  () => patiently(login, finish, connect),
  () => patiently(login, finish, () => client.listTools()),
  (call) => patiently(login, finish, () => client.callTool(call)),
);
