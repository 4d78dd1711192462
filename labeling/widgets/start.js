// start.js: the page begins.

const drag = makeDrag(root, signal, { label: (i) => LETTERS[i], hint: dropHint, drop: dropped });
const rightToLeft = () => RIGHT_TO_LEFT.includes(language);
const step = (by) => goTo((now.current + size() + (rightToLeft() ? -by : by)) % size(), false);
const KEYS = {
    Enter: submit,
    s: askSkip,
    n: toggleNone,
    w: openComment,
    e: () => writeBetter(now.current),
    f: () => openMarks(now.marking === now.current ? -1 : now.current),
    u: undo,
    h: openRecent,
    g: () => openGuidelines(),
    t: tie,
    "?": () => $(".pr-sheet").showModal(),
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => scrollText(-80),
    ArrowDown: () => scrollText(80),
    Backspace: () => { unrank(now.current); draw(); },
    Escape: () => (drag.active() ? drag.cancel() : now.marking >= 0 && openMarks(-1)),
};
KEYS.Delete = KEYS.Backspace;
const WITHOUT_TASK = ["u", "h", "g", "?"];
listenForKeys(root, signal, {
    enabled: () => $(".pr-keys-on").checked,
    act(key) {
        if (!now.task && !WITHOUT_TASK.includes(key)) return false;
        if (now.skipping && answerSkip(key)) return true;
        if (/^[0-9]$/.test(key)) byDigit(Number(key));
        else if (/^[a-d]$/.test(key)) byLetter("abcd".indexOf(key));
        else return KEYS[key] !== undefined && KEYS[key]() !== false;
        return true;
    },
});
const on = (selector, kind, act) => root.querySelectorAll(selector).forEach((node) => node.addEventListener(kind, act));
const unless = (button, act) => () => { if ($(button).getAttribute("aria-disabled") !== "true") act(); };
/** After a click the focus is back on the responses: Enter is to submit, and not to press the button again. */
const clicked = (act) => (event) => { act(); if (event.detail && now.task) goTo(now.current, false); };
const REST_MS = 400; // a double click, or a double tap, is one: it neither confirms nor submits the next task
on(".pr-submit", "click", () => {
    if (now.resting) return;
    submit(); // says what is missing
    now.resting = true;
    if (now.task) drawBar();
    setTimeout(() => { now.resting = false; if (now.task) drawBar(); }, REST_MS);
});
on(".pr-skip", "click", unless(".pr-skip", askSkip));
on(".pr-none", "click", clicked(toggleNone));
root.querySelectorAll(".pr-strength button").forEach((button, i) => {
    button.addEventListener("click", clicked(() => setStrength(now.remarks.strength === i + 1 ? 0 : i + 1)));
});
on(".pr-comment textarea", "input", (event) => {
    now.remarks.comment = event.target.value;
    keepDraft();
});
on(".pr-better textarea", "input", (event) => betterTyped(event.target.value));
on(".pr-discard", "click", discardBetter);
on(".pr-write textarea", "keydown", (event) => {
    if (event.key !== "Escape" || !now.task) return;
    event.preventDefault();
    goTo(now.current, false);
});
on(".pr-undo", "click", undo);
on(".pr-clear", "click", unless(".pr-clear", clearOrPutBack));
on(".pr-help", "click", KEYS["?"]);
on(".pr-open-guidelines", "click", () => openGuidelines());
on(".pr-open-recent", "click", openRecent);
on(".pr-guidelines", "close", guidelinesClosed);
on(".pr-lesson", "close", nextPractice);
on(".pr-leave-practice", "click", leavePractice);
on(".pr-try", "click", flush);
on(".pr-starter button", "click", () => { memory.put("starter-seen", true); drawFacts(); });
on(".pr-round button", "click", () => { memory.put("round-seen", roundKey()); drawRound(); });
on(".pr-news button", "click", () => note(".pr-news", ""));
on(".pr-refused button", "click", () => note(".pr-refused", ""));
$(".pr-keys-on").checked = memory.get("keys") !== false;
on(".pr-keys-on", "change", (event) => memory.put("keys", event.target.checked));

document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
        now.hiddenAt = performance.now();
        if (now.touched) keepDraft(); // with the seconds so far; what another tab has written stays
        return;
    }
    renewLease();
    clearTimeout(now.pollTimer);
    poll();
}, { signal });
window.addEventListener("online", flush, { signal });
window.addEventListener("pagehide", leave, { signal });
window.addEventListener("beforeunload", (event) => {
    if (outbox.mine().length && !outbox.kept) event.preventDefault(); // the browser asks: it would be lost
}, { signal });
const RENEW_MS = 3000; // when another tab was closed, or this one was loaded again: after what it has said
const renewSoon = () => setTimeout(renewLease, RENEW_MS);
tabs.addEventListener("message", renewSoon);
const leases = setInterval(renewLease, LEASE_MS);
signal.addEventListener("abort", () => {
    clearInterval(leases);
    clearTimeout(now.pollTimer);
    clearTimeout(retryTimer);
    tabs.close();
});

// ---- the language ------------------------------------------------------------------------------------------------

async function fetchTexts(wanted) {
    const { status, data } = await call("GET", "/texts/" + wanted);
    return status === 200 ? data.texts : null;
}

function speak() {
    root.lang = language;
    root.dir = rightToLeft() ? "rtl" : "ltr";
    applyTexts(root);
    podiumOf = "";
    $(".pr-language").value = language;
    if (now.practice) now.task = practiceTask(now.practice.step);
    if (now.task) build();
    draw();
    if (now.task) makeScrollable();
}

async function chooseLanguage(wanted) {
    memory.put("language", wanted);
    if (await takeLanguage(wanted, fetchTexts)) speak();
    else $(".pr-language").value = language;
    if (now.task) goTo(now.current, false); // letters are for the responses again
}

for (const [code, own] of Object.entries(LANGUAGES)) {
    const option = make("option", "", own);
    [option.value, option.lang] = [code, code];
    $(".pr-language").append(option);
}
on(".pr-language", "change", (event) => chooseLanguage(event.target.value));

async function begin() {
    const wanted = preferredLanguage(memory.get("language"));
    const [status] = await Promise.all([
        call("GET", "/status"), // which run this is, before anything is sent to it
        loadInstructions(),
        wanted === "en" || takeLanguage(wanted, fetchTexts),
    ]);
    speak();
    if (status.status === 200) takeStatus(status.data);
    const news = memory.get("news");
    note(".pr-news", news ? t(news) : "");
    memory.put("news", null);
    await flush();
    await fetchTask();
    renewSoon();
    poll();
}
begin();
