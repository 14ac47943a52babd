// The gate, compiled from the filter's own source. It imports nothing: it cannot ask a clock, a network or a store.
import packed from "./core.wasm.gz";

let instance;

async function start() {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const module = await WebAssembly.compile(bytes);
  return () => new WebAssembly.Instance(module, {}).exports;
}

/** Gives a function that answers questions; see playground/src/question.rs for what is in both. */
export async function core() {
  const anew = await start();
  instance = anew();
  return (question) => {
    try {
      const bytes = new TextEncoder().encode(JSON.stringify(question));
      const at = instance.playground_input(bytes.length);
      new Uint8Array(instance.memory.buffer, at, bytes.length).set(bytes);
      const answer = instance.playground_decide();
      const length = instance.playground_length();
      return JSON.parse(new TextDecoder().decode(new Uint8Array(instance.memory.buffer, answer, length)));
    } catch (error) {
      instance = anew();
      throw error;
    }
  };
}
