// The strip on top of the lab page: what is published, what the worker does, and the buttons that ask it for
// something. It is the one widget that asks for the status; the others hear it from here.

const WORKER = {
  starting: ["busy", "Starting", "loads the models"],
  generating: ["busy", "Writing responses", "keeps the task queue filled"],
  reward_model: ["busy", "Training the reward model", ""],
  ppo: ["busy", "Training the policy (PPO)", ""],
  dpo: ["busy", "Training the policy (DPO)", ""],
  sft: ["busy", "Learning from demonstrations (SFT)", ""],
  publishing: ["busy", "Publishing the new policy", ""],
  idle: ["good", "Waiting for rankings", ""],
  paused: ["warn", "Paused", "no round begins until somebody resumes it"],
  failed: ["bad", "Failed", ""],
};

const find = (selector) => element.querySelector(selector);
const signal = mounted("status");
let detailsFor = "";
let trouble = "";
let asked = null;       // the command whose outcome is waited for: {id, words}
let answer = null;      // {kind, text}

const running = (status) => status.last_round?.state === "running" || ["reward_model", "ppo", "dpo", "sft", "publishing"].includes(status.worker?.state);
const paused = (status) => status.paused ?? status.worker?.state === "paused";

// Why a command would mean nothing now; null when it may be given.
function reasonAgainst(command, status) {
  if (!status) return "The server has not answered yet.";
  const round = running(status);
  if (command === "train") {
    if (round) return "A round is running already.";
    if (paused(status)) return "Training is paused: resume it first.";
    return status.rankings > 0 || shared.imported > 0 ? null : "There are no rankings to train on yet: rank responses, or import preferences.";
  }
  if (command === "sft") {
    if (round) return "A round is running already.";
    if (paused(status)) return "Training is paused: resume it first.";
    return shared.demonstrations > 0 ? null : "There are no demonstrations yet: write better responses, or import some.";
  }
  if (command === "pause") return paused(status) ? "It is paused already." : null;
  if (command === "resume") return paused(status) ? null : "It is not paused.";
  if (command === "stop") return round ? null : "No round is running.";
  if (round) return "Stop the running round first.";
  return backTo(status).length ? null : "There is no other policy to go back to yet.";
}

const backTo = (status) => shared.policies.filter(({ version }) => version !== status?.policy_version);

const goTo = (version) => (version < shared.status.policy_version ? "Go back to " : "Go to ") + inWords(version);
const ASK = {
  sft: () => ["Learn from demonstrations?",
    "A round without rankings: the published policy learns to write what the demonstrations say, and is published if held-out ones become likelier.",
    "Learn from " + plural(shared.demonstrations, "demonstration")],
  stop: () => ["Stop this round?", "The round ends without a new policy. Its rankings stay, and the next round uses them.", "Stop the round"],
  publish: (version) => [goTo(version) + "?",
    "New responses come from " + inWords(version) + " at once, and the next round starts from it. Nothing is deleted: you can return the same way.", goTo(version)],
};
const SAID = { train: "Train now", sft: "Learn from demonstrations", pause: "Pause", resume: "Resume", stop: "Stop this round", publish: "Go back" };

function confirmed(command, version) {
  if (!ASK[command]) return Promise.resolve(true);
  const [title, text, yes] = ASK[command](version);
  const dialog = find("dialog");
  find(".ask-title").textContent = title;
  find(".ask-text").textContent = text;
  find('[data-answer="yes"]').textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

async function give(command) {
  const against = reasonAgainst(command, shared.status);
  if (against) return say("quiet", SAID[command] + ": " + against);
  const version = command === "publish" ? Number(find(".pod-select").value) : null;
  if (!await confirmed(command, version)) return;
  const body = { name: command };
  if (command === "publish") body.argument = { policy_version: version };
  const words = command === "publish" ? goTo(version) : SAID[command];
  try {
    const { id } = await api("commands", body);
    asked = { id, words };
    say("waiting", words + ": asked. " + (silent(shared.status.worker) || shared.status.worker.state === "failed"
      ? "The worker will read it when it runs again." : "The worker answers between two steps of its work."));
    ask();
  } catch (error) {
    say("bad", words + ": not done. " + error.message);
  }
}

function say(kind, text) {
  answer = { kind, text };
  const node = find(".control-answer");
  node.className = "control-answer " + kind;
  node.textContent = text;
}

async function followCommands() {
  const { commands } = await api("commands");
  const mine = asked && commands.find(({ id }) => id === asked.id);
  if (mine?.done_at) {
    say("good", asked.words + ": " + (mine.outcome || "done."));
    asked = null;
  }
  renderWhenChanged(find(".control-log ol"), [commands, Math.round(serverNow() / 30)], () => commands.length
    ? commands.map((command) => make("li", null,
      make("span", { class: "pod-muted", title: clock(command.created_at) }, ago(command.created_at)), " ",
      make("strong", null, SAID[command.name] || command.name),
      known(command.argument?.policy_version) ? " to " + inWords(command.argument.policy_version) : "", ": ",
      command.done_at ? command.outcome || "done." : "not answered yet."))
    : make("li", null, "Nothing yet."));
}

// ---- drawing ----------------------------------------------------------------------------------------------

function fact(name, value, ...detail) {
  return make("div", { class: "fact", "data-fact": name },
    make("dt", null, name), make("dd", null, make("span", { class: "fact-value" }, value), make("span", { class: "fact-detail" }, detail)));
}

function policyFact(status) {
  if (!known(status.policy_version)) return fact("Published", "Nothing yet", "the worker is loading the models");
  const now = shared.policies.find(({ version }) => version === status.policy_version);
  const made = now?.round ? "made by round " + now.round : status.policy_version === 0 ? "the reference, before any feedback" : "";
  return fact("Published", versionName(status.policy_version), made, now?.created_at && now.round ? ", " + ago(now.created_at) : "");
}

function rankingsFact(status) {
  const others = [["programs", status.programs || 0], ["judges", status.judges || 0]].filter(([, count]) => count);
  const all = others.find(([, count]) => count >= status.rankings);
  const from = !others.length ? "all by people" : all ? "all by " + all[0]
    : others.map(([who, count], at) => count + (at ? "" : " of them") + " by " + who).join(", ");
  const imported = shared.imported ? ", and " + plural(shared.imported, "imported preference") : "";
  return fact("Rankings", String(status.rankings), (status.rankings ? from : "none yet") + imported);
}

function nextRoundFact(status) {
  if (status.last_round?.state === "running") {
    const { id, method, rankings } = status.last_round;
    return fact("Next round", "Round " + id + " is running", method === "sft" ? "on demonstrations" : rankings ? "on " + plural(rankings, "ranking") : "on imported preferences");
  }
  const size = status.rankings_per_round || 1;
  const used = status.last_round?.rankings || 0;
  const left = status.until_next_round ?? Math.max(0, size - (status.rankings - used));
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span", { style: "width:" + Math.round(100 * Math.min(1, 1 - left / size)) + "%" }));
  const soon = paused(status) ? "when it is resumed" : "as soon as the worker is free";
  return fact("Next round", left > 0 ? "in " + plural(left, "ranking") : soon, bar, "every " + size);
}

function workerFact(status) {
  const worker = status.worker;
  if (!worker) return fact("Worker", "Not started yet", "");
  const [dot, word, otherwise] = WORKER[worker.state] || ["", worker.state, ""];
  const gone = silent(worker);
  const value = [make("span", { class: "pod-dot " + (gone ? "bad" : dot) }), gone ? "Not answering" : word];
  return fact("Worker", value, (gone ? "last: " + word.toLowerCase() : worker.detail || otherwise) || "", make("span", { class: "seen" }, "seen " + ago(worker.seen)));
}

function roundFact() {
  const round = shared.rounds.find(({ state }) => state !== "running");
  if (!round) return null;
  return fact("Last round", [String(round.id), badge(round.state, round.state)],
    round.reason || (known(round.policy_version) ? "made policy " + round.policy_version : ""), make("span", { class: "seen" }, ago(round.ended_at)));
}

// In whole minutes or hours: a screen reader reads the note out each time its words change.
const silence = (seconds) => seconds < 3600 ? plural(Math.floor(seconds / 60), "minute") : plural(Math.floor(seconds / 3600), "hour");

function notes(status) {
  const found = [];
  if (trouble) found.push(["bad", trouble + " Trying again; what is below may be old."]);
  if (!status) return found;
  const worker = status.worker;
  if (worker?.error) found.push([worker.state === "failed" ? "bad" : "warn", (worker.state === "failed" ? "The worker failed: " : "The worker's last error: ") + worker.error]);
  else if (worker?.state === "failed") found.push(["bad", "The worker failed. Its log is worker.log in the run directory."]);
  if (worker && silent(worker) && !trouble) found.push(["bad", "Nothing heard from the worker for " + silence(serverNow() - worker.seen) + ". It is restarted by itself when it dies; its log is worker.log in the run directory."]);
  if (status.starter) found.push(["", make("span", null,
    "This is a tiny demonstration model made for this page: it knows a few hundred facts and tasks, and says so beyond them. To train a real one: ",
    make("code", null, "python app.py --model Qwen/Qwen2.5-0.5B-Instruct"), " (any Hugging Face model or local folder).")]);
  return found;
}

function draw() {
  const status = shared.status;
  const all = notes(status);
  renderWhenChanged(find(".status-notes"), all.map(([kind, text]) => [kind, text.textContent ?? text]), () =>
    all.map(([kind, text]) => make("div", { class: "pod-note " + kind, role: kind === "bad" ? "alert" : null },
      kind === "bad" || kind === "warn" ? icon("failed") : null, make("span", null, text))));
  if (!status) return;
  const facts = [policyFact(status), rankingsFact(status), nextRoundFact(status), workerFact(status), roundFact()].filter(Boolean);
  renderWhenChanged(find(".facts"), facts.map((node) => node.outerHTML), () => facts);
  for (const button of element.querySelectorAll("[data-command]")) {
    const against = reasonAgainst(button.dataset.command, status);
    button.setAttribute("aria-disabled", String(Boolean(against)));
    if (against) button.title = against;
    else button.removeAttribute("title");
  }
  const select = find(".pod-select");
  const kept = select.value;
  if (renderWhenChanged(select, backTo(status).map(({ version }) => version), () =>
    backTo(status).map(({ version }) => make("option", { value: version }, versionName(version))))) {
    if ([...select.options].some(({ value }) => value === kept)) select.value = kept;
  }
  select.hidden = backTo(status).length === 0;
  find('[data-command="sft"]').textContent = SAID.sft + " (" + (shared.demonstrations || 0) + ")";
  find('[data-command="publish"]').textContent = select.value === "" ? "Go back" : goTo(Number(select.value));
}

async function ask() {
  try {
    shared.status = await api("status");
    shared.statusAt = performance.now();
    ({ count: shared.demonstrations, imported_preferences: shared.imported } = await api("demonstrations"));
    // Rounds and policies are asked for again only when the status says that something has changed.
    const { policy_version, last_round } = shared.status;
    const current = JSON.stringify([policy_version, last_round?.id, last_round?.state, last_round?.attempts]);
    if (current !== detailsFor) {
      shared.rounds = (await api("rounds")).rounds;
      shared.policies = (await api("policies")).policies.sort((a, b) => b.version - a.version);
      detailsFor = current;
    }
    trouble = "";
  } catch (error) {
    trouble = error.message;
  }
  draw();
  tell("status", shared.status);
  if ((asked || find(".control-log").open) && !trouble) await followCommands();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-command]");
  if (button) give(button.dataset.command);
  const reply = event.target.closest("[data-answer]");
  if (reply) find("dialog").close(reply.dataset.answer);
}, { signal });
find(".pod-select").addEventListener("change", draw, { signal });
find(".control-log").addEventListener("toggle", ask, { signal });
find("dialog").setAttribute("aria-labelledby", "lab-ask-title");
repeat(1500, ask, signal);

// The tab in the address: reloading, or a link, comes back to the same place. Tabs are found by their words,
// because Gradio moves those that do not fit into a menu, where they are plain buttons; it also renders them
// some time after this widget, so the first look may come too early.
const TABS = ["curves", "rounds", "before-after", "people", "agreement", "guidelines", "constitution"];
const slug = (text) => text.trim().toLowerCase().replace(/[^a-z]+/g, "-");
function openTab(patience) {
  const wanted = location.hash.slice(1);
  if (!TABS.includes(wanted) || signal.aborted) return;
  const tab = [...document.querySelectorAll("button")].find((node) => slug(node.textContent) === wanted && !node.closest('[aria-hidden="true"]'));
  if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
  if (document.querySelector("#lab-" + wanted.replace("before-after", "compare"))?.offsetParent == null && patience > 0) setTimeout(() => openTab(patience - 1), 100);
}
document.addEventListener("click", (event) => {
  const name = event.isTrusted && slug(event.target.closest?.("button")?.textContent || "");
  if (TABS.includes(name)) history.replaceState(null, "", "#" + name);
}, { signal });
window.addEventListener("hashchange", () => openTab(20), { signal });
openTab(50);
