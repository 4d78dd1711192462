// Who ranked. Programs are people of another kind here: always named as what they are, never mixed in silently.

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
