// A server made with npm's @modelcontextprotocol/sdk: two tools, each of which leaves a mark where it ran.
//   node server_sdk.mjs PORT MARKS
import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const [port, marks] = process.argv.slice(2);

function files() {
  const server = new McpServer({ name: 'files', version: '1' });
  for (const name of ['read', 'write']) {
    server.registerTool(name, { inputSchema: { text: z.string().optional() } }, ({ text }) => {
      appendFileSync(marks, `${name} ${text}\n`);
      return { content: [{ type: 'text', text: `${name} ran` }] };
    });
  }
  return server;
}

const sessions = new Map();
const app = createMcpExpressApp({ host: '127.0.0.1' });
app.all('/mcp', async (request, response) => {
  let transport = sessions.get(request.headers['mcp-session-id']);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    await files().connect(transport);
  }
  await transport.handleRequest(request, response, request.body);
});
app.listen(Number(port), '127.0.0.1');
