// The curves of the lab page: which metrics there are, what they mean, when they are a bad sign, and how they
// are kept up to date. The drawing itself is in curves.js, which stands before this file.
//
// `words` says the last value as a person would, `sign` returns a sentence when it should worry the researcher.
// How much KL a round allows is in its settings. The other limits are habits, not laws.

const KL_WARNING = 10;
// Of the newest round that has one: SFT knows no limit.
const klLimit = () => shared.rounds.map(({ config }) => config?.ppo?.kl_limit).find(known) ?? 30;

const PANELS = [
  {
    group: "main", name: "reward_model/accuracy", title: "Reward model accuracy", percent: true, low: 0.4, high: 1, joined: true,
    lowName: "reward_model/accuracy_low", highName: "reward_model/accuracy_high",
    about: "Held-out preferences it orders as the annotators did.",
    lines: [{ at: 0.5, label: "chance", kind: "note", right: true }],
    words: (v, { low, high }) => low === null ? "of held-out preferences right" : "right, interval " + percent(low) + " to " + percent(high),
    sign: (v, { low, at }) => (low ?? v) <= 0.5 ? "Reward model accuracy is not clearly above chance."
      : v <= at("reward_model/longer_wins") && "The reward model is no better than the rule “the longer response wins”.",
  },
  {
    group: "main", name: "objective/score", title: "Score",
    about: "What the reward model gives the policy's responses. The reference is at 0, one step is one standard deviation.",
    lines: [{ at: 0, label: "reference", kind: "note", right: true }],
    words: (v) => v >= 0 ? "above the reference" : "below the reference",
  },
  {
    group: "main", name: "heldout/score", title: "Held-out score", optional: true,
    about: "The same on prompts this round's PPO does not see: it chooses which update is kept.",
    lines: [{ at: 0, label: "reference", kind: "note", right: true }],
    words: (v) => v >= 0 ? "above the reference" : "below the reference",
  },
  {
    group: "main", name: "objective/kl", title: "KL", unit: "nats", low: 0,
    about: "How far the policy has moved from the reference, summed over a response.",
    get high() { return klLimit() > KL_WARNING ? KL_WARNING * 1.2 : klLimit() * 1.2; },
    get lines() {
      const limit = { at: klLimit(), label: "limit " + number(klLimit()), kind: "bad" };
      return klLimit() > KL_WARNING ? [{ at: KL_WARNING, label: "warning at " + number(KL_WARNING), kind: "warn" }, limit] : [limit];
    },
    words: (v) => v > klLimit() ? "over the limit" : v > KL_WARNING ? "over the warning line" : "from the reference",
    sign: (v) => v > klLimit() ? "KL is over the limit of " + number(klLimit()) + " nats."
      : v > KL_WARNING && "KL is over " + number(KL_WARNING) + " nats: read responses before you trust the score.",
  },
  {
    group: "main", name: "dpo/heldout_score", title: "DPO: held-out score", optional: true,
    about: "What the reward model gives the policy on prompts that DPO does not see: it chooses which step is kept.",
    lines: [{ at: 0, label: "reference", kind: "note", right: true }],
    words: (v) => v >= 0 ? "above the reference" : "below the reference",
  },
  {
    group: "main", name: "dpo/heldout_kl", title: "DPO: KL", unit: "nats", low: 0, optional: true,
    about: "How far the policy has moved from the reference, summed over a response.",
    words: (v) => v > klLimit() ? "over the limit" : "from the reference",
  },
  {
    group: "main", name: "sft/heldout_loss", title: "SFT: held-out loss", unit: "nats per token", optional: true,
    about: "On demonstrations that are not learned from: the lowest is kept.",
    words: (v, { first }) => v < first ? "down from " + number(first) : "not lower than at first",
    sign: (v, { first, steps }) => steps > 2 && v > first && "The loss on held-out demonstrations rises: the policy learns them by heart.",
  },
  {
    group: "text", name: "response/length", title: "Response length", unit: "tokens", low: 0,
    about: "A policy that exploits the reward model often does it by length.",
    words: (v, { first }) => first > 0 && Math.abs(v / first - 1) > 0.05 ? (v > first ? "up" : "down") + " from " + number(first) + " when the round began" : "as when the round began",
    sign: (v, { first }) => first > 0 && (v > 2 * first || v < first / 2) && "Response length has " + (v > first ? "more than doubled" : "more than halved") + " in this round.",
  },
  {
    group: "text", name: "response/eos_rate", title: "EOS rate", percent: true, low: 0, high: 1,
    about: "Responses that end by themselves instead of being cut.",
    words: (v) => v > 0.995 ? "of responses end by themselves" : "end by themselves, the rest is cut",
    sign: (v) => v < 0.5 && "More than half of the responses are cut off before they end.",
  },
  {
    group: "text", name: "objective/entropy", title: "Entropy", unit: "nats per token", low: 0,
    about: "How open the policy's choice of each token is. Near zero, all its responses are alike.",
    words: (v, { first }) => first > 0 && v < first * 0.95 ? "down from " + number(first) + " when the round began" : "as when the round began",
    sign: (v, { first }) => first > 0 && v < first * 0.3 && "Entropy has fallen below a third: responses are becoming alike.",
  },
  {
    group: "text", name: "response/repetition", title: "Repetition", percent: true, low: 0, high: 0.1, optional: true,
    about: "Runs of three tokens that a response has said before. A policy that has found a hole often repeats itself.",
    words: () => "of each response said before",
    sign: (v, { first }) => v > 0.2 && v > 2 * first && "More than a fifth of each response repeats what it has said.",
  },
  { group: "inner", name: "dpo/loss", title: "DPO loss", low: 0, optional: true, about: "Over the preferences of a step; .69 is where it begins." },
  {
    group: "inner", name: "dpo/accuracy", title: "DPO accuracy", percent: true, low: 0, high: 1, optional: true,
    about: "Preferences of a step in which the policy has gained more on the chosen response than on the rejected one.",
  },
  { group: "inner", name: "sft/loss", title: "SFT loss", low: 0, unit: "nats per token", optional: true, about: "On the demonstrations of a step." },
  { group: "inner", name: "reward_model/loss", title: "Reward model loss", about: "Training loss over the rankings." },
  { group: "inner", name: "value/loss", title: "Value loss", low: 0, about: "Error of the value function." },
  {
    group: "inner", name: "value/explained_variance", title: "Explained variance", high: 1, low: -0.2,
    about: "Of the returns, by the value function. 1 is perfect, 0 no better than a constant.",
    lines: [{ at: 0, label: "constant", kind: "note", right: true }],
    sign: (v, { steps }) => steps > 5 && v < -0.2 && "The value function is worse than a constant guess.",
  },
  {
    group: "inner", name: "policy/approx_kl", title: "Approx. KL", low: 0,
    about: "New policy against old, inside one update: the size of a step.",
    sign: (v) => v > 0.1 && "Updates take large steps (approx. KL over 0.1): a lower learning rate may help.",
  },
  {
    group: "inner", name: "policy/clipfrac", title: "Clipped", percent: true, low: 0, high: 0.3,
    about: "Tokens whose update was clipped.",
    sign: (v) => v > 0.4 && "More than 40 % of token updates are clipped.",
  },
];
const GROUPS = { main: "Is it getting better?", text: "What it writes", inner: "Inside the training", more: "Other metrics" };
const NO_CURVE = "policy/best_update"; // PPO and DPO both count in it: in a round of both it is no line, and no axis
const COMPANIONS = ["reward_model/accuracy_low", "reward_model/accuracy_high"];

const find = (selector) => element.querySelector(selector);
const signal = mounted("curves");
const data = new CurveData();
const view = { version: 0, newest: Infinity, cursor: null, outcomes: new Map() };
const panels = [];
let asTable = false;
let loaded = false;

function addPanel(spec) {
  let grid = find('.curves-grid[data-group="' + spec.group + '"]');
  if (!grid) {
    grid = make("div", { class: "curves-grid", "data-group": spec.group });
    find(".curves-panels").append(spec.group === "more"
      ? make("details", { class: "curves-more", ontoggle: () => redraw() }, make("summary", null, GROUPS.more), grid)
      : make("section", { "aria-label": GROUPS[spec.group] }, make("h2", { class: "curves-heading" }, GROUPS[spec.group]), grid));
  }
  const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": spec.title });
  const value = make("strong", { class: "curve-value" });
  const words = make("span", { class: "curve-words" });
  const figure = make("figure", { class: "curve pod-card", "data-metric": spec.name },
    make("figcaption", null,
      make("span", { class: "curve-title", title: spec.name }, spec.title),
      make("span", { class: "curve-last" }, value, " ", words)),
    canvas,
    spec.about ? make("p", { class: "curve-about" }, spec.about) : null);
  grid.append(figure);
  const panel = { spec, data, canvas, value, words, figure, geometry: null };
  panels.push(panel);
  const point = (event) => {
    if (!panel.geometry) return;
    setCursor(cursorFrom(spec, panel.geometry, event.clientX - canvas.getBoundingClientRect().left));
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && setCursor(null));
  canvas.addEventListener("blur", () => setCursor(null));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !panel.geometry?.layout.spans.length) return;
    const { spans } = panel.geometry.layout;
    const newest = spans[spans.length - 1];
    const end = { axis: axisOf(spec.name), round: newest.round, step: newest.high };
    const now = view.cursor?.axis === end.axis && spans.some(({ round }) => round === view.cursor.round) ? view.cursor : null;
    const far = event.shiftKey ? 10 : 1;
    const targets = {
      ArrowLeft: () => now ? cursorMoved(panel.geometry, now, -far) : end,
      ArrowRight: () => now ? cursorMoved(panel.geometry, now, far) : end,
      Home: () => ({ ...end, round: spans[0].round, step: spans[0].low }),
      End: () => end,
      Escape: () => null,
    };
    if (!targets[event.key]) return;
    event.preventDefault();
    view.spoken = panel;
    setCursor(targets[event.key]());
  });
}

const place = (cursor) => "round " + cursor.round + ", " + (cursor.axis === "ppo" ? "update " : "step ") + cursor.step;
const shown = (spec, value) => spec.percent ? percent(value) : number(value) + (spec.unit && spec.unit.length < 7 ? " " + spec.unit : "");

function setCursor(cursor) {
  if (JSON.stringify(cursor) === JSON.stringify(view.cursor)) return;
  view.cursor = cursor;
  redraw(false);
}

// What a panel knows about the newest round: for its words and its sign of trouble.
function facts(spec) {
  const last = data.last(spec.name);
  if (!last) return null;
  const at = (name) => valueAt(data.points(name, last.round), last.step)?.value ?? null;
  const steps = data.points(spec.name, last.round).steps.length;
  return { ...last, steps, at, low: at(spec.lowName), high: at(spec.highName) };
}

// Write a panel's words. Returns its sign of trouble in the newest round: what an older one had is past.
function describe(panel, newest) {
  const { spec } = panel;
  const last = facts(spec);
  let value = "–";
  let words = "no values yet";
  if (last) {
    value = shown(spec, last.value);
    words = spec.words?.(last.value, last) || (spec.unit && !value.endsWith(spec.unit) ? spec.unit : "");
  }
  const sign = last?.round === newest && spec.sign?.(last.value, last);
  panel.canvas.setAttribute("aria-label", spec.title + ": " + value + " " + words + ". " + (sign || "") + " Arrow keys read single values.");
  panel.figure.classList.toggle("has-sign", Boolean(sign));
  if (view.cursor && last) {
    const found = panel.geometry && cursorPoint(spec, data, panel.geometry.layout, view.cursor);
    value = found?.point ? shown(spec, found.point.value) : "–";
    const same = axisOf(spec.name) === view.cursor.axis;
    words = same ? place(view.cursor) : "end of round " + view.cursor.round;
  }
  panel.value.textContent = value;
  panel.words.textContent = words;
  return sign;
}

// Draw at the next frame; `changed` is false when only the crosshair has moved.
let waiting = 0;
function redraw(changed = true) {
  if (changed) view.version += 1;
  if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); });
}

function draw() {
  if (!element.isConnected) return;
  const empty = data.names.size === 0;
  find(".curves-empty").hidden = !(empty && loaded);
  find(".curves-panels").hidden = empty || asTable;
  find(".curves-table").hidden = empty || !asTable;
  find(".curves-bar").hidden = empty;
  if (empty) return drawEmpty();
  for (const name of data.names.keys()) {
    if (COMPANIONS.includes(name) || panels.some(({ spec }) => spec.name === name)) continue;
    addPanel({ group: "more", name, title: name });
  }
  const signs = [];
  const round = Math.max(...data.attempts.keys());
  for (const panel of panels) {
    panel.figure.hidden = Boolean(panel.spec.optional) && !data.names.has(panel.spec.name);
    if (!asTable) drawPanel(panel, view);
    const sign = describe(panel, round);
    if (sign) signs.push(sign);
  }
  renderWhenChanged(find(".curves-signs"), [signs, round], () => signs.length
    ? [icon("failed"), make("span", null, make("strong", null, plural(signs.length, "warning") + " in round " + round + ": "), signs.join(" "))]
    : [icon("published"), make("span", null, "No warning signs in round " + round + ".")]);
  find(".curves-signs").classList.toggle("warn", signs.length > 0);
  if (view.spoken) {
    const { spec, value } = view.spoken;
    find("[data-cursor]").textContent = view.cursor ? place(view.cursor) + ": " + spec.title + " " + value.textContent : "";
    view.spoken = null;
  }
  if (asTable) drawTable();
}

function drawEmpty() {
  const status = shared.status;
  const more = status?.until_next_round;
  renderWhenChanged(find(".curves-empty"), [more], () => [
    make("h2", null, "No round yet"),
    make("p", null, "The curves appear here when the first round begins" +
      (more > 0 ? ", after " + plural(more, "more ranking") + "." : ".") +
      " A round trains the reward model on all rankings, then the policy, and publishes it or says why not."),
    make("p", null, make("a", { href: "/annotate" }, "Rank responses"), ", or let a program do it: ",
      make("code", null, "python app.py simulate --rankings 200")),
  ]);
}

// The same numbers as a table: for screen readers, for copying, for exact values.
const ROWS = 200;
const CAPTIONS = { ppo: "PPO updates", dpo: "DPO", sft: "SFT", reward: "Reward model" };
function drawTable() {
  const tables = Object.keys(CAPTIONS).map((axis) => {
    const shownPanels = panels.filter(({ spec }) => axisOf(spec.name) === axis && data.names.has(spec.name));
    const { spans, total } = data.layout(axis, view.newest);
    const rows = [];
    for (const span of [...spans].reverse()) {
      const steps = new Set(shownPanels.flatMap(({ spec }) => data.points(spec.name, span.round)?.steps || []));
      for (const step of [...steps].sort((a, b) => b - a)) if (rows.length < ROWS) rows.push([span.round, step]);
    }
    const cell = (name, round, step) => {
      const points = data.points(name, round);
      const at = points ? points.steps.indexOf(step) : -1;
      return at < 0 ? null : points.values[at];
    };
    return { axis, shownPanels, total, rows, cell };
  }).filter(({ rows }) => rows.length);
  renderWhenChanged(find(".curves-table"), [data.lastId, view.newest], () => tables.map(({ axis, shownPanels, total, rows, cell }) => {
    const caption = CAPTIONS[axis] + ", newest first" +
      (total > rows.length && rows.length === ROWS ? ": the newest " + ROWS + " of " + total + " (all are in labels.db, table metrics)" : "");
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      make("table", { class: "lab-table numbers" }, make("caption", null, caption),
        make("thead", null, make("tr", null, ["Round", axis === "ppo" ? "Update" : "Step", ...shownPanels.map(({ spec }) => spec.title)]
          .map((title) => make("th", { scope: "col" }, title)))),
        make("tbody", null, rows.map(([round, step]) => make("tr", null,
          make("td", null, String(round)), make("td", null, String(step)),
          shownPanels.map(({ spec }) => {
            const value = cell(spec.name, round, step);
            const low = cell(spec.lowName, round, step);
            return make("td", null, value === null ? "" : (spec.percent ? percent(value) : number(value)) +
              (low === null ? "" : " (" + percent(low) + " to " + percent(cell(spec.highName, round, step)) + ")"));
          }))))));
  }));
}

// Only what is new since the last answer is asked for. An answer as long as a page means there is more: a long
// history is drawn as it comes, at its first, second, fourth, eighth page ...
async function load() {
  let added = 0;
  for (let page = 1; page < 1000 && !signal.aborted; page += 1) {
    const { metrics } = await api("metrics?since=" + data.lastId);
    metrics.forEach((row) => data.add(row.name === NO_CURVE ? { ...row, value: null } : row));
    added += metrics.length;
    if (metrics.length < 500) break;
    if ((page & (page - 1)) === 0) redraw();
  }
  if (added || !loaded) redraw();
  loaded = true;
}

PANELS.forEach(addPanel);
find(".segments").addEventListener("click", (event) => {
  const choice = event.target.closest("button");
  if (!choice) return;
  view.newest = choice.dataset.newest === "all" ? Infinity : Number(choice.dataset.newest);
  view.cursor = null;
  for (const button of find(".segments").children) button.setAttribute("aria-pressed", String(button === choice));
  redraw();
});
find("[data-table]").addEventListener("click", (event) => {
  asTable = !asTable;
  event.currentTarget.setAttribute("aria-pressed", String(asTable));
  redraw();
});
const resized = new ResizeObserver(() => redraw());
resized.observe(find(".curves-panels"));
const recoloured = new MutationObserver(() => redraw());
for (const node of [document.documentElement, document.body]) recoloured.observe(node, { attributes: true, attributeFilter: ["class"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(), { signal });
window.addEventListener("resize", () => redraw(), { signal });
signal.addEventListener("abort", () => { resized.disconnect(); recoloured.disconnect(); });
on("status", () => {
  const key = JSON.stringify([klLimit(), shared.rounds.map(({ id, state }) => [id, state])]);
  if (key === view.rounds && data.names.size) return;
  view.rounds = key;
  view.outcomes = new Map(shared.rounds.map(({ id, state }) => [id, state]));
  redraw();
}, signal);
repeat(1500, load, signal);
