// Who ranked, and what they took back. Programs are people of another kind here: always named as what they are,
// never mixed in silently.

const find = (selector) => element.querySelector(selector);
const signal = mounted("people");
const KINDS = { human: "person", program: "program", judge: "judge" };
const COLUMNS = [
  ["Annotator", (person) => make("bdi", null, person.name)],
  ["Kind", (person) => badge(person.kind === "judge" ? "program" : person.kind, KINDS[person.kind] || person.kind)],
  ["Rankings", (person) => String(person.rankings)],
  ["Share", (person, all) => all ? percent(person.rankings / all) : "–"],
  ["Skips", (person) => String(person.skips)],
  ["Last", (person) => person.last ? make("span", { title: clock(person.last) }, ago(person.last)) : "–"],
];

function draw(people) {
  const sum = (kind) => people.reduce((all, person) => all + (person.kind === kind ? person.rankings : 0), 0);
  const count = (kind, one, many) => plural(people.filter((person) => person.kind === kind && person.rankings).length, one, many);
  const all = sum("human") + sum("program") + sum("judge");
  const judged = sum("judge") ? ", " + sum("judge") + " by " + count("judge", "judge") : "";
  find(".people-words").textContent = all
    ? plural(all, "ranking") + ": " + sum("human") + " by " + count("human", "person", "people") + ", " + sum("program") +
      " by " + count("program", "program") + " (" + percent(sum("program") / all) + ")" + judged + "."
    : "Nobody has ranked anything yet.";
  const shown = people.filter(({ rankings, skips }) => rankings || skips);
  const idle = people.length - shown.length;
  find(".people-idle").textContent = idle && shown.length ? plural(idle, "other") + " looked at a page and ranked nothing." : "";
  renderWhenChanged(find(".people-list"), [shown, Math.round(serverNow() / 60)], () => shown.length
    ? make("div", { class: "scroll" }, make("table", { class: "lab-table cards" },
      make("thead", null, make("tr", null, COLUMNS.map(([title]) => make("th", { scope: "col" }, title)))),
      make("tbody", null, shown.map((person) => make("tr", null, COLUMNS.map(([title, cell], at) =>
        make(at ? "td" : "th", { scope: at ? null : "row", "data-label": title }, cell(person, all))))))))
    : null);
}

let seen = null;
let people = [];
repeat(1500, async () => {
  const now = shared.status?.rankings ?? 0;
  if (now !== seen) people = (await api("people")).people;
  seen = now;
  draw(people);
}, signal);

// ---- what was changed or withdrawn -----------------------------------------------------------------------------

// The order may be the same, and only what was said beside it differ.
function change(one) {
  const note = (words) => make("span", { class: "interval" }, words);
  const also = one.also.length ? note("also changed: " + one.also.join(", ")) : null;
  const gone = make("span", { class: "gone" }, one.before);
  if (one.withdrawn) return [gone, note("withdrawn")];
  if (one.after === null) return [gone, note("not ranked again yet")];
  if (one.after === one.before) return [make("strong", null, one.before), also || note("the same again")];
  return [gone, " → ", make("strong", null, one.after), also];
}

const trained = ({ rounds }) => !rounds.length ? "no" : rounds.length < 4 ? "in " + (rounds.length > 1 ? "rounds " : "round ") + rounds.join(", ")
  : "in " + rounds.length + " rounds, " + rounds[0] + " to " + rounds[rounds.length - 1];

const TAKEN = [
  ["Annotator", (one) => [make("bdi", null, one.person), one.kind === "human" ? null : make("span", { class: "taken-small" }, one.kind)]],
  ["When", (one) => make("span", { title: clock(one.at) }, ago(one.at))],
  ["Prompt", (one) => [make("span", { class: "taken-prompt", dir: "auto" }, one.prompt), make("span", { class: "taken-small" }, "task " + one.task_id)]],
  ["Order", change],
  ["Trained on before", trained],
];

function drawTaken({ changed, withdrawn, latest }) {
  find(".taken-words").textContent = latest.length
    ? changed + " changed, " + withdrawn + " withdrawn. Rounds learn from what stands when they begin; the rest stays on record."
      + (changed + withdrawn > latest.length ? " The latest " + latest.length + ":" : "")
    : "No ranking has been changed or withdrawn.";
  renderWhenChanged(find(".taken-list"), [latest, Math.round(serverNow() / 60)], () => latest.length
    ? make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Changed and withdrawn rankings" }, make("table", { class: "lab-table cards" },
      make("thead", null, make("tr", null, TAKEN.map(([title]) => make("th", { scope: "col" }, title)))),
      make("tbody", null, latest.map((one) => make("tr", null, TAKEN.map(([title, cell], at) =>
        make(at ? "td" : "th", { scope: at ? null : "row", "data-label": title }, make("div", null, cell(one)))))))))
    : null);
}

repeat(5000, async () => drawTaken(await api("taken-back")), signal);
