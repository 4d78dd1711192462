// What annotators are asked: the guidelines, with their versions, and the names that can be given beside the order.

const find = (selector) => element.querySelector(selector);
const signal = mounted("guidelines");
const SCALES = ["helpfulness", "accuracy", "safety", "tone"];
const LISTS = [
  ["flags", "Flags: what is wrong with a response"],
  ["reasons_for", "Reasons for it"],
  ["reasons_against", "Reasons against it"],
  ["skip_reasons", "Reasons to skip a task"],
];

const followText = textEditor({ path: "guidelines", rows: 14, longest: 40000, after: "Annotators see it with their next task." });

// ---- the form --------------------------------------------------------------------------------------------------

let changes = null; // of the form that is shown
let shown = "";
const area = (name) => find("#form-" + name);
const lines = (name) => area(name).value.split("\n").map((line) => line.trim()).filter(Boolean);

for (const [name, title] of LISTS) {
  find(".form-lists").append(make("div", null,
    make("label", { class: "editor-label", for: "form-" + name }, title),
    make("textarea", { id: "form-" + name, rows: 6, dir: "auto" })));
}
find(".form-lists").append(make("div", { class: "form-ratings" },
  make("label", null, make("input", { type: "checkbox", id: "form-rated" }), "Ask for ratings from 1 to 5"),
  make("div", { class: "form-scales" },
    make("label", { class: "editor-label", for: "form-ratings" }, "Scales"),
    make("textarea", { id: "form-ratings", rows: 4, dir: "auto" }))));
find("#form-rated").addEventListener("change", (event) => {
  find(".form-scales").hidden = !event.target.checked;
  if (event.target.checked && !lines("ratings").length) area("ratings").value = SCALES.join("\n");
}, { signal });

function written() {
  const form = Object.fromEntries(LISTS.map(([name]) => [name, lines(name)]));
  return { ...form, ratings: find("#form-rated").checked ? lines("ratings") : [] };
}

function showForm({ form, form_changes }) {
  changes = form_changes;
  for (const [name] of LISTS) area(name).value = form[name].join("\n");
  area("ratings").value = form.ratings.join("\n");
  find("#form-rated").checked = form.ratings.length > 0;
  find(".form-scales").hidden = !form.ratings.length;
  shown = JSON.stringify(written());
}

find(".form-part").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    showForm(await api("form", written()));
    message(".form-message", "Saved. Annotators see it with their next task.");
  } catch (error) {
    message(".form-message", "Not saved: " + error.message, true);
  }
}, { signal });

// Others may write too: what is not being changed here follows.
repeat(3000, async () => {
  await followText();
  if (changes === null || (shared.status?.form_changes !== changes && JSON.stringify(written()) === shown)) showForm(await api("form"));
}, signal);
