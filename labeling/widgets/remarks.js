// remarks.js: what is said beside the order: none acceptable, a comment, marks on a response, a better one.

function toggleNone() {
    if (now.busy || !now.task) return;
    now.remarks.acceptable = noneAcceptable() ? null : false;
    changed();
    say(t(noneAcceptable() ? "say.none.on" : "say.none.off"));
    draw();
}

// ---- marks: on one response ----------------------------------------------------------------------------------

const MARK_KINDS = [["flags", "marks.flags"], ["reasons_for", "marks.for"], ["reasons_against", "marks.against"]];
const SIGNS = { flags: "⚑ ", reasons_for: "+ ", reasons_against: "− " };

function buildMarks(index) {
    const foot = make("div", "pr-foot");
    const open = make("button", "pod-btn quiet pr-marks-open");
    open.type = "button";
    open.append(make("span", "", t("marks")), " ", make("span", "pod-kbd", "F"));
    open.lastChild.setAttribute("aria-hidden", "true");
    open.setAttribute("aria-label", t("marks.of", { name: name(index) }));
    open.setAttribute("aria-expanded", "false");
    open.addEventListener("click", () => openMarks(now.marking === index ? -1 : index));
    const copy = make("button", "pod-btn quiet pr-copy", t("better.short"));
    copy.type = "button";
    copy.setAttribute("aria-label", t("better.from", { letter: LETTERS[index] }));
    copy.addEventListener("click", () => writeBetter(index));
    foot.append(open, make("span", "pr-said"), copy, make("div", "pr-marks"));
    return foot;
}

/** The chips are built when they are opened: most responses get none. */
function openMarks(index) {
    const before = now.marking;
    now.marking = index;
    drawCards();
    if (index >= 0) {
        now.current = index;
        cards[index].querySelector(".pr-marks button")?.focus({ preventScroll: true });
        cards[index].querySelector(".pr-marks").scrollIntoView({ block: "nearest" });
    } else if (before >= 0) goTo(before, false);
}

function drawMarks(card, index) {
    const mark = now.remarks.marks[index];
    const open = now.marking === index;
    const said = MARK_KINDS.flatMap(([kind]) => mark[kind].map((one) => SIGNS[kind] + named(one)))
        .concat(Object.entries(mark.ratings).map(([scale, rating]) => named(scale) + " " + rating));
    setText(card.querySelector(".pr-said"), open ? "" : said.join(" · "));
    card.querySelector(".pr-marks-open").setAttribute("aria-expanded", String(open));
    const box = card.querySelector(".pr-marks");
    box.hidden = !open;
    if (!open) box.replaceChildren();
    else if (!box.firstChild) box.append(...buildChoices(index));
    for (const button of box.querySelectorAll("button")) {
        const { kind, value, rating } = button.dataset;
        const on = rating ? mark.ratings[value] === Number(rating) : mark[kind].includes(value);
        button.setAttribute("aria-pressed", String(on));
    }
}

function buildChoices(index) {
    const group = (label, buttons) => {
        const box = make("div", "pr-choices");
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", label);
        box.append(make("span", "pr-label", label), ...buttons);
        return box;
    };
    const button = (words, data, act) => {
        const one = make("button", "pr-choice", words);
        one.type = "button";
        Object.assign(one.dataset, data);
        one.addEventListener("click", act);
        return one;
    };
    // Names that were given under an earlier form can be taken back.
    const names = (kind) => [...new Set([...(now.form?.[kind] || []), ...now.remarks.marks[index][kind]])];
    const lists = MARK_KINDS.filter(([kind]) => names(kind).length).map(([kind, label]) => group(
        t(label),
        names(kind).map((value) => button(SIGNS[kind] + named(value), { kind, value }, () => toggleMark(index, kind, value))),
    ));
    const ratings = (now.form?.ratings || []).map((value) => group(
        t("marks.rating", { scale: named(value) }),
        [1, 2, 3, 4, 5].map((rating) => button(rating, { value, rating }, () => rate(index, value, rating))),
    ));
    const back = make("span", "pr-marks-back pod-muted");
    setKeyed(back, t("marks.back"));
    return [...lists, ...ratings, back];
}

function toggleMark(index, kind, value) {
    if (now.busy) return;
    const names = now.remarks.marks[index][kind];
    now.remarks.marks[index][kind] = names.includes(value) ? names.filter((one) => one !== value) : [...names, value];
    keepDraft();
    draw();
}

function rate(index, scale, rating) {
    if (now.busy) return;
    const { ratings } = now.remarks.marks[index];
    if (ratings[scale] === rating) delete ratings[scale];
    else ratings[scale] = rating;
    keepDraft();
    draw();
}

// ---- a better response, and the comment --------------------------------------------------------------------------

/** Opens the editor; from this response, unless something is written already. */
function writeBetter(index) {
    if (now.busy) return;
    const box = $(".pr-better textarea");
    $(".pr-better").open = true;
    if (!hasBetter(now.remarks)) {
        box.value = now.task.responses[index].text.trim();
        now.remarks.better = { text: box.value, started_from: index };
        keepDraft();
    }
    draw();
    box.focus();
    box.scrollIntoView({ block: "nearest" });
}

function betterTyped(text) {
    now.remarks.better = text ? { started_from: null, ...now.remarks.better, text } : null;
    now.asked = "";
    now.message = "";
    keepDraft();
    draw();
}

let discarded = null; // {task, better}, for "Put back"
function discardBetter() {
    if (now.busy) return;
    if (now.remarks.better) {
        discarded = { task: now.task, better: now.remarks.better };
        now.remarks.better = null;
    } else if (discarded?.task === now.task) now.remarks.better = discarded.better;
    $(".pr-better textarea").value = now.remarks.better?.text || "";
    keepDraft();
    draw();
}

function drawBetter() {
    const { better } = now.remarks;
    const from = better?.started_from;
    setText($(".pr-better-words"), from === null || from === undefined ? "" : t("better.started", { letter: LETTERS[from] }));
    const canPutBack = !better && discarded?.task === now.task;
    setText($(".pr-discard"), t(canPutBack ? "putback" : "better.discard"));
    $(".pr-discard").hidden = !better && !canPutBack;
}

/** The position of the response that says the very same, or -1. A text box has line breaks of its own kind. */
const plain = (text) => text.replace(/\r\n?/g, "\n").trim();
const sameAsBetter = () => now.task.responses.findIndex(({ text }) => plain(text) === plain(now.remarks.better.text));

function openComment() {
    $(".pr-comment").open = true;
    $(".pr-comment textarea").focus();
}
