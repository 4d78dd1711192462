// Who ranked, and what they took back. Programs are people of another kind here: always named as what they are,
// never mixed in silently.

const find = (selector) => element.querySelector(selector);
const signal = mounted("people");
const KINDS = { human: "person", program: "program", judge: "judge" };
const COLUMNS = [
  ["Annotator", (person) => person.name],
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
  renderWhenChanged(find(".people-list"), [people, Math.round(serverNow() / 60)], () => people.length
    ? make("div", { class: "scroll" }, make("table", { class: "lab-table cards" },
      make("thead", null, make("tr", null, COLUMNS.map(([title]) => make("th", { scope: "col" }, title)))),
      make("tbody", null, people.map((person) => make("tr", null, COLUMNS.map(([title, cell], at) =>
        make(at ? "td" : "th", { scope: at ? null : "row", "data-label": title, dir: at ? null : "auto" }, cell(person, all))))))))
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

const said = (name, words) => make("span", { class: "taken-order " + name }, words);

// before -> after; the order may be the same and only what was said beside it differ.
function change(one) {
  const also = one.also.length ? make("span", { class: "interval" }, "also changed: " + one.also.join(", ")) : null;
  if (one.withdrawn) return [said("gone", one.before), make("span", { class: "interval" }, "withdrawn")];
  if (one.after === null) return [said("gone", one.before), make("span", { class: "interval" }, "not ranked again yet")];
  if (one.after === one.before) return [said("", one.before), also || make("span", { class: "interval" }, "the same again")];
  return [said("gone", one.before), " → ", said("", one.after), also];
}

const trained = ({ rounds }) => !rounds.length ? "no" : rounds.length < 4 ? "in " + (rounds.length > 1 ? "rounds " : "round ") + rounds.join(", ")
  : "in " + rounds.length + " rounds, " + rounds[0] + " to " + rounds[rounds.length - 1];

const TAKEN = [
  ["Annotator", (one) => [make("bdi", null, one.person), one.kind === "human" ? null : badge("program", one.kind)]],
  ["When", (one) => make("span", { title: clock(one.at) }, ago(one.at))],
  ["Prompt", (one) => [make("span", { class: "taken-prompt", dir: "auto" }, one.prompt), make("span", { class: "taken-task" }, "task " + one.task_id)]],
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
