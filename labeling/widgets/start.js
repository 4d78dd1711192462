// start.js: the page begins.

const drag = makeDrag(root, signal, { label: (i) => LETTERS[i], hint: dropHint, drop: dropped });
const KEYS = {
    Enter: submit,
    s: () => save(skipped()),
    n: toggleNone,
    w: () => { $(".pr-comment").open = true; $(".pr-comment textarea").focus(); },
    u: undo,
    t: tie,
    "?": () => $(".pr-sheet").showModal(),
    ArrowLeft: () => goTo((now.current + size() - 1) % size(), false),
    ArrowRight: () => goTo((now.current + 1) % size(), false),
    Backspace: () => { unrank(now.current); draw(); },
    Escape: () => drag.active() && drag.cancel(),
};
KEYS.Delete = KEYS.Backspace;
listenForKeys(root, signal, {
    enabled: () => $(".pr-keys-on").checked,
    act(key) {
        if (!now.task && key !== "u" && key !== "?") return false;
        if (/^[0-9]$/.test(key)) byDigit(Number(key));
        else if (/^[a-d]$/.test(key)) byLetter("abcd".indexOf(key));
        else return KEYS[key] !== undefined && KEYS[key]() !== false;
        return true;
    },
});
const unless = (button, act) => () => { if ($(button).getAttribute("aria-disabled") !== "true") act(); };
$(".pr-submit").addEventListener("click", submit); // says what is missing
$(".pr-skip").addEventListener("click", unless(".pr-skip", () => save(skipped())));
/** After a click the focus is back on the responses: Enter is to submit, and not to press the button again. */
const clicked = (act) => (event) => { act(); if (event.detail && now.task) goTo(now.current, false); };
$(".pr-none").addEventListener("click", clicked(toggleNone));
root.querySelectorAll(".pr-strength button").forEach((button, i) => {
    button.addEventListener("click", clicked(() => setStrength(now.remarks.strength === i + 1 ? 0 : i + 1)));
});
$(".pr-comment textarea").addEventListener("input", (event) => {
    now.remarks.comment = event.target.value;
    if (now.task) keepDraft(now.task);
});
$(".pr-comment textarea").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !now.task) return;
    event.preventDefault();
    goTo(now.current, false);
});
for (const button of root.querySelectorAll(".pr-undo")) button.addEventListener("click", undo);
$(".pr-clear").addEventListener("click", unless(".pr-clear", clearOrPutBack));
$(".pr-help").addEventListener("click", () => $(".pr-sheet").showModal());
$(".pr-starter button").addEventListener("click", () => { memory.put("starter-seen", true); drawFacts(); });
$(".pr-round button").addEventListener("click", () => { memory.put("round-seen", roundKey()); drawRound(); });
$(".pr-news button").addEventListener("click", () => note(".pr-news", ""));
$(".pr-keys-on").checked = memory.get("keys") !== false;
$(".pr-keys-on").addEventListener("change", (event) => memory.put("keys", event.target.checked));
document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
        now.hiddenAt = performance.now();
        return;
    }
    renewLease();
    clearTimeout(now.pollTimer);
    poll();
}, { signal });
const leases = setInterval(renewLease, LEASE_MS);
signal.addEventListener("abort", () => {
    clearInterval(leases);
    clearTimeout(now.pollTimer);
});
note(".pr-news", memory.get("news") || "");
memory.put("news", null);
fetchTask().then(poll);
