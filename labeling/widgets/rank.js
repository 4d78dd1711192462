// rank.js: a task on the screen. labeling/annotate.py puts these files one after another into one script, which
// Gradio runs once per mount with `element`:
//
//     texts.js, words.js  what is said        client.js, clock.js  API, what survives a reload, time
//     drag.js, keys.js    the ways in         rank.js, card.js     the task that is shown
//     order.js            its order           remarks.js           what is said beside the order
//     save.js             submit, skip, undo  recent.js            the ten latest
//     guidelines.js       and practice        facts.js             worker, policy, progress, waiting
//     start.js            ties them together
//
// One object holds what is on the screen (`now`); every change goes through draw(). Model text arrives as HTML
// the server made safe (labeling/render.py) and is set by innerHTML; it never passes a template.

// js_on_load has no unmount hook: the next mount ends the one before.
window.podiumPage?.abort();
const page = (window.podiumPage = new AbortController());
const { signal } = page;

const root = element.querySelector(".pr");
const $ = (selector) => root.querySelector(selector);
const clock = makeClock(signal);
const now = {
    task: null,
    queue: [], // tasks to follow it
    ranks: [], // by position: 0 is not ranked, 1 is best; as typed, made dense when sent
    remarks: copyOf(NO_REMARKS, 0), // what else is said of the task, as the API has it
    twins: [], // by position: the positions with the very same text, itself included
    asked: "", // the ranks with some missing for which Enter was pressed once
    trail: [], // positions in the order they were ranked, for T
    current: 0,
    taken: null, // ranks before the last Clear or Backspace, for "Put back"
    takenStrength: 0, // and the strength with them
    skipping: false, // whether it is asked why
    marking: -1, // whose marks are open
    last: null, // the ranking that Undo takes back
    practice: null, // {step, aside} while the four tasks of practice are shown
    message: "", // what happened last, in the bar
    trouble: "", // why nothing comes from the server
    busy: false,
    under: null, // the version of the guidelines that this task is ranked under
    resting: false, // after a click on Submit
    touched: false, // whether anything was said of the task here
    epoch: 0, // counts what the server was told: what was asked before that is out of date
    hiddenAt: performance.now(), // when the tab was last hidden
    status: null,
    progress: null,
    form: null,
    guidelines: null,
    rankingsOf: {}, // policy version -> rankings it was trained on
    took: 0, // seconds of the last round that ended
};
let cards = [];
let chips = [];
let podiumOf = ""; // the language and the number of responses that podium and chips are built for

const size = () => now.task.responses.length;
const missing = () => now.ranks.flatMap((rank, i) => (rank ? [] : [i]));
const complete = () => now.task !== null && missing().length === 0;
const noneAcceptable = () => now.remarks.acceptable === false;
/** Enough to be stored: an order, if only of the best, or that none will do, or a better one. */
const enough = () => now.task !== null && (missing().length < size() || noneAcceptable() || hasBetter(now.remarks));
/** Nothing is left open: each has a rank, or none has because none will do, or a better one was written. */
const whole = () => complete() || (enough() && missing().length === size());
const onTouch = () => matchMedia("(hover: none) and (pointer: coarse)").matches;
const two = () => size() === 2;
const decided = () => two() && complete() && now.ranks[0] !== now.ranks[1];
const name = (index) => t("response", { letter: LETTERS[index] });
/** A dialog lies over the page. */
const covered = () => Boolean(document.querySelector("dialog[open]"));

function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
}

/** Only what is another text: set again, the same would be laid out again, and read out again. */
function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

let lastSaid = "";
function say(text) {
    // the same words twice would not be read out again
    lastSaid = text === lastSaid ? text + "\u00a0" : text;
    $(".pr-live").textContent = lastSaid;
}

/** A reply of the server: how things stand. */
function takeFacts(data) {
    now.progress = data.progress;
    now.last = data.last_ranking_id;
    if (data.person) $(".pr-person").textContent = t("keys.person", { name: data.person.name });
    takeStatus(data.status);
}

/** The tasks of a reply: those that are not on the screen, nor ranked already and on their way, follow. */
function takeTasks(data) {
    const known = (task) => task.id === now.task?.id || task.id === now.practice?.aside?.id || outbox.holds(task.id);
    now.queue = [data.task, ...(data.next || [])].filter((task) => task && !known(task));
}

/** The next of those that follow, at once; or what is said while there is none. */
function advance() {
    now.task = null;
    drawRound();
    const next = now.queue.shift();
    if (next) show(next);
    else draw();
}

function show(task) {
    now.task = task;
    const draft = now.practice ? null : drafts.get(task);
    // a draft is newer than what was taken back: sending took the draft away
    const before = draft?.ranks || task.previous_ranks || [];
    now.ranks = task.responses.map((_, i) => before[i] || 0);
    now.remarks = copyOf(draft?.remarks || task.previous_remarks || NO_REMARKS, task.responses.length);
    now.remarks.skip_reason = "";
    now.twins = task.responses.map(({ text }) => task.responses.flatMap((other, i) => (other.text.trim() === text.trim() ? [i] : [])));
    now.asked = "";
    now.trail = [];
    now.taken = null;
    now.skipping = false;
    now.marking = -1;
    now.current = missing()[0] ?? 0;
    now.under = now.guidelines?.version ?? null;
    now.touched = false;
    clock.start(draft?.seconds || 0);
    if (draft && !task.previous_ranks && draft.ranks.some(Boolean)) now.message = t("draft.kept");
    build();
    draw();
    // What asks for the layout comes last, when all is written: it is made once.
    if (!covered()) cards[now.current].focus({ preventScroll: true });
    makeScrollable();
    window.scrollTo(0, 0);
    showGuidelinesOnce();
}

/** The parts of the page that differ from task to task, in the language that is spoken now. */
function build() {
    const { task, remarks } = now;
    cards = task.responses.map(buildCard);
    $(".pr-grid").replaceChildren(...cards); // first: when what has the focus goes, all that was written is laid out
    $(".pr-grid").dataset.count = size();
    $(".pr-comment textarea").value = remarks.comment;
    $(".pr-comment").open = Boolean(remarks.comment);
    $(".pr-better textarea").value = remarks.better?.text || "";
    $(".pr-better").open = Boolean(remarks.better);
    $(".pr-prompt-text").innerHTML = task.prompt_html;
    buildHistory(task.history || []);
    if (podiumOf === language + size()) return;
    podiumOf = language + size();
    chips = task.responses.map((_, i) => buildChip(i));
    applyTexts($(".pr-shortcuts"), { n: size(), letter: LETTERS[size() - 1] });
    $(".pr-many").hidden = two();
    $(".pr-two").hidden = !two();
    buildPodium();
}

function draw() {
    const state = now.task ? "task" : now.status || now.trouble ? "waiting" : "loading";
    root.dataset.state = state;
    $(".pr-task").hidden = state !== "task";
    $(".pr-waiting").hidden = state !== "waiting";
    for (const node of root.querySelectorAll(".pr-task-only")) node.hidden = state !== "task" || (node.matches(".pr-many") && two()) || (node.matches(".pr-two") && !two());
    for (const button of root.querySelectorAll(".pr-undo")) button.setAttribute("aria-disabled", String(now.busy));
    for (const box of root.querySelectorAll(".pr-write textarea")) box.readOnly = now.busy; // what is being sent stays as it is
    drawFacts();
    drawUnsaved();
    if (state === "waiting") drawWaiting();
    if (state !== "task") return;
    drawCards();
    drawBar();
    drawBetter();
}

function drawCards() {
    cards.forEach((card, i) => {
        const rank = now.ranks[i];
        card.classList.toggle("is-current", i === now.current);
        card.dataset.rank = rank;
        setText(card.querySelector(".pr-medal"), String(rank || ""));
        setText(card.querySelector(".pr-words"), rankWords(now.ranks, i));
        card.querySelectorAll(".pr-number").forEach((button, at) => {
            button.setAttribute("aria-pressed", String(at + 1 === rank));
        });
        drawMarks(card, i);
    });
    chips.forEach((chip, i) => {
        const place = root.querySelector('.pr-slot[data-rank="' + now.ranks[i] + '"] .pr-chips');
        const after = chips.slice(i + 1).find((other) => other.parentNode === place) || null;
        if (chip.parentNode !== place) {
            const focused = document.activeElement === chip;
            place.insertBefore(chip, after);
            if (focused) chip.focus({ preventScroll: true });
        }
        chip.setAttribute("aria-label", t("chip", { letter: LETTERS[i], words: rankWords(now.ranks, i), name: name(i) }));
    });
}

function drawBar() {
    const left = missing().length;
    const order = left === size() && !hasBetter(now.remarks) ? "" : orderWords(now.ranks, now.remarks);
    const none = noneAcceptable() ? t("hint.none") : "";
    const begun = left === size() ? t("hint.start") : joined([t("hint.left", { n: left }), none]);
    const hint = whole() ? t("hint.ready", { order: joined([order, none]) }) : begun;
    setText($(".pr-left"), now.busy ? t("saving") : now.message || hint);
    $(".pr-submit").setAttribute("aria-disabled", String(now.busy || now.resting || !enough()));
    $(".pr-none").setAttribute("aria-pressed", String(noneAcceptable()));
    $(".pr-strength").hidden = !decided();
    root.querySelectorAll(".pr-strength button").forEach((button, i) => {
        setText(button, onTouch() && innerWidth < 700 ? t("strength.short." + (i + 1)) : strengthWords(i + 1));
        button.setAttribute("aria-label", strengthWords(i + 1));
        button.setAttribute("aria-pressed", String(now.remarks.strength === i + 1));
    });
    setText($(".pr-clear"), t(now.taken ? "putback" : "clear"));
    $(".pr-clear").setAttribute("aria-disabled", String(!now.taken && left === size()));
    $(".pr-skip").setAttribute("aria-disabled", String(now.busy));
    $(".pr-skip").setAttribute("aria-expanded", String(now.skipping));
    $(".pr-why").hidden = !now.skipping;
}

function alarm(text) {
    $(".pr-alert").textContent = text; // the same again is to be read out again
    $(".pr-alert").hidden = !text;
}
