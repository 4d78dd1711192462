// Every round, newest first: what came of it and why. A row opens the same prompts answered before and after.

const find = (selector) => element.querySelector(selector);
const signal = mounted("rounds");
const open = new Map();    // round id -> samples, or null while they are on their way
const UNPUBLISHED = -2;   // the version number of what a round trained and rejected
const settings = new Set(); // ids of the rounds whose settings are open

const OUTCOMES = { published: "published", rejected: "rejected", failed: "failed", stopped: "stopped", running: "running" };
const arrow = (before, after, show) => known(before) && known(after) ? show(before) + " → " + show(after) : show(after);
const interval = (low, high) => known(low) && known(high) ? make("span", { class: "interval" }, percent(low) + " to " + percent(high)) : null;

const took = (round) => duration((round.ended_at ?? serverNow()) - round.started_at);

const METHODS = { ppo: "PPO", dpo: "DPO", both: "PPO and DPO", sft: "SFT" };
const made = (round) => known(round.summary?.score_after) || known(round.summary?.loss_after); // a policy, published or not
const WINS = "Wins over the policy before"; // on held-out prompts, as the reward model sees it
const COLUMNS = [
  ["Round", (round) => make("button", {
    type: "button", class: "round-toggle", "aria-expanded": String(open.has(round.id)), "aria-controls": "round-" + round.id, "data-round": round.id,
    "data-focus": "round-" + round.id,
  }, icon("chevron"), "Round " + round.id)],
  ["Outcome", (round) => [badge(round.state, OUTCOMES[round.state] || round.state),
    round.method === "ppo" ? null : make("span", { class: "interval" }, METHODS[round.method]),
    round.attempts > 1 ? make("span", { class: "interval" }, "attempt " + round.attempts) : null,
    round.reason ? make("p", { class: "reason" }, round.reason) : null]],
  ["Rankings", (round) => round.method === "sft"
    ? [String(round.summary?.demonstrations ?? "–"), make("span", { class: "interval" }, "demonstrations")]
    : [String(round.rankings), round.summary?.imported_rankings ? make("span", { class: "interval" }, "and " + round.summary.imported_rankings + " imported") : null]],
  ["Reward model accuracy", (round) => [percent(round.summary?.accuracy), interval(round.summary?.accuracy_low, round.summary?.accuracy_high)]],
  [WINS, (round) => [percent(round.summary?.win_rate), interval(round.summary?.win_rate_low, round.summary?.win_rate_high)]],
  ["Score", (round) => arrow(round.summary?.score_before, round.summary?.score_after, signed)],
  ["KL, nats", (round) => number(round.summary?.kl)],
  ["Length", (round) => arrow(round.summary?.length_before, round.summary?.length_after, (v) => known(v) ? v.toFixed(0) : "–")],
  ["Took", (round) => make("span", { "data-took": round.id }, took(round))],
  ["Policy", (round) => known(round.policy_version) ? round.parent_version + " → " + round.policy_version : "still " + round.parent_version],
];

function draw() {
  const { rounds, status } = shared;
  if (!status) return;
  const columns = COLUMNS.filter(([title]) => title !== WINS || rounds.some(({ summary }) => known(summary?.win_rate)));
  const focused = document.activeElement?.dataset?.focus;
  const changed = renderWhenChanged(find(".rounds-list"), [rounds, [...open]], () => rounds.length
    ? make("div", { class: "scroll" }, make("table", { class: "lab-table cards" },
      make("thead", null, make("tr", null, columns.map(([title]) => make("th", { scope: "col" }, title)))),
      rounds.map((round) => make("tbody", { class: "round" },
        make("tr", { class: "round-row" }, columns.map(([title, cell], at) => {
          const content = make("div", { class: "cell" }, cell(round));
          return make(at ? "td" : "th", { scope: at ? null : "row", "data-label": title, class: content.textContent === "–" ? "nothing" : null }, content);
        })),
        open.has(round.id) ? make("tr", { class: "round-samples", id: "round-" + round.id },
          make("td", { colspan: columns.length }, detail(round))) : null))))
    : make("div", { class: "lab-empty pod-card" }, make("h2", null, "No round yet"),
      make("p", null, "A round begins when enough rankings have arrived, or when you press “Train now”. Its outcome and the reason for it stand here.")));
  if (changed && focused) find('[data-focus="' + focused + '"]')?.focus();
  // A round that runs changes by its time alone: what is open and has the focus stays.
  for (const round of rounds) {
    const cell = round.state === "running" && find('[data-took="' + round.id + '"]');
    if (cell) cell.textContent = took(round);
  }
}

// PPO and DPO from one state, side by side.
function beside(round) {
  const found = ["ppo", "dpo"].filter((method) => known(round.summary?.[method + "/score_after"]));
  if (!found.length) return null;
  const of = (method, name) => round.summary[method + "/" + name];
  const rows = [
    [WINS, (m) => [percent(of(m, "win_rate")), interval(of(m, "win_rate_low"), of(m, "win_rate_high"))]],
    ["Score", (m) => arrow(of(m, "score_before"), of(m, "score_after"), signed)],
    ["KL, nats", (m) => number(of(m, "kl"))],
    ["Length", (m) => arrow(of(m, "length_before"), of(m, "length_after"), (v) => known(v) ? v.toFixed(0) : "–")],
    ["Time", (m) => known(of(m, "seconds")) ? duration(of(m, "seconds")) : "–"],
    ["Most memory", (m) => known(of(m, "memory_mb")) ? of(m, "memory_mb").toFixed(0) + " MiB" : "–"],
  ];
  return small("PPO and DPO from the same policy, rankings and reward model", ["", ...found.map((m) => METHODS[m])],
    rows.map(([title, cell]) => [title, ...found.map(cell)]));
}

// What SFT came to, beside what prompting alone gives.
function losses(round) {
  const names = { base: "Base model", prompted_base: "Base model, with examples in the prompt", before: "Policy before", after: "After SFT" };
  const found = Object.keys(names).filter((name) => known(round.summary?.["perplexity_" + name]));
  if (!found.length) return null;
  return small("On " + plural(round.summary.heldout_demonstrations, "demonstration") + " that took no part in the training", ["", "Loss, nats per token", "Perplexity"],
    found.map((name) => [names[name], number(round.summary["loss_" + name]), number(round.summary["perplexity_" + name])]));
}

const small = (caption, head, rows) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
  make("table", { class: "lab-table numbers" }, make("caption", null, caption),
    make("thead", null, make("tr", null, head.map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", null, rows.map(([title, ...cells]) => make("tr", null,
      make("th", { scope: "row" }, title), cells.map((cell) => make("td", null, cell)))))));

function detail(round) {
  const samples = open.get(round.id);
  const parts = [];
  if (samples === null) parts.push(make("p", { class: "pod-muted" }, "Loading …"));
  else if (typeof samples === "string") parts.push(make("p", { class: "pod-note bad" }, samples));
  else if (!samples.length) {
    parts.push(make("p", { class: "pod-muted" }, round.state === "running"
      ? "The samples come at the end of the round." : made(round) ? "No samples were kept." : "There are no samples: this round ended before it had a policy."));
  } else {
    const after = round.policy_version ?? UNPUBLISHED;
    const prompts = new Map();
    for (const sample of samples) prompts.set(sample.prompt, [...(prompts.get(sample.prompt) || []), sample]);
    for (const [prompt, pair] of prompts) {
      pair.sort((a, b) => (a.policy_version === after) - (b.policy_version === after));
      parts.push(make("article", { class: "pair" },
        make("h3", { class: "pair-prompt", dir: "auto" }, prompt),
        make("div", { class: "pair-sides" }, pair.map((sample) => {
          const text = make("div", { class: "pod-text" });
          if (sample.state === "failed") text.append(sample.error || "It could not be answered.");
          else if (sample.text || sample.state === "done") setHtml(text, sample.html, sample.text);
          else text.append(make("span", { class: "pod-muted" }, "waiting for the worker …"));
          const side = sample.policy_version === after ? "After" : "Before";
          return make("div", { class: "side" },
            make("p", { class: "side-name" }, make("span", null, make("strong", null, side), ", " +
              (sample.policy_version === UNPUBLISHED ? "not published" : inWords(sample.policy_version))),
              known(sample.score) ? make("span", { class: "score" }, "score " + signed(sample.score)) : null), text);
        }))));
    }
  }
  parts.unshift(...[beside(round), losses(round)].filter(Boolean));
  const toggled = ({ target }) => (target.open ? settings.add(round.id) : settings.delete(round.id));
  parts.push(make("details", { class: "settings", open: settings.has(round.id), ontoggle: toggled },
    make("summary", { "data-focus": "settings-" + round.id }, "Settings and figures of this round"),
    make("p", { class: "pod-muted" }, "Began " + clock(round.started_at) + (round.ended_at ? ", ended " + clock(round.ended_at) : "") +
      ". Rankings " + (round.trained_from + 1) + " to " + round.trained_through + " were new."),
    make("pre", { tabindex: "0" }, JSON.stringify({ summary: round.summary, config: round.config }, null, 2))));
  return parts;
}

async function loadSamples(id) {
  try {
    open.set(id, (await api("compare/round-" + id)).samples);
  } catch (error) {
    open.set(id, error.status === 404 ? [] : error.message);
  }
}

find(".rounds-list").addEventListener("click", async (event) => {
  const button = event.target.closest("[data-round]");
  if (!button) return;
  const id = Number(button.dataset.round);
  if (open.has(id)) open.delete(id);
  else {
    open.set(id, null);
    draw();
    await loadSamples(id);
  }
  draw();
}, { signal });

// The worker answers a round's sample prompts after publishing, when it has nothing better to do.
const unanswered = (round) => {
  const samples = open.get(round.id);
  if (!Array.isArray(samples)) return false;
  if (!samples.length) return round.state === "running" || (made(round) && serverNow() - round.ended_at < 60);
  return samples.some(({ state }) => state === "waiting" || state === "running");
};

on("status", draw, signal);
repeat(1000, async () => {
  for (const round of shared.rounds) if (unanswered(round)) await loadSamples(round.id);
  draw();
}, signal);
