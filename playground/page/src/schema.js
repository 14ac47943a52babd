// What can be written at a place of the configuration, by its JSON Schema.

/** The members and words that fit where the cursor is. */
export function completions(schema, context) {
  const word = context.matchBefore(/[\w$-]*/);
  if (!context.explicit && (!word || word.from === word.to)) return null;
  const line = context.state.doc.lineAt(context.pos);
  const before = line.text.slice(0, word.from - line.from);
  const way = wayTo(context.state.doc, line.number, before);
  if (!way) return null;
  const value = /([\w$-]+)["']?\s*:\s*["']?$/.exec(before);
  const found = resolve(schema, value ? [...way, value[1]] : way);
  const options = value ? words(schema, found) : members(schema, found);
  return options.length ? { from: word.from, options, validFor: /^[\w$-]*$/ } : null;
}

/** The names of the members around a line, from the outermost; `[]` for an element of a list. By indentation. */
export function wayTo(doc, number, before) {
  const way = [];
  const opens = flowWay(before);
  if (opens) way.unshift(...opens.way);
  let indent = opens ? opens.indent : columnOf(before);
  if (!opens) dashes(before, indent).forEach(() => way.unshift("[]"));
  if (/^\s*-\s/.test(before)) indent = /^\s*/.exec(before)[0].length;
  for (let at = number - 1; at >= 1 && (indent > 0 || way[0] === "[]"); at -= 1) {
    const text = doc.line(at).text;
    if (!text.trim() || text.trim().startsWith("#")) continue;
    const found = /^(\s*)((?:-\s+)*)["']?([^"':#{}[\],]+)["']?\s*:\s*(?:[&|>{[].*|#.*)?$/.exec(text);
    const outer = /^\s*/.exec(text)[0].length;
    if (found) {
      const column = found[1].length + found[2].length;
      const isParent = column < indent || (column === indent && way[0] === "[]" && !found[2]);
      if (isParent) {
        way.unshift(found[3].trim());
        indent = found[2] ? outer : column;
        for (const _ of found[2].match(/-/g) ?? []) way.unshift("[]");
        continue;
      }
    }
    // A further member of a list's element: the line with its dash is the element's beginning.
    if (/^\s*-\s/.test(text) && outer < indent) {
      way.unshift("[]");
      indent = outer;
    }
  }
  return way;
}

const columnOf = (before) => /^\s*(?:-\s+)*/.exec(before)[0].length;
const dashes = (before) => /^\s*((?:-\s+)*)/.exec(before)[1].match(/-/g) ?? [];

// `name: { other: ` on one line.
function flowWay(before) {
  const way = [];
  let rest = before;
  let indent = null;
  for (let found; (found = /([\w$-]+)["']?\s*:\s*([{[])/.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
    indent ??= columnOf(before);
    way.push(found[1], ...(found[2] === "[" ? ["[]"] : []));
  }
  if (indent === null) return null;
  way.unshift(...dashes(before).map(() => "[]"));
  const outer = /^\s*/.exec(before)[0].length;
  return { way, indent: dashes(before).length ? outer : indent };
}

/** The schemas of what is at the end of a way. */
export function resolve(root, way) {
  let at = spread(root, root);
  for (const name of way) {
    const next = at.flatMap((schema) => {
      if (name === "[]") return schema.items ? [schema.items] : [];
      const own = schema.properties?.[name] ?? schema.properties?.[snake(name)];
      if (own) return [own];
      const patterns = Object.values(schema.patternProperties ?? {});
      const more = schema.additionalProperties;
      return [...patterns, ...(more && typeof more === "object" ? [more] : [])];
    });
    at = next.flatMap((schema) => spread(root, schema));
  }
  return at;
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

// A schema and all that it refers to or is made of.
function spread(root, schema, depth = 0) {
  if (!schema || typeof schema !== "object" || depth > 12) return [];
  const referred = typeof schema.$ref === "string" && schema.$ref.startsWith("#") ? [pointer(root, schema.$ref)] : [];
  const parts = [...referred, ...(schema.allOf ?? []), ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  return [schema, ...parts.flatMap((part) => spread(root, part, depth + 1))];
}

function pointer(root, ref) {
  const names = ref.slice(1).split("/").filter(Boolean);
  return names.reduce((at, name) => at?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], root);
}

function members(root, schemas) {
  const found = new Map();
  for (const schema of schemas) {
    for (const [name, own] of Object.entries(schema.properties ?? {})) {
      if (found.has(name)) continue;
      const info = spread(root, own).map((part) => part.description).find(Boolean);
      found.set(name, { label: name, type: "property", apply: `${name}: `, ...(info && { info }) });
    }
  }
  return [...found.values()];
}

function words(root, schemas) {
  const found = new Set();
  for (const schema of schemas) {
    for (const word of schema.enum ?? []) found.add(String(word));
    if (schema.const !== undefined) found.add(String(schema.const));
    if (schema.type === "boolean") found.add("true").add("false");
  }
  return [...found].map((label) => ({ label, type: "constant" }));
}
