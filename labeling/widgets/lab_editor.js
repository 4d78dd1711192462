// A text that is kept in versions, with the box it is written in: the guidelines and the constitution are two of
// them. labeling/lab.py puts this file, and lab_editor.css, before theirs; both also use its sheets and messages.

function message(selector, words, bad) {
  find(selector).textContent = words;
  find(selector).classList.toggle("bad", Boolean(bad));
}

// Fill `.editor` of the page. The API has the text at `path`, which is also its name; `after` says who goes by a
// new version, and when. Returns a function that looks for versions of others: they are shown unless the text in
// the box is being changed, or is an older one.
function textEditor({ path, rows, longest, after }) {
  let version = null; // of the text in the box
  let newest = null;
  let loaded = ""; // the text as it came
  const box = make("textarea", { id: path + "-text", rows, maxlength: longest, dir: "auto" });
  const which = make("span", { class: "editor-which" });
  const save = make("button", { type: "button", class: "pod-btn primary" }, "Save as a new version");
  const look = make("button", { type: "button", class: "pod-btn", "aria-expanded": "false", "aria-controls": path + "-preview" }, "Preview");
  const preview = make("div", { id: path + "-preview", class: "editor-preview pod-text", hidden: true });
  const table = make("div", { class: "editor-versions" });
  find(".editor").append(
    make("label", { class: "editor-label", for: box.id }, "Text of ", which), box,
    make("div", { class: "editor-go" }, save, look),
    make("p", { class: "editor-message text-message", role: "status" }), preview, table);

  const say = (words, bad) => message(".text-message", words, bad);
  const nameOf = (number) => number ? "version " + number : "the delivered version";

  function edit(one) {
    [version, loaded] = [one.version, one.text];
    newest = Math.max(newest ?? 0, version);
    box.value = one.text;
    which.textContent = nameOf(version);
  }

  function again(one) {
    if (box.value !== loaded && !confirm("Throw away what you have written?")) return;
    edit(one);
    say("Saving makes a new version of it.");
    box.focus();
  }

  const row = (one) => make("tr", null,
    make("th", { scope: "row", "data-label": "Version" }, one.version ? String(one.version) : "Delivered"),
    make("td", { "data-label": "Written" }, one.created_at ? make("span", { title: clock(one.created_at) }, ago(one.created_at)) : "–"),
    make("td", { "data-label": "By", dir: "auto" }, one.by || "–"),
    make("td", { "data-label": "Rankings" }, String(one.rankings)),
    make("td", { "data-label": "" }, make("button", {
      type: "button", class: "pod-btn small", "aria-label": "Edit " + nameOf(one.version), onclick: () => again(one),
    }, "Edit")));

  const drawVersions = (versions) => renderWhenChanged(table, [versions, Math.round(serverNow() / 60)], () =>
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Versions of the " + path },
      make("table", { class: "lab-table cards" },
        make("caption", null, "Versions"),
        make("thead", null, make("tr", null, ["Version", "Written", "By", "Rankings", make("span", { class: "pod-hidden-text" }, "Change")]
          .map((title) => make("th", { scope: "col" }, title)))),
        make("tbody", null, versions.map(row)))));

  async function follow() {
    const { versions } = await api(path + "/versions");
    const untouched = version === newest && box.value === loaded;
    if (version === null || (untouched && versions[0].version > newest)) edit(versions[0]);
    drawVersions(versions);
  }

  save.addEventListener("click", async () => {
    try {
      const sent = box.value;
      const saved = await api(path, { text: sent });
      const same = saved.version === newest, typed = box.value;
      edit(saved);
      if (typed !== sent) box.value = typed; // written while it was saved: of the next version
      say(same ? "Nothing has changed." : "Saved as version " + saved.version + ". " + after);
    } catch (error) {
      say("Not saved: " + error.message, true);
      return;
    }
    await follow().catch(() => {}); // it is saved all the same, and the next look shows it
  });

  look.addEventListener("click", async () => {
    const open = preview.hidden;
    try {
      if (open) setHtml(preview, (await api(path + "/preview", { text: box.value })).html, "");
      preview.hidden = !open;
      look.setAttribute("aria-expanded", String(open));
      say("");
    } catch (error) {
      say(error.message, true);
    }
  });

  return follow;
}
