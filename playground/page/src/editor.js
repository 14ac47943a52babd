// The editor of the configuration.
import { autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewline } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import { completions } from "./schema.js";

/** An editor in `parent`. `changed` is called after each change, `decide` at Ctrl+Enter. */
export function editor(parent, nonce, schema, changed, decide) {
  const view = new EditorView({
    parent,
    state: EditorState.create({
      extensions: [
        EditorView.cspNonce.of(nonce),
        Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (decide(), true) }])),
        // What is typed is what is there: no indentation and no bracket comes by itself. Shift+Enter indents.
        Prec.high(keymap.of([{ key: "Enter", run: insertNewline }])),
        lineNumbers(),
        history(),
        drawSelection(),
        bracketMatching(),
        highlightActiveLine(),
        highlightSelectionMatches(),
        indentUnit.of("  "),
        // JSON is YAML: one language serves both.
        yaml(),
        syntaxHighlighting(classHighlighter),
        lintGutter(),
        autocompletion({ activateOnTyping: false, override: [(context) => completions(schema, context)] }),
        // An open completion takes Enter before that.
        Prec.highest(keymap.of(completionKeymap)),
        // Tab is not bound: it leaves the editor, as it leaves every field.
        keymap.of([ ...lintKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap]),
        EditorView.contentAttributes.of({
          id: "config",
          "aria-labelledby": "config-label",
          "aria-describedby": "config-hint",
          spellcheck: "false",
        }),
        EditorView.updateListener.of((update) => update.docChanged && changed()),
      ],
    }),
  });
  const text = () => view.state.doc.toString();
  const put = (value) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: value }, selection: { anchor: 0 } });
  // Read and written like the other fields.
  Object.defineProperty(view.contentDOM, "value", { get: text, set: put, configurable: true });
  // The label of what can be edited in place takes no click of its own.
  document.getElementById("config-label").addEventListener("click", () => view.focus());
  return {
    text,
    put,
    focusAt(line, column) {
      const at = position(view.state.doc, line, column);
      view.dispatch({ selection: { anchor: at }, scrollIntoView: true });
      view.focus();
    },
    mark(problems) {
      const doc = view.state.doc;
      const diagnostics = problems.map((problem) => {
        const from = position(doc, problem.line, problem.column);
        const message = problem.path ? `${problem.path}: ${problem.message}` : problem.message;
        return { from, to: Math.max(from, doc.lineAt(from).to), severity: problem.severity, message };
      });
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
  };
}

// Columns are counted in characters; the editor counts UTF-16 units.
function position(doc, line, column) {
  const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
  const before = [...at.text].slice(0, column - 1).join("");
  return at.from + before.length;
}
