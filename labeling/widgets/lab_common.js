// Shared by every widget of the lab page: labeling/lab.py puts this file before each widget's own script.
// The page has no framework: widgets ask the JSON API, build their DOM with make(), and hear about each other
// only through `shared` (the last status) and its events. Nothing here ever goes through an HTML template;
// only text that the server has rendered and cleaned is set by innerHTML (see setHtml).

const shared = (window.podiumLab ||= { status: null, policies: [], rounds: [], events: new EventTarget(), mounts: {} });

// js_on_load has no unmount hook: one AbortController per widget, and mounting again ends the one before.
function mounted(name) {
  shared.mounts[name]?.abort();
  shared.mounts[name] = new AbortController();
  return shared.mounts[name].signal;
}

function on(name, listener, signal) {
  shared.events.addEventListener(name, (event) => listener(event.detail), { signal });
}

function tell(name, detail) {
  shared.events.dispatchEvent(new CustomEvent(name, { detail }));
}

// GET, or POST when there is a body. Fails with one sentence that can be shown as it is.
async function api(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let reply;
  try {
    reply = await fetch("/api/" + path, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(20000), ...options });
  } catch {
    throw new Error("The server does not answer.");
  }
  const data = await reply.json().catch(() => null);
  if (!reply.ok) {
    const sentence = data?.error || "The server answered with error " + reply.status + ".";
    throw Object.assign(new Error(sentence), { status: reply.status });
  }
  if (data === null) throw new Error("What answered is not this server (a login page or a proxy?).");
  return data;
}

// Repeat `work`, but only while a person can see the widget: not in a hidden browser tab, not in another tab of
// the page. Coming back into view asks at once. Returns a function that asks now.
function repeat(milliseconds, work, signal) {
  let timer = 0;
  let busy = false;
  const inView = () => element.isConnected && element.offsetParent !== null && !document.hidden;
  async function tick() {
    clearTimeout(timer);
    if (signal.aborted || busy) return;
    if (inView()) {
      busy = true;
      try {
        await work();
      } catch (error) {
        tell("trouble", error.message);
      } finally {
        busy = false;
      }
    }
    if (!signal.aborted) timer = setTimeout(tick, milliseconds);
  }
  let wasInView = inView();
  const look = () => {
    const now = inView();
    if (now && !wasInView) tick();
    wasInView = now;
  };
  document.addEventListener("visibilitychange", look, { signal });
  const observer = new ResizeObserver(look);
  observer.observe(element);
  signal.addEventListener("abort", () => { clearTimeout(timer); observer.disconnect(); });
  tick();
  return tick;
}

// make("td", { class: "n", title: "..." }, "text", node, [nodes]): an element. Strings become text, never HTML.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// Replace the children only when what they were made from has changed: focus, selection and open details stay.
function renderWhenChanged(node, source, build) {
  const key = JSON.stringify(source);
  if (node.dataset.source === key) return false;
  node.dataset.source = key;
  node.replaceChildren(...[build()].flat(9).filter(Boolean));
  return true;
}

// `html` comes from the server's renderer (labeling/render.py); without it the text is shown as text.
function setHtml(node, html, text) {
  if (html) node.innerHTML = html;
  else node.textContent = text || "";
  for (const box of node.querySelectorAll("pre, .pod-table")) { // may be wider than their column: the keyboard scrolls them too
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", box.tagName === "PRE" ? "Code" : "Table");
  }
}

const ICONS = {
  published: "M3 8.5l3.2 3.2L13 4.8",
  rejected: "M4 4l8 8M12 4l-8 8",
  failed: "M8 2.2L14.5 13.5H1.5zM8 6.5v3.2M8 11.4v.6",
  stopped: "M4 4h8v8H4z",
  running: "M8 2.5a5.5 5.5 0 1 1-5.2 3.7M2.6 2.9l.2 3.3 3.2-.5",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  idle: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.2l2 1.4",
  human: "M8 8.2a2.7 2.7 0 1 0-.01 0M2.8 14c.4-2.8 2.4-4.2 5.2-4.2s4.8 1.4 5.2 4.2",
  program: "M5.5 5L2.5 8l3 3M10.5 5l3 3-3 3M9.2 3.5l-2.4 9",
  chevron: "M6 3.5L10.5 8 6 12.5",
};

// An icon never stands alone: it is hidden from screen readers and a word follows it.
function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon icon-" + name);
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name] || ICONS.idle);
  svg.append(path);
  return svg;
}

function badge(kind, word) {
  return make("span", { class: "badge badge-" + kind }, icon(kind), word);
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

function number(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  if (size >= 10 && Number.isInteger(value)) return String(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

const percent = (value) => known(value) ? (value * 100).toFixed(Math.abs(value) < 0.0995 && value !== 0 ? 1 : 0) + " %" : "–";
const signed = (value) => known(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) : "–";
const plural = (count, one, many) => count + " " + (count === 1 ? one : many || one + "s");

function duration(seconds) {
  if (!known(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return whole + " s";
  if (whole < 3600) return Math.floor(whole / 60) + " min " + String(whole % 60).padStart(2, "0") + " s";
  return Math.floor(whole / 3600) + " h " + String(Math.floor(whole / 60) % 60).padStart(2, "0") + " min";
}

// Ages are reckoned on the server's clock when it tells it: the browser's may be wrong.
const serverNow = () => shared.status?.now ? shared.status.now + (performance.now() - shared.statusAt) / 1000 : Date.now() / 1000;

function ago(time) {
  if (!known(time)) return "never";
  const seconds = Math.max(0, serverNow() - time);
  if (seconds < 2) return "now";
  if (seconds < 60) return Math.round(seconds) + " s ago";
  if (seconds < 3600) return Math.round(seconds / 60) + " min ago";
  if (seconds < 86400) return Math.round(seconds / 3600) + " h ago";
  return plural(Math.round(seconds / 86400), "day") + " ago";
}

const clock = (time) => known(time) ? new Date(time * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";

const silent = (worker) => tooSilent(worker, serverNow());

function versionName(version) {
  if (version === -1) return "Base model";
  return version === 0 ? "SFT (policy 0)" : "Policy " + version;
}

// The same inside a sentence.
const inWords = (version) => versionName(version).replace(/^(Policy|Base)/, (word) => word.toLowerCase());
