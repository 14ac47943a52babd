// A server made with npm's @modelcontextprotocol/server: two tools, each of which leaves a mark where it ran.
//   node server_npm.mjs PORT MARKS
import { createServer } from 'node:http';
import { appendFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';

const [port, marks] = process.argv.slice(2);

function files() {
  const server = new McpServer({ name: 'files', version: '1' });
  for (const name of ['read', 'write']) {
    server.registerTool(name, { inputSchema: z.object({ text: z.string().optional() }) }, ({ text }) => {
      appendFileSync(marks, `${name} ${text}\n`);
      return { content: [{ type: 'text', text: `${name} ran` }] };
    });
  }
  return server;
}

const handler = createMcpHandler(files);
createServer(async (request, response) => {
  const headers = new Headers();
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    headers.append(request.rawHeaders[at], request.rawHeaders[at + 1]);
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
  const url = new URL(request.url, `http://127.0.0.1:${port}`);
  if (url.pathname !== '/mcp') return response.writeHead(404).end();
  try {
    const hasBody = !['GET', 'HEAD'].includes(request.method);
    const answer = await handler.fetch(new Request(url, { method: request.method, headers, body: hasBody ? body : undefined }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body) Readable.fromWeb(answer.body).pipe(response);
    else response.end();
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}).listen(Number(port), '127.0.0.1');
