// The page: its fields are put together into a question, the core answers, the answer is shown.
import { core } from "./core.js";
import { editor } from "./editor.js";
import examples from "./examples.json";
import { list, show } from "./render.js";
import schema from "../../../docs/portcullis.schema.json";
import { fieldsOf, fragment } from "./share.js";

const FIELDS = ["method", "host", "path", "headers", "token", "now", "provider", "alg", "keys", "introspection", "client_address", "metadata", "route"];
/** How long nobody has typed before the page decides by itself, in milliseconds. */
const PAUSE = 200;

const by = (id) => document.getElementById(id);
const outcome = by("outcome");
let ask = null;
let last = null;
let timer = 0;

const config = editor(by("editor"), document.querySelector("style").nonce, schema, soon, decide);

function fields() {
  const values = Object.fromEntries(FIELDS.map((name) => [name, by(name).value]));
  return { ...values, config: config.text(), tls: by("tls").checked };
}

function fill(values) {
  config.put(values.config ?? "");
  for (const name of FIELDS) by(name).value = values[name] ?? "";
  by("tls").checked = values.tls === true;
  decide();
}

function soon() {
  outcome.dataset.state = "stale";
  clearTimeout(timer);
  timer = setTimeout(decide, PAUSE);
}

function decide() {
  clearTimeout(timer);
  if (!ask) return;
  const question = fields();
  question.now = question.now.trim() || String(Math.floor(Date.now() / 1000));
  try {
    last = ask(question);
  } catch (error) {
    last = { problems: [], wrong: ["the page", `has a fault: ${error.message}`], providers: [] };
  }
  config.mark(last.problems);
  list(by("problems"), last.problems, (problem) => config.focusAt(problem.line, problem.column));
  for (const name of FIELDS) {
    if (last.wrong?.[0] === name) by(name).setAttribute("aria-invalid", "true");
    else by(name).removeAttribute("aria-invalid");
  }
  by("providers").replaceChildren(...last.providers.map((name) => Object.assign(document.createElement("option"), { value: name })));
  show(outcome, last);
}

async function share() {
  const link = location.href.split("#")[0] + (await fragment(fields(), last));
  history.replaceState(null, "", link);
  let how = "The link is in the address bar.";
  try {
    await navigator.clipboard.writeText(link);
    how = "The link is copied.";
  } catch {
    // Not every browser lets a page do that.
  }
  by("shared").hidden = false;
  by("shared").textContent = `${how} It holds the configuration and the request; tokens and claims are left out.`;
}

const preference = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (preference.matches ? "dark" : "light")) === "dark";
const pressed = () => by("theme").setAttribute("aria-pressed", String(isDark()));

function theme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  pressed();
}

async function fromLink() {
  const given = await fieldsOf(location.hash);
  if (given) fill(given);
  return Boolean(given);
}

for (const group of examples) {
  const made = document.createElement("optgroup");
  made.label = group.name;
  for (const [at, example] of group.examples.entries()) {
    made.append(Object.assign(document.createElement("option"), { value: `${examples.indexOf(group)}.${at}`, textContent: example.name }));
  }
  by("example").append(made);
}
by("example").addEventListener("change", ({ target }) => {
  if (!target.value) return;
  const [group, at] = target.value.split(".").map(Number);
  const example = examples[group].examples[at];
  fill({ ...example.fields, config: examples[group].configs[example.config] });
});
by("question").addEventListener("input", (event) => event.target.id !== "config" && soon());
by("question").addEventListener("submit", (event) => (event.preventDefault(), decide()));
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
    event.preventDefault();
    decide();
  }
});
by("share").addEventListener("click", share);
by("theme").addEventListener("click", theme);
preference.addEventListener("change", pressed);
pressed();
addEventListener("hashchange", fromLink);

ask = await core();
if (!(await fromLink())) {
  const [first] = examples;
  const shown = first.examples.find((example) => example.fields.token) ?? first.examples[0];
  fill({ ...shown.fields, config: first.configs[shown.config] });
}
