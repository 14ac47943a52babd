// A client in a page of another origin, in headless Chromium: node client_browser.mjs URL CHROMIUM
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { launch } from 'puppeteer-core';

const [url, chromium] = process.argv.slice(2);
const script = buildSync({
  entryPoints: ['page.mjs'], bundle: true, format: 'esm', platform: 'browser', write: false, logLevel: 'error',
}).outputFiles[0].text;
const pages = createServer((request, response) => {
  if (request.url === '/page.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
  response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><script type=module src=/page.js></script>');
});
await new Promise((listening) => pages.listen(0, '127.0.0.1', listening));

const profile = mkdtempSync(join(tmpdir(), 'portcullis-page-'));
const browser = await launch({
  executablePath: chromium, headless: true, userDataDir: profile,
  // As root, in a container: there is no sandbox to be had, and no page but ours.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
});
const page = await browser.newPage();
const heard = [];
page.on('console', (message) => heard.push(message.text()));

// The page is there, also when it is just coming back from a log-in.
async function ready() {
  for (let tries = 0; tries < 600; tries += 1) {
    const state = await page.evaluate(() => (location.origin.startsWith('http://localhost') ? window.isReady : null)).catch(() => null);
    if (state) return state;
    await new Promise((later) => setTimeout(later, 50));
  }
  return `FAILED the page is not ready: ${page.url()} ${heard.join(' | ')}`;
}

async function taken(name, text) {
  for (let logins = 0; logins < 4; logins += 1) {
    const state = await ready();
    if (state !== true) return state;
    const came = await page.evaluate((...step) => window.take(...step), name, text);
    if (came !== null) return came;
    // It leaves: what is ready until then is the page that goes.
    await page.evaluate(() => { window.isReady = null; }).catch(() => null);
  }
  return 'FAILED it was sent to log in four times';
}

await page.goto(`http://localhost:${pages.address().port}/?resource=${encodeURIComponent(url)}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...text] = line.split(' ');
  const came = await taken(name, text.join(' ')).catch((error) => `FAILED ${error.message}`);
  console.log(line, '->', String(came).replaceAll(/\s+/g, ' '));
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
process.exit(0);
