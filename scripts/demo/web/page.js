// The page of a chat; worker.js computes the answers.
const at = (id) => document.getElementById(id);
const log = at("log");
const prompt = at("prompt");
const flag = new Int32Array(
  globalThis.crossOriginIsolated ? new SharedArrayBuffer(4) : new ArrayBuffer(4),
);
let messages = [];
let open = null; // the answer that is being written
let total = 0;

// Light or dark: as the system says, until the button says otherwise.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
const showTheme = () => at("theme").setAttribute("aria-pressed", String(isDark()));
at("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
dark.addEventListener("change", showTheme);
showTheme();

function say(error) {
  at("error").textContent = error;
  at("error").hidden = !error;
}

function megabytes(bytes) {
  const digits = bytes < 9.95e6 ? 1 : 0;
  return `${(bytes / 1e6).toLocaleString("en-GB", { maximumFractionDigits: digits })} MB`;
}

function turn(role, text) {
  const made = document.createElement("div");
  made.className = `turn ${role}`;
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = role === "user" ? "you" : "model";
  const body = document.createElement("span");
  body.className = "text";
  body.textContent = text;
  made.append(who, body);
  log.append(made);
  log.scrollTop = log.scrollHeight;
  return made;
}

function setBusy(busy) {
  at("send").hidden = busy;
  at("stop").hidden = !busy;
  at("stop").disabled = false;
  at("reset").disabled = busy;
}

const received = {
  loading({ loaded }) {
    at("progress").value = total ? Math.min(loaded / total, 1) : 0;
    at("stage").textContent = loaded < total
      ? `Loading ${megabytes(loaded)} of ${megabytes(total)}…`
      : "Starting the model…";
  },
  ready({ threads }) {
    at("loading").hidden = true;
    at("threads").textContent = threads;
    for (const id of ["prompt", "send", "reset"]) at(id).disabled = false;
    prompt.focus();
  },
  piece({ text }) {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    open.querySelector(".text").textContent += text;
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  },
  done({ tokens, rate, wait }) {
    const written = rate === null ? "–" : `${rate.toLocaleString("en-GB", { maximumFractionDigits: 1 })} tokens/s`;
    at("speed").textContent = written;
    open.title = `${tokens} tokens, the first after ${wait.toFixed(2)} s`;
    messages.push({ role: "assistant", content: open.querySelector(".text").textContent });
    finish();
  },
  error({ text }) {
    say(text);
    at("loading").hidden = true;
    if (open) {
      messages.pop();
      open.remove();
      finish();
    }
  },
};

function finish() {
  open.classList.remove("busy");
  open = null;
  setBusy(false);
  prompt.focus();
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value.trim();
  if (!text || open || prompt.disabled) return;
  say("");
  prompt.value = "";
  messages.push({ role: "user", content: text });
  turn("user", text);
  open = turn("assistant", "");
  open.classList.add("busy");
  setBusy(true);
  Atomics.store(flag, 0, 0);
  worker.postMessage({ messages, flag });
});

// Enter sends, Shift and Enter begin a new line.
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("form").requestSubmit();
  }
});

at("stop").addEventListener("click", () => {
  Atomics.store(flag, 0, 1);
  at("stop").disabled = true;
});

at("reset").addEventListener("click", () => {
  messages = [];
  log.replaceChildren();
  say("");
  prompt.focus();
});

// The processor, which all browsers have; the GPU where this one gives access to it.
const device = at("device");
if (await navigator.gpu?.requestAdapter().catch(() => null)) {
  device.append(new Option("GPU (WebGPU)", "webgpu"));
  device.value = new URLSearchParams(location.search).get("device") ?? "wasm";
}
device.disabled = device.options.length === 1;
device.addEventListener("change", () => {
  location.search = `?device=${device.value}`;
});

const about = await (await fetch("about.json")).json();
total = about.bytes;
document.title = `${about.model}, ${about.label}`;
at("model").textContent = about.model;
at("artefact").textContent = `${about.name}: ${about.label}`;
at("size").textContent = megabytes(about.bytes);
at("dtype").textContent = about.dtype;

const worker = new Worker(`worker.js?device=${device.value}`, { type: "module" });
worker.addEventListener("message", ({ data }) => received[data.kind](data));
worker.addEventListener("error", (event) => {
  received.error({ text: `The model's part of the page failed: ${event.message || "it did not load"}` });
});
