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

function message(selector, words, bad) {
  find(selector).textContent = words;
  find(selector).classList.toggle("bad", Boolean(bad));
}

// ---- guidelines ------------------------------------------------------------------------------------------------

let version = null; // of the text in the editor
let newest = null; // when it came
let loaded = ""; // the text as it came: what differs from it is being written, and stays
const box = find("#guidelines-text");

function edit(guidelines) {
  [version, loaded] = [guidelines.version, guidelines.text];
  box.value = guidelines.text;
  find(".guidelines-which").textContent = version ? "version " + version : "the delivered version";
}

function drawVersions(versions) {
  renderWhenChanged(find(".guidelines-versions"), [versions, Math.round(serverNow() / 60)], () => versions.length
    ? make("div", { class: "scroll" }, make("table", { class: "lab-table cards" },
      make("caption", null, "Versions"),
      make("thead", null, make("tr", null, ["Version", "Written", "By", "Rankings", make("span", { class: "pod-hidden-text" }, "Change")].map((title) => make("th", { scope: "col" }, title)))),
      make("tbody", null, versions.map((one) => make("tr", null,
        make("th", { scope: "row", "data-label": "Version" }, String(one.version)),
        make("td", { "data-label": "Written" }, make("span", { title: clock(one.created_at) }, ago(one.created_at))),
        make("td", { "data-label": "By", dir: "auto" }, one.by || "–"),
        make("td", { "data-label": "Rankings" }, String(one.rankings)),
        make("td", { "data-label": "" }, make("button", {
          type: "button", class: "pod-btn small", "aria-label": "Edit version " + one.version,
          onclick: () => {
            if (box.value !== loaded && !confirm("Throw away what you have written?")) return;
            edit(one); message(".guidelines-message", "Saving makes a new version of it."); box.focus();
          },
        }, "Edit")))))))
    : null);
}

find(".guidelines-save").addEventListener("click", async () => {
  try {
    const saved = await api("guidelines", { text: box.value });
    const same = saved.version === version;
    edit(saved);
    newest = saved.version;
    message(".guidelines-message", same ? "Nothing has changed." : "Saved as version " + saved.version + ". Annotators see it with their next task.");
    now();
  } catch (error) {
    message(".guidelines-message", "Not saved: " + error.message, true);
  }
}, { signal });

find(".guidelines-look").addEventListener("click", async () => {
  const preview = find(".guidelines-preview");
  const open = preview.hidden;
  try {
    if (open) setHtml(preview, (await api("guidelines/preview", { text: box.value })).html, "");
    preview.hidden = !open;
    find(".guidelines-look").setAttribute("aria-expanded", String(open));
    message(".guidelines-message", "");
  } catch (error) {
    message(".guidelines-message", error.message, true);
  }
}, { signal });

// ---- the form --------------------------------------------------------------------------------------------------

let changes = null; // of the form that is shown
let shown = "";
const area = (name) => find("#form-" + name);
const lines = (name) => area(name).value.split("\n").map((line) => line.trim()).filter(Boolean);

for (const [name, title] of LISTS) {
  find(".form-lists").append(make("div", null,
    make("label", { class: "instructions-label", for: "form-" + name }, title),
    make("textarea", { id: "form-" + name, rows: 6, dir: "auto" })));
}
find(".form-lists").append(make("div", { class: "form-ratings" },
  make("label", null, make("input", { type: "checkbox", id: "form-rated" }), "Ask for ratings from 1 to 5"),
  make("div", { class: "form-scales" },
    make("label", { class: "instructions-label", for: "form-ratings" }, "Scales"),
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
const now = repeat(3000, async () => {
  const status = shared.status || {};
  if (version === null || (version === newest && status.guidelines > newest && box.value === loaded)) {
    edit(await api("guidelines"));
    newest = version;
  }
  if (changes === null || (status.form_changes !== changes && JSON.stringify(written()) === shown)) showForm(await api("form"));
  drawVersions((await api("guidelines/versions")).versions);
}, signal);
