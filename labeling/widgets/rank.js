// rank.js: a task on the screen, and the ranking of it. labeling/annotate.py puts these files one after another
// into one script, which Gradio runs once per mount with `element`:
//
//     words.js  facts as sentences     client.js  the API, drafts     drag.js, keys.js  the ways in
//     rank.js   task and ranking       save.js    submit, skip, undo  facts.js  worker, policy, waiting
//     start.js  ties them together
//
// One object holds what is on the screen (`now`); every change goes through draw(). Model text arrives as HTML
// the server made safe (labeling/render.py) and is set by innerHTML; it never passes a template.

// js_on_load has no unmount hook: the next mount ends the one before.
window.podiumPage?.abort();
const page = (window.podiumPage = new AbortController());
const { signal } = page;

const root = element.querySelector(".pr");
const $ = (selector) => root.querySelector(selector);
const now = {
    task: null,
    ranks: [], // by position: 0 is not ranked, 1 is best; as typed, made dense when sent
    remarks: { ...NO_REMARKS }, // what else is said of the task, as the API has it
    asked: "", // the ranks with some missing for which Enter was pressed once
    trail: [], // positions in the order they were ranked, for T
    current: 0,
    taken: null, // ranks before the last Clear or Backspace, for "Put back"
    takenStrength: 0, // and the strength with them
    unsaved: null, // {key, nonce} of a save that failed
    last: null, // the ranking that Undo takes back
    message: "", // what happened last, in the bar
    trouble: "", // why nothing comes from the server
    busy: false,
    shownAt: 0,
    hiddenAt: performance.now(), // when the tab was last hidden
    status: null,
    progress: null,
    rankingsOf: {}, // policy version -> rankings it was trained on
};
let cards = [];
let chips = [];

const size = () => now.task.responses.length;
const missing = () => now.ranks.flatMap((rank, i) => (rank ? [] : [i]));
const complete = () => now.task !== null && missing().length === 0;
const noneAcceptable = () => now.remarks.acceptable === false;
/** Enough to be stored: an order, if only of the best, or that none will do. */
const enough = () => now.task !== null && (missing().length < size() || noneAcceptable());
/** Nothing is left open: each has a rank, or none will do and none has. */
const whole = () => complete() || (now.task !== null && noneAcceptable() && missing().length === size());
const onTouch = () => matchMedia("(hover: none) and (pointer: coarse)").matches;
const two = () => size() === 2;
const decided = () => two() && complete() && now.ranks[0] !== now.ranks[1];
const pendingSkip = () => Boolean(now.unsaved && JSON.parse(now.unsaved.key)[1].skip);
const name = (index) => "Response " + LETTERS[index];

function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
}

let lastSaid = "";
function say(text) {
    // the same words twice would not be read out again
    lastSaid = text === lastSaid ? text + "\u00a0" : text;
    $(".pr-live").textContent = lastSaid;
}

// ---- a task on the screen --------------------------------------------------------------------------------

function buildCard(response, index) {
    const card = make("article", "pr-card pod-card");
    card.tabIndex = 0;
    card.dataset.drop = "card " + index;
    card.setAttribute("aria-labelledby", "pr-name-" + index + " pr-state-" + index);

    const top = make("div", "pr-top");
    const handle = make("div", "pr-handle");
    handle.dataset.drag = index;
    handle.title = "Drag to a place below, or onto another response for a tie";
    const title = make("h3", "pr-name", name(index));
    title.id = "pr-name-" + index;
    handle.append(make("span", "pr-grip"), title);
    const state = make("p", "pr-state");
    state.id = "pr-state-" + index;
    state.append(make("b", "pr-medal"), make("span", "pr-words"));
    top.append(handle, state);

    const numbers = make("div", "pr-numbers");
    numbers.setAttribute("role", "group");
    numbers.setAttribute("aria-label", "Rank of " + name(index));
    for (let rank = 1; rank <= size(); rank++) {
        const button = make("button", "pr-number", rank);
        button.type = "button";
        button.setAttribute("aria-label", rank + (rank === 1 ? ", best" : ""));
        button.addEventListener("click", (event) => {
            if (now.ranks[index] === rank) unrank(index);
            else setRank(index, rank);
            // event.detail is 0 when a key pressed the button: then focus stays where it is
            if (event.detail) moveOn(index);
            draw();
        });
        numbers.append(button);
    }
    const text = make("div", "pr-text pod-text");
    text.dir = "auto";
    if (response.text.trim()) text.innerHTML = response.html;
    else text.append(make("p", "pod-muted", "(The policy wrote nothing.)"));
    const head = make("div", "pr-head");
    head.append(top, numbers);
    card.append(head, text);
    card.addEventListener("focusin", () => {
        now.current = index;
        drawCards();
    });
    return card;
}

function buildChip(index) {
    const chip = make("button", "pr-chip", LETTERS[index]);
    chip.type = "button";
    chip.dataset.drag = index;
    chip.addEventListener("click", () => goTo(index, true));
    return chip;
}

function buildPodium() {
    const slots = [make("div", "pr-slot pr-tray")];
    slots[0].append(make("span", "pr-slot-name", "Not ranked"));
    for (let rank = 1; rank <= size(); rank++) {
        const slot = make("div", "pr-slot");
        slot.append(make("span", "pr-slot-name", rank === 1 ? "1 best" : rank));
        slots.push(slot);
    }
    slots.forEach((slot, rank) => {
        slot.dataset.drop = "place " + rank;
        slot.dataset.rank = rank;
        slot.append(make("span", "pr-chips"));
    });
    $(".pr-podium").style.setProperty("--count", size());
    $(".pr-podium").replaceChildren(...slots);
}

/** Code and tables that are wider than their card can be scrolled with the keyboard too. */
function makeScrollable() {
    for (const box of root.querySelectorAll(".pod-text pre, .pod-text .pod-table")) {
        if (box.scrollWidth <= box.clientWidth) continue;
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", box.tagName === "PRE" ? "Code" : "Table");
    }
}

/** A reply that carries a task (or none). The ranking on the screen survives a reply with the same task. */
function show(data) {
    now.progress = data.progress;
    now.last = data.last_ranking_id;
    if (data.person) $(".pr-person").textContent = "You are " + data.person.name + ".";
    takeStatus(data.status);
    if (now.task?.id !== data.task?.id || !data.task) drawRound();
    if (!data.task) {
        now.task = null;
        draw();
        return;
    }
    if (now.task?.id === data.task.id) {
        draw();
        return;
    }
    now.task = data.task;
    const draft = drafts.get(data.task);
    // a draft is newer than what was taken back: sending took the draft away
    const before = draft?.ranks || data.task.previous_ranks || [];
    now.ranks = data.task.responses.map((_, i) => before[i] || 0);
    now.remarks = { ...(draft?.remarks || data.task.previous_remarks || NO_REMARKS) };
    now.asked = "";
    now.unsaved = draft?.unsaved || null;
    now.trail = [];
    now.taken = null;
    now.current = missing()[0] ?? 0;
    now.shownAt = performance.now();
    if (draft && !data.task.previous_ranks && draft.ranks.some(Boolean)) now.message = "Your ranks are as you left them";
    $(".pr-comment textarea").value = now.remarks.comment;
    $(".pr-comment").open = Boolean(now.remarks.comment);
    if (now.unsaved) askAgain();

    $(".pr-prompt-text").innerHTML = data.task.prompt_html;
    cards = data.task.responses.map(buildCard);
    chips = data.task.responses.map((_, i) => buildChip(i));
    $(".pr-grid").replaceChildren(...cards);
    $(".pr-grid").dataset.count = size();
    $(".pr-max").textContent = size();
    $(".pr-last").textContent = LETTERS[size() - 1];
    $(".pr-many").hidden = two();
    $(".pr-two").hidden = !two();
    buildPodium();
    draw();
    window.scrollTo(0, 0);
    if (!document.querySelector("dialog[open]")) cards[now.current].focus({ preventScroll: true });
    makeScrollable();
}

function draw() {
    const state = now.task ? "task" : now.status || now.trouble ? "waiting" : "loading";
    root.dataset.state = state;
    $(".pr-task").hidden = state !== "task";
    $(".pr-waiting").hidden = state !== "waiting";
    for (const button of root.querySelectorAll(".pr-undo")) button.setAttribute("aria-disabled", String(now.busy));
    $(".pr-comment textarea").readOnly = now.busy; // what is being sent stays as it is
    drawFacts();
    if (state === "waiting") drawWaiting();
    if (state !== "task") return;
    drawCards();
    drawBar();
}

function drawCards() {
    cards.forEach((card, i) => {
        const rank = now.ranks[i];
        card.classList.toggle("is-current", i === now.current);
        card.dataset.rank = rank;
        card.querySelector(".pr-medal").textContent = rank || "";
        card.querySelector(".pr-words").textContent = rankWords(now.ranks, i);
        card.querySelectorAll(".pr-number").forEach((button, at) => {
            button.setAttribute("aria-pressed", String(at + 1 === rank));
        });
    });
    chips.forEach((chip, i) => {
        const place = root.querySelector('.pr-slot[data-rank="' + now.ranks[i] + '"] .pr-chips');
        const after = chips.slice(i + 1).find((other) => other.parentNode === place) || null;
        if (chip.parentNode !== place) {
            const focused = document.activeElement === chip;
            place.insertBefore(chip, after);
            if (focused) chip.focus({ preventScroll: true });
        }
        chip.setAttribute("aria-label", LETTERS[i] + ": " + rankWords(now.ranks, i) + ". Go to " + name(i));
    });
}

function drawBar() {
    const left = missing().length;
    const none = noneAcceptable() ? "none acceptable" : "";
    const order = left === size() ? "" : orderWords(now.ranks, now.remarks.strength);
    const hint = whole()
        ? "Ready: " + [order, none].filter(Boolean).join(", ")
        : left === size() ? "Rank from best to worst" : left + " left to rank" + (none ? ", " + none : "");
    $(".pr-left").textContent = now.busy ? "Saving" : now.message || hint;
    $(".pr-submit").setAttribute("aria-disabled", String(now.busy || !(whole() || now.asked || now.unsaved)));
    $(".pr-none").setAttribute("aria-pressed", String(noneAcceptable()));
    $(".pr-strength").hidden = !decided();
    root.querySelectorAll(".pr-strength button").forEach((button, i) => {
        button.setAttribute("aria-pressed", String(now.remarks.strength === i + 1));
    });
    $(".pr-clear").textContent = now.taken ? "Put back" : "Clear";
    $(".pr-clear").setAttribute("aria-disabled", String(!now.taken && left === size()));
    $(".pr-skip").setAttribute("aria-disabled", String(now.busy));
}

function alarm(text) {
    $(".pr-alert").textContent = text;
    $(".pr-alert").hidden = !text;
}

// ---- ranking ---------------------------------------------------------------------------------------------

function changed() {
    now.message = "";
    if (pendingSkip()) { // who goes on ranking does not want it skipped
        now.unsaved = null;
        alarm("");
    }
    now.asked = "";
    if (!decided()) now.remarks.strength = 0;
    keepDraft(now.task);
}

/** What is on the screen is kept for this task, if there is anything. */
function keepDraft(task) {
    const { ranks, remarks, unsaved } = now;
    const said = ranks.some(Boolean) || unsaved || remarks.comment.trim() || noneAcceptable();
    drafts.put(task, said ? { ranks, remarks, unsaved } : null);
}

function setRank(index, rank) {
    if (now.busy) return; // what is being sent stays as it is
    now.ranks[index] = rank;
    now.trail = now.trail.filter((other) => other !== index).concat(index);
    now.taken = null;
    changed();
    say(name(index) + ": " + rankWords(now.ranks, index) + (complete() ? ". All ranked, Enter submits." : ""));
}

function unrank(index) {
    if (!now.ranks[index] || now.busy) return;
    now.taken = [...now.ranks];
    now.takenStrength = now.remarks.strength;
    now.ranks[index] = 0;
    now.trail = now.trail.filter((other) => other !== index);
    changed();
    say(name(index) + ": not ranked");
}

function clearOrPutBack() {
    if (now.taken) {
        [now.ranks, now.taken] = [now.taken, null];
        now.remarks.strength = now.takenStrength;
        say("The ranks are back.");
    } else if (now.ranks.some(Boolean)) {
        now.takenStrength = now.remarks.strength;
        [now.taken, now.ranks] = [now.ranks, now.ranks.map(() => 0)];
        say("Ranks cleared. Put back brings them back.");
    }
    now.trail = [];
    changed();
    draw();
}

function goTo(index, center) {
    now.current = index;
    cards[index].focus({ preventScroll: true });
    cards[index].scrollIntoView({ block: center ? "start" : "nearest" });
    drawCards();
}

/** After a rank: the next response that has none; with all ranked the mark stays. */
function moveOn(index) {
    const next = [...cards.keys()].map((i) => (index + 1 + i) % size()).find((i) => !now.ranks[i]);
    now.current = next ?? index;
    cards[now.current].focus({ preventScroll: true });
}

/** The place after the worst so far; with the last place taken, the first that is free. */
function nextPlace() {
    const worst = Math.max(0, ...now.ranks);
    if (worst < size()) return worst + 1;
    return [1, 2, 3, 4].find((rank) => rank <= size() && !now.ranks.includes(rank)) || size();
}

function byDigit(rank) {
    if (rank < 1 || rank > size()) {
        say("Ranks go from 1 to " + size() + ".");
        return;
    }
    const index = now.current;
    setRank(index, rank);
    moveOn(index);
    cards[now.current].scrollIntoView({ block: "nearest" });
    draw();
}

/** Typing letters from best to worst; a letter that has a rank only moves the mark. Of two, one letter says all:
    it is better, and again by how much. */
function byLetter(index) {
    if (index >= size()) return;
    if (two() && !now.busy) {
        if (decided() && now.ranks[index] < now.ranks[1 - index]) setStrength((now.remarks.strength + 1) % 4);
        else prefer(index);
    } else if (!now.ranks[index]) setRank(index, nextPlace());
    goTo(index, false);
    draw();
}

/** Of two: this one is better. */
function prefer(index) {
    setRank(1 - index, 2);
    setRank(index, 1);
    now.remarks.strength = 0;
    keepDraft(now.task);
}

function setStrength(strength) {
    if (now.busy || !decided()) return;
    now.remarks.strength = strength;
    now.message = "";
    keepDraft(now.task);
    const better = name(now.ranks[0] < now.ranks[1] ? 0 : 1);
    say(better + ": " + (strength ? STRENGTHS[strength - 1] : "better, by how much is not said"));
    draw();
}

function toggleNone() {
    if (now.busy || !now.task) return;
    now.remarks.acceptable = noneAcceptable() ? null : false;
    changed();
    say(noneAcceptable() ? "None is acceptable. An order may still be given; Enter submits." : "Not said any more that none is acceptable.");
    draw();
}

function tie() {
    if (two() && !now.busy && !now.ranks.some(Boolean)) {
        setRank(0, 1);
        setRank(1, 1);
        draw();
        return;
    }
    const index = now.current;
    const mate = now.trail.filter((other) => other !== index && now.ranks[other]).pop()
        ?? now.ranks.findIndex((rank, other) => rank && other !== index);
    if (mate === -1) {
        say("Rank one response first, then T ties the next with it.");
        return;
    }
    setRank(index, now.ranks[mate]);
    moveOn(index);
    draw();
}

function dropHint(index, where) {
    const [kind, at] = where.split(" ");
    if (kind === "place") return at === "0" ? "not ranked" : PLACES[at - 1];
    if (Number(at) === index) return "";
    return now.ranks[at] ? "tie with " + LETTERS[at] : LETTERS[at] + " has no rank yet";
}

function dropped(index, where) {
    const [kind, at] = where.split(" ");
    const rank = kind === "place" ? Number(at) : now.ranks[at];
    if (kind === "card" && Number(at) === index) return;
    if (kind === "card" && !rank) say(name(at) + " has no rank yet, so nothing can tie with it.");
    else if (rank) setRank(index, rank);
    else unrank(index);
    moveOn(index);
    draw();
}
