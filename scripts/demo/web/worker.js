// The model runs here, beside the page, so that the page stays alive while it computes.
import {
  AutoModelForCausalLM, AutoTokenizer, InterruptableStoppingCriteria, TextStreamer, env,
} from "./npm/transformers.min.js";

const ARTEFACT = "artefact";
const MAX_NEW_TOKENS = 256;
const device = new URLSearchParams(location.search).get("device");
const here = (path) => new URL(path, import.meta.url).href;

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = new URL("./", import.meta.url).pathname;
// The files lie on this machine already.
env.useBrowserCache = false;
env.useWasmCache = false;
env.backends.onnx.wasm.wasmPaths = {
  mjs: here("./npm/ort-wasm-simd-threaded.asyncify.mjs"),
  wasm: here("./npm/ort-wasm-simd-threaded.asyncify.wasm"),
};

let loaded = 0;
env.fetch = async (address, options) => {
  const response = await fetch(address, options);
  if (!response.ok || !response.body) return response;
  const counted = new TransformStream({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      postMessage({ kind: "loading", loaded });
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(counted), response);
};

let tokenizer;
let model;

async function load() {
  tokenizer = await AutoTokenizer.from_pretrained(ARTEFACT);
  model = await AutoModelForCausalLM.from_pretrained(ARTEFACT, { device });
  postMessage({ kind: "ready", threads: env.backends.onnx.wasm.numThreads || 1 });
}

function encoded(messages) {
  if (tokenizer.chat_template) {
    return tokenizer.apply_chat_template(messages, { add_generation_prompt: true });
  }
  return tokenizer(messages.map((one) => one.content).join("\n"));
}

async function answer(messages, flag) {
  const inputs = encoded(messages);
  const length = inputs.input_ids.dims.at(-1);
  const room = (model.config.max_position_embeddings ?? Infinity) - length;
  if (room < 1) {
    throw new Error(`The conversation has ${length} tokens, which leaves no room for an answer. Begin a new one.`);
  }
  const stopping = new InterruptableStoppingCriteria();
  const started = performance.now();
  let first = started;
  let tokens = 0;
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    token_callback_function: () => {
      first = tokens ? first : performance.now();
      tokens += 1;
      // No message arrives while the model computes; shared memory does.
      if (Atomics.load(flag, 0)) stopping.interrupt();
    },
    callback_function: (text) => postMessage({ kind: "piece", text }),
  });
  await model.generate({
    ...inputs,
    max_new_tokens: Math.min(MAX_NEW_TOKENS, room),
    do_sample: false,
    repetition_penalty: 1,
    streamer,
    stopping_criteria: stopping,
  });
  const seconds = (performance.now() - first) / 1000;
  const rate = tokens > 1 ? (tokens - 1) / seconds : null;
  postMessage({ kind: "done", tokens, rate, wait: (first - started) / 1000 });
}

function inWords(error) {
  // onnxruntime-web throws bare numbers where its memory ends.
  if (typeof error === "number" || /bad_alloc|out of memory|allocat/i.test(`${error}`)) {
    return `This browser has not enough memory for the model (${error}).`;
  }
  return error?.message ?? `${error}`;
}

async function attempt(work, ...given) {
  try {
    await work(...given);
  } catch (error) {
    postMessage({ kind: "error", text: inWords(error) });
  }
}

addEventListener("message", ({ data }) => attempt(answer, data.messages, data.flag));
attempt(load);
