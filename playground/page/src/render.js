// What came of a request, as a person reads it. Texts go into the page as texts, never as HTML.

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const hidden = (text) => element("span", { class: "visually-hidden" }, text);

const MARKS = { passed: ["✔", "good"], failed: ["✘", "bad"], "not this one": ["–", "faint"] };

function mark(outcome) {
  const [sign, tone] = MARKS[outcome] ?? ["…", "faint"];
  return [element("span", { class: `mark ${tone}`, "aria-hidden": "true" }, sign), hidden(`${outcome}: `)];
}

const NAMES = { match_rule: "rule" };
const words = (step) => NAMES[step] ?? step.replaceAll("_", " ");

function section(title, ...children) {
  return [element("h2", {}, title), ...children];
}

function fields(map) {
  const rows = Object.entries(map).flatMap(([name, values]) =>
    [values].flat().map((value) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))),
  );
  return rows.length ? element("table", {}, element("tbody", {}, rows)) : element("p", { class: "faint" }, "No fields.");
}

function steps(explanation) {
  const items = explanation.steps.map((step) => {
    const checks = step.checks.map((check) => {
      // A rule that another request is for is no fault of this one.
      const isOther = check.ok && step.step === "match_rule" && /does not hold/.test(check.text);
      const outcome = isOther ? "not this one" : check.ok ? "passed" : "failed";
      return element("li", { class: check.ok ? "" : "bad" }, mark(outcome), `${check.what}: ${check.text}`);
    });
    const why = step.reason
      ? element("li", { class: "bad" }, element("strong", {}, step.reason), step.text ? `: ${step.text}` : "")
      : null;
    return element(
      "li",
      { "data-step": step.step, "data-outcome": step.outcome },
      mark(step.outcome),
      element("strong", {}, words(step.step)),
      step.provider ? element("span", { class: "faint" }, ` ${step.provider}`) : null,
      checks.length || why ? element("ul", {}, checks, why) : null,
    );
  });
  return items.length ? section("Checks", element("ol", { class: "steps" }, items)) : [];
}

function token(shown) {
  if (!shown) return [];
  const rows = (members, part) =>
    Object.entries(members).map(([name, value]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, name),
        element(
          "td",
          {},
          typeof value === "string" ? value : JSON.stringify(value),
          part === "claims" && shown.dates[name] ? element("span", { class: "date" }, ` ${shown.dates[name]}`) : null,
        ),
      ),
    );
  const whose = shown.signed_here ? "Signed here, with a key that is thrown away." : "As it was pasted; whether it is good, the checks say.";
  return section(
    "Token",
    element("p", { class: "faint" }, whose),
    element("table", {}, element("caption", { class: "visually-hidden" }, "Header of the token"), element("tbody", {}, rows(shown.header, "header"))),
    element("table", { id: "claims" }, element("caption", { class: "visually-hidden" }, "Claims of the token"), element("tbody", {}, rows(shown.claims, "claims"))),
  );
}

function answer(given) {
  if (!given) return [];
  return section(`Answer to the client: ${given.status}`, fields(given.headers), given.body ? element("pre", {}, given.body) : null);
}

function upstream(given) {
  if (!given) return [];
  const removed = given.removed.length ? element("p", { class: "faint" }, `Taken away or replaced: ${given.removed.join(", ")}`) : null;
  return section("To the upstream", fields(given.headers), removed);
}

/** Shows an answer in `outcome`. */
export function show(outcome, result) {
  const { explanation } = result;
  for (const name of ["decision", "status", "reason", "rule"]) {
    const value = explanation?.[name];
    if (value === undefined || value === null) delete outcome.dataset[name];
    else outcome.dataset[name] = value;
  }
  if (!explanation) {
    const errors = result.problems.filter((problem) => problem.severity === "error");
    const text = result.wrong
      ? `Nothing is decided: ${result.wrong[0]} ${result.wrong[1]}`
      : `The filter refuses this configuration: ${errors.length} ${errors.length === 1 ? "error" : "errors"}.`;
    outcome.dataset.state = "refused";
    const list = errors.map(({ line, path, message }) => element("li", {}, `line ${line}: ${path ? `${path}: ` : ""}${message}`));
    outcome.replaceChildren(element("p", { class: "verdict bad", role: "status" }, text), result.wrong ? "" : element("ul", {}, list));
    return;
  }
  outcome.dataset.state = "decided";
  const { decision, status, reason, detail, rule, provider, readings, notes, version } = explanation;
  const parts = [
    element(
      "p",
      { class: `verdict ${decision === "deny" ? "bad" : "good"}`, role: "status" },
      element("strong", {}, decision),
      ` ${status}`,
      reason ? element("span", { class: "mono" }, ` ${reason}`) : null,
    ),
    detail ? element("p", {}, detail) : null,
    element("p", {}, "Rule: ", rule ? element("strong", {}, rule) : "none", provider ? `, provider: ${provider}` : null),
    readings.length > 1 ? element("p", {}, `The path could be read as: ${readings.join("  ")}`) : null,
    ...notes.map((note) => element("p", { class: "faint" }, `Note: ${note}`)),
    ...steps(explanation),
    ...token(result.token),
    ...answer(explanation.answer),
    ...upstream(explanation.upstream),
    element(
      "details",
      {},
      element("summary", {}, "As JSON, as portcullis explain writes it"),
      element("pre", { id: "json", tabindex: "0", "aria-label": "The outcome as JSON" }, JSON.stringify(explanation, null, 2)),
    ),
    element("p", { class: "faint" }, `Decided by Portcullis ${version}`),
  ];
  outcome.replaceChildren(...parts.filter(Boolean));
}

/** Lists the problems of the configuration; `go` is called with the one that is chosen. */
export function list(target, problems, go) {
  target.hidden = problems.length === 0;
  target.replaceChildren(
    ...problems.map((problem) => {
      const where = problem.path ? `${problem.path}: ` : "";
      const text = `${problem.severity}, line ${problem.line}: ${where}${problem.message}`;
      const button = element("button", { type: "button", class: problem.severity }, text);
      button.addEventListener("click", () => go(problem));
      return element("li", {}, button);
    }),
  );
}
