// Puts the page together: build.mjs MODULE.wasm FOLDER writes FOLDER/index.html, one file that asks for nothing else.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { examples } from "./examples.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const [wasm, folder] = process.argv.slice(2);
const module = gzipSync(readFileSync(wasm), { level: 9 });
const made = examples(root);
const given = {
  name: "given",
  setup(building) {
    building.onResolve({ filter: /core\.wasm\.gz$|examples\.json$/ }, ({ path }) => ({ path, namespace: "given" }));
    building.onLoad({ filter: /wasm/, namespace: "given" }, () => ({ contents: module, loader: "binary" }));
    building.onLoad({ filter: /examples/, namespace: "given" }, () => ({ contents: JSON.stringify(made), loader: "json" }));
  },
};
const bundled = await build({
  // Top-level await is for modules; this is one function that runs when the page is there.
  stdin: { contents: 'import "./main.js";', resolveDir: join(here, "src") },
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: ["chrome123", "firefox120", "safari17.5"],
  legalComments: "inline",
  charset: "utf8",
  plugins: [given],
});
const script = bundled.outputFiles[0].text;
const style = readFileSync(join(here, "src/style.css"), "utf8");
const hash = (text) => createHash("sha256").update(text).digest("base64");
const nonce = hash(style).slice(0, 16);
// The editor makes its styles as it runs: they have the nonce. Nothing can be fetched, sent, framed or posted.
const policy = [
  "default-src 'none'",
  `script-src 'sha256-${hash(script)}' 'wasm-unsafe-eval'`,
  `style-src 'nonce-${nonce}'`,
  "img-src data:",
  "connect-src 'none'",
  "form-action 'none'",
  "base-uri 'none'",
].join("; ");
let page = readFileSync(join(here, "src/index.html"), "utf8");
page = page.replace("<script>", '<script type="module">');
for (const [name, text] of Object.entries({ CSP: policy, NONCE: nonce, STYLE: style, SCRIPT: script })) {
  page = page.replace(`%${name}%`, () => text);
}
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "index.html"), page);
const kib = (bytes) => `${Math.ceil(bytes / 1024)} KiB`;
console.log(`${join(folder, "index.html")}: ${kib(Buffer.byteLength(page))} (${kib(gzipSync(page).length)} compressed), the module ${kib(module.length)} of it`);
