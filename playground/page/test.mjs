// The page in a browser: test.mjs PAGE BROWSER TOOL [SCREENSHOTS]. Says what was tried; ends with 1 where something fails.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import puppeteer from "puppeteer-core";
import { examples } from "./examples.mjs";
import { questions } from "./questions.mjs";
import { scenarios } from "./scenarios.mjs";

const [file, executablePath, tool, pictures] = process.argv.slice(2);
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const address = pathToFileURL(resolve(file)).href;
const NOW = "1767225600";
const folder = mkdtempSync(join(tmpdir(), "playground-"));
const browser = await puppeteer.launch({
  executablePath,
  userDataDir: join(folder, "profile"),
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
});

/** Everything that the page asked for but itself. */
const asked = [];
const faults = [];

async function open(fragment = "") {
  const page = await browser.newPage();
  await page.setViewport({ width: 1440, height: 1200 });
  page.on("request", (request) => {
    const url = request.url();
    if (url.split("#")[0] !== address && !url.startsWith("data:") && !url.startsWith("blob:")) asked.push(url);
  });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  await page.goto(address + fragment);
  await page.waitForSelector('#outcome[data-state="decided"], #outcome[data-state="refused"]');
  return page;
}

const shown = (page) =>
  page.$eval("#outcome", (outcome) => ({ ...outcome.dataset, text: outcome.innerText, json: outcome.querySelector("#json")?.textContent }));

async function press(page, ...keys) {
  for (const key of keys.slice(0, -1)) await page.keyboard.down(key);
  await page.keyboard.press(keys.at(-1));
  for (const key of keys.slice(0, -1)) await page.keyboard.up(key);
}

/** Goes to a field by Tab alone, empties it and types. */
async function typed(page, id, text) {
  for (let presses = 0; (await page.evaluate(() => document.activeElement.id)) !== id; presses += 1) {
    assert.ok(presses < 60, `Tab does not reach #${id}`);
    await page.keyboard.press("Tab");
  }
  await press(page, "Control", "KeyA");
  await page.keyboard.press("Backspace");
  await page.keyboard.type(text);
}

const tests = {
  async "ten scenarios, typed and by keyboard alone"() {
    const page = await open();
    for (const { name, fields, expected } of scenarios) {
      for (const id of ["config", "method", "host", "path", "headers", "token", "now"]) {
        if (id === "config" && !fields.config) continue;
        await typed(page, id, fields[id] ?? (id === "now" ? NOW : ""));
      }
      await press(page, "Control", "Enter");
      const { text, json, ...data } = await shown(page);
      for (const [key, value] of Object.entries(expected.data ?? {})) assert.equal(data[key], value, `${name}: ${key}\n${text}`);
      for (const part of expected.text ?? []) assert.ok(text.includes(part), `${name}: ${part} is not in\n${text}`);
      for (const part of expected.absent ?? []) assert.ok(!text.includes(part), `${name}: ${part} is in\n${text}`);
      if (expected.line) {
        const problem = await page.$eval("#problems button", (button) => button.textContent);
        assert.ok(problem.includes(`line ${expected.line}: ${expected.path}`), `${name}: ${problem}`);
        assert.ok(await page.$(".cm-lintRange-error, .cm-lintPoint-error"), `${name}: no mark in the editor`);
      }
    }
    await page.close();
    return `${scenarios.length} scenarios`;
  },

  async "every control has a name, is reached by Tab and shows its focus"() {
    const page = await open();
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    const controls = await page.$$eval("input, select, textarea, button, summary, #config, #json", (all) =>
      all.filter((one) => one.checkVisibility()).map((one, at) => (one.id ||= `control-${at}`)));
    const reached = new Set();
    for (let presses = 0; presses < controls.length + 20; presses += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const one = document.activeElement;
        const ring = (node) => node && getComputedStyle(node).outlineStyle !== "none" && parseFloat(getComputedStyle(node).outlineWidth) > 0;
        return { id: one.id, ring: Boolean(ring(one) || ring(one.closest(".cm-editor"))) };
      });
      if (!at.id) continue;
      assert.ok(at.ring, `#${at.id} shows no focus`);
      reached.add(at.id);
    }
    assert.deepEqual(controls.filter((id) => !reached.has(id)), [], "not reached");
    for (const id of controls) {
      const { name } = (await page.accessibility.snapshot({ root: await page.$(`#${CSS(id)}`), interestingOnly: false })) ?? {};
      assert.ok(name, `#${id} has no name`);
    }
    await page.close();
    return `${controls.length} controls`;
  },

  async "every example is taken, and comes out as the repository says"() {
    const page = await open();
    let count = 0;
    for (const [at, group] of examples(root).entries()) {
      for (const [number, example] of group.examples.entries()) {
        await page.select("#example", `${at}.${number}`);
        const { text, ...data } = await shown(page);
        assert.equal(data.state, "decided", `${group.name}: ${example.name}\n${text}`);
        for (const [key, value] of Object.entries(example.expected ?? {})) {
          assert.equal(data[key], value === null ? undefined : String(value), `${group.name}: ${example.name}: ${key}\n${text}`);
        }
        count += 1;
      }
    }
    assert.ok(count >= 60, `only ${count} examples`);
    await page.close();
    return `${count} examples`;
  },

  async "a link brings the question back, and no token"() {
    const page = await open();
    const secret = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0.c2VjcmV0";
    await page.evaluate((secret) => {
      const set = (id, value) => (document.getElementById(id).value = value);
      set("path", `/orders/7?access_token=opaque-secret&a=${secret}&b=1`);
      set("headers", `x-kept: 1\nAuthorization: Bearer opaque-secret\ncookie: session=opaque-secret\nx-other: ${secret}`);
      set("token", secret);
    }, secret);
    await press(page, "Control", "Enter");
    await page.click("#share");
    await page.waitForSelector("#shared:not([hidden])");
    const link = await page.evaluate(() => location.hash);
    const config = await page.$eval("#config", (field) => field.value);
    await page.close();
    const other = await open(link);
    const back = await other.evaluate(() => Object.fromEntries(["config", "path", "headers", "token"].map((id) => [id, document.getElementById(id).value])));
    await other.close();
    assert.deepEqual(back, { config, path: "/orders/7?access_token=&a=&b=1", headers: "x-kept: 1\nx-other: ", token: "" });
    for (const wrong of ["#1.", "#1.AAAA", "#1.%00", "#0.x"]) await (await open(wrong)).close();
  },

  async "nothing is stored, and nothing can be sent"() {
    const page = await open();
    const kept = await page.evaluate(async () => ({
      cookie: document.cookie, local: localStorage.length, session: sessionStorage.length, bases: (await indexedDB.databases()).length,
    }));
    assert.deepEqual(kept, { cookie: "", local: 0, session: 0, bases: 0 });
    // This page is for tampering with: what the policy stops is no fault of the page's.
    page.removeAllListeners("console");
    const stopped = await page.evaluate(async () => {
      const seen = [];
      addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
      await fetch("https://portcullis.invalid/").catch(() => {});
      navigator.sendBeacon("https://portcullis.invalid/");
      new Image().src = "https://portcullis.invalid/";
      document.body.append(Object.assign(document.createElement("script"), { src: "https://portcullis.invalid/" }));
      document.body.append(Object.assign(document.createElement("iframe"), { src: "https://portcullis.invalid/" }));
      await new Promise((done) => setTimeout(done, 300));
      return [...new Set(seen)].sort();
    });
    assert.deepEqual(stopped, ["connect-src", "frame-src", "img-src", "script-src-elem"]);
    await page.close();
    asked.splice(0, asked.length, ...asked.filter((url) => url !== "https://portcullis.invalid/"));
  },

  async "light and dark, by preference and by the switch"() {
    const page = await open();
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const seen = {};
    for (const scheme of ["light", "dark"]) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      seen[scheme] = await back();
      await page.waitForSelector(`#theme[aria-pressed="${scheme === "dark"}"]`);
      if (pictures) await page.screenshot({ path: join(pictures, `playground-${scheme}.png`), fullPage: false });
    }
    assert.notEqual(seen.light, seen.dark);
    await page.click("#theme");
    assert.equal(await back(), seen.light);
    await page.click("#theme");
    assert.equal(await back(), seen.dark);
    await page.close();
  },

  async "nothing lies over anything else, on a wide and on a narrow screen"() {
    const page = await open();
    const sizes = () => page.evaluate(() => ({
      editor: document.querySelector(".cm-editor").getBoundingClientRect().right,
      form: document.getElementById("question").getBoundingClientRect().right,
      width: document.documentElement.scrollWidth - innerWidth,
    }));
    for (const width of [1440, 1000, 390]) {
      await page.setViewport({ width, height: 900 });
      const { editor, form, width: beyond } = await sizes();
      assert.ok(editor <= form + 1 && beyond <= 0, `${width} px: the editor ends at ${editor}, its column at ${form}, the page ${beyond} beyond`);
    }
    await page.close();
  },

  async "500 requests come out as portcullis explain says"() {
    const page = await open();
    const all = questions(examples(root), 500);
    const files = new Map();
    const run = promisify(execFile);
    const tooled = async (question) => {
      if (!files.has(question.config)) {
        files.set(question.config, join(folder, `configuration-${files.size}`));
        writeFileSync(files.get(question.config), question.config);
      }
      const given = ["explain", "--format", "json", "--now", NOW, "--config", files.get(question.config)];
      for (const name of ["method", "host", "path", "alg", "metadata"]) if (question[name]) given.push(`--${name}=${question[name]}`);
      for (const line of (question.headers ?? "").split("\n").filter(Boolean)) given.push("-H", line);
      if (question.token) given.push(`--${question.token.startsWith("{") ? "claims" : "token"}=${question.token}`);
      if (question.tls) given.push("--tls");
      return JSON.parse((await run(tool, given, { maxBuffer: 1 << 24 })).stdout);
    };
    const paged = (question) =>
      page.evaluate((question, now) => {
        const field = (id) => document.getElementById(id);
        for (const id of ["config", "method", "host", "path", "headers", "token", "alg", "metadata"]) {
          if (id !== "config" || field(id).value !== question[id]) field(id).value = question[id] ?? "";
        }
        field("tls").checked = question.tls === true;
        field("now").value = now;
        field("decide").click();
        return field("json")?.textContent ?? field("outcome").innerText;
      }, question, NOW);
    const reasons = new Map();
    for (let at = 0; at < all.length; at += 4) {
      const some = all.slice(at, at + 4);
      const expected = await Promise.all(some.map(tooled));
      for (const [number, question] of some.entries()) {
        const text = await paged(question);
        const brief = JSON.stringify({ ...question, config: question.name });
        assert.ok(text.startsWith("{"), `${brief}: ${text}`);
        assert.deepEqual(JSON.parse(text), expected[number], brief);
        const reason = expected[number].reason ?? expected[number].decision;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
    }
    assert.ok(all.length >= 500 && reasons.size >= 8, `${all.length} requests: ${[...reasons]}`);
    await page.close();
    return [...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ");
  },
};

const CSS = (id) => id.replace(/[^\w-]/g, "\\$&");
let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  const begun = Date.now();
  try {
    const more = await test();
    console.log(`ok      ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)${more ? `: ${more}` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
for (const [name, list] of [["no request leaves the page", asked], ["no fault in the console", faults]]) {
  if (list.length) failed += 1;
  console.log(list.length ? `FAILED  ${name}: ${list.join("\n")}` : `ok      ${name}`);
}
await browser.close();
rmSync(folder, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
