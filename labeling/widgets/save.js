// save.js: a ranking leaves the page, or comes back. The next task is here already and is shown at once; what was
// submitted goes out behind it, in order, and again under the same nonce until the server has it.

const AHEAD = 2; // tasks that follow the one on the screen
const RETRY_S = [1, 2, 4, 8, 15, 30];
const SAY_AFTER_MS = 400; // a reply that comes sooner says it in one go

/** Hands over what is on the screen, and shows the next task. */
function hand(answer) {
    if (now.busy || !now.task || outbox.holds(now.task.id)) return;
    const { task } = now;
    const skip = Boolean(answer.skip);
    const body = { task_id: task.id, nonce: newNonce(), ...answer, seconds: clock.seconds(), guidelines: now.under, run };
    outbox.add(structuredClone({ nonce: body.nonce, body, task, ranks: now.ranks, remarks: now.remarks, run, at: Date.now() }));
    // a skipped task keeps its draft: undo brings it back with the ranks it had
    if (skip) keepDraft();
    else drafts.put(task, null);
    alarm("");
    now.message = "";
    now.busy = now.queue.length === 0;
    if (now.busy) { // nothing follows: it stays on the screen until the reply brings another
        draw();
        flush();
        return;
    }
    advance();
    setTimeout(flush); // it is written down, and the next task is on the screen sooner
    clearTimeout(sayTimer);
    sayTimer = setTimeout(() => { say(t("say.next", { prompt: promptWords() })); sayTimer = 0; }, SAY_AFTER_MS);
}

let sayTimer = 0;
let sending = null; // the promise of the one that runs
let failures = 0;
let troubled = false; // from a failure until all is stored
let retryTimer = 0;
let retryAt = 0; // by performance.now()

/** Sends what waits, oldest first; one at a time. Resolves to whether all of it is stored. */
function flush() {
    clearTimeout(retryTimer);
    sending ??= sendAll().finally(() => { sending = null; });
    return sending;
}

async function sendAll() {
    for (let entry = outbox.mine()[0]; entry; entry = outbox.mine()[0]) {
        const reply = await call("POST", "/rankings", { ...entry.body, ahead: AHEAD });
        if (signal.aborted) return false;
        now.serverNow = reply.now;
        const { status, data } = reply;
        const stored = status === 200 && data.ranking_id;
        const later = !stored && (status === 0 || status === 200 || status === 401 || status === 429 || status >= 500);
        if (later || !(stored || (await takeRefusal(entry, reply)))) {
            sendLater();
            if (status === 401) reloadOnce();
            return false;
        }
        failures = 0;
        troubled &&= outbox.mine().length > 1;
        if (stored) takeStored(entry, data);
        if (now.practice) continue;
        // What is on the screen may be on its way as well, and is not to be ranked twice.
        if (now.task && outbox.holds(now.task.id) && now.queue.length) advance();
        now.busy = Boolean(now.task && outbox.holds(now.task.id));
        draw();
    }
    return true;
}

function sendLater() {
    failures += 1;
    troubled = true;
    now.busy = false;
    const wait = 1000 * RETRY_S[Math.min(failures, RETRY_S.length) - 1];
    retryAt = performance.now() + wait;
    retryTimer = setTimeout(flush, wait);
    if (now.task && outbox.holds(now.task.id)) advance();
    else draw();
    if (failures === 1) say($(".pr-unsaved span").textContent);
}

function takeStored(entry, data) {
    outbox.remove(entry.nonce);
    now.epoch += 1;
    takeFacts(data);
    const waiting = !now.task || now.task.id === entry.task.id; // it is what the screen waited for
    if (waiting) now.task = null;
    now.busy = false;
    takeTasks(data);
    const untouched = waiting || !now.ranks.some(Boolean);
    if (untouched) now.message = t(entry.body.skip ? "skipped" : "saved");
    const quick = sayTimer !== 0;
    clearTimeout(sayTimer);
    sayTimer = 0;
    if (waiting && !now.practice) advance();
    else draw();
    const next = now.task ? t("say.next", { prompt: promptWords() }) : t("say.no.task");
    if (untouched) say(t(entry.body.skip ? "skipped" : "saved") + "." + (quick || waiting ? " " + next : ""));
}

/** Refused for good: the task is closed or somebody else's, or what was sent is wrong. Resolves to whether that
    is so: while it cannot be known, the entry stays. */
async function takeRefusal(entry, reply) {
    const reason = why(reply);
    if (reply.status === 404 || reply.status === 409) {
        // This loads the page again when another run is served: then the entry stays, and waits for its own.
        const { status, data } = await call("GET", "/task?ahead=" + AHEAD);
        if (status !== 200) return false;
        outbox.remove(entry.nonce);
        now.epoch += 1;
        quitPractice();
        const here = now.task?.id === entry.task.id;
        const mine = data.task?.id === entry.task.id; // ours again after all: a ranking that was taken back elsewhere
        if (mine || here) now.task = null;
        if (mine) drafts.put(entry.task, { ranks: entry.ranks, remarks: entry.remarks });
        takeFacts(data);
        takeTasks(data);
        if (!now.task) advance();
        if (mine) alarm(t("refused.this", { reason }));
        else refused(t("refused.other", { prompt: beginning(entry.task.prompt, 60), reason }));
        return true;
    }
    // It should not have been sent: here it is again, with why.
    outbox.remove(entry.nonce);
    quitPractice();
    if (now.task && now.task.id !== entry.task.id) {
        keepDraft();
        now.queue.unshift(now.task);
    }
    drafts.put(entry.task, { ranks: entry.ranks, remarks: entry.remarks });
    show(entry.task);
    alarm(t("refused", { reason }));
    return true;
}

/** Stays until it is closed: who types on would not have seen it. */
function refused(words) {
    const before = $(".pr-refused > span").textContent;
    note(".pr-refused", before ? before + " " + words : words);
}

function drawUnsaved() {
    const n = outbox.mine().length;
    const words = n && troubled ? t("unsaved", { n }) : "";
    $(".pr-unsaved").hidden = !words;
    setText($(".pr-unsaved span"), words);
}

/** The beginning of the prompt, for those who hear the page: the focus goes to the first response. */
const promptWords = () => beginning($(".pr-prompt-text").textContent, 200);

function submit() {
    if (!now.task || now.busy) return;
    const absent = missing();
    const ranks = JSON.stringify(now.ranks);
    const same = hasBetter(now.remarks) ? sameAsBetter() : -1;
    if (same >= 0) {
        alarm(t("better.same", { letter: LETTERS[same] }));
        return;
    }
    if (whole() || (enough() && now.asked === ranks)) {
        if (now.practice) judgePractice();
        else hand(rankedAnswer());
        return;
    }
    if (enough()) { // may be meant, may be a slip: asked once
        now.asked = ranks;
        now.message = t(onTouch() ? "hint.again.touch" : "hint.again.key", { order: orderWords(now.ranks, now.remarks) });
        say(t("say.missing", { n: absent.length, names: listed(absent.map(name)) }) + " " + t("say.again"));
        draw();
        return;
    }
    now.message = t("hint.missing", { letters: listed(absent.map((i) => LETTERS[i])) });
    say(t("say.missing", { n: absent.length, names: listed(absent.map(name)) }));
    goTo(absent.includes(now.current) ? now.current : absent[0], false);
    draw();
}

function rankedAnswer() {
    const { acceptable, strength, comment, marks, better } = now.remarks;
    return {
        ranks: dense(now.ranks),
        acceptable,
        strength,
        comment: comment.trim(),
        marks: marks.some(isMarked) ? marks : [],
        better: hasBetter(now.remarks) ? { text: better.text.trim(), started_from: better.started_from ?? null } : null,
    };
}

/** Asks why, once; nothing has to be said. */
function askSkip() {
    if (now.busy || !now.task) return;
    if (now.practice) return nextPractice();
    const reasons = now.form?.skip_reasons || [];
    if (!reasons.length) return skip("");
    now.skipping = !now.skipping;
    const choice = (key, words, act, className = "") => {
        const button = make("button", "pod-btn " + className);
        button.type = "button";
        button.append(make("span", "pod-kbd", key), " ", words);
        button.firstChild.setAttribute("aria-hidden", "true");
        button.addEventListener("click", act);
        return button;
    };
    $(".pr-why").replaceChildren(
        make("span", "pr-label", t("skip.why")),
        ...reasons.map((reason, i) => choice(i < 9 ? i + 1 : "", named(reason), () => skip(reason))),
        choice("S", t("skip.no.reason"), () => skip("")),
        choice("Esc", t("skip.cancel"), cancelSkip, "quiet"),
    );
    if (now.skipping) say(t("skip.why") + " " + reasons.map((reason, i) => i + 1 + " " + named(reason)).join(", "));
    draw();
}

const skip = (reason) => hand({ skip: true, skip_reason: reason, comment: now.remarks.comment.trim() });

function cancelSkip() {
    now.skipping = false;
    goTo(now.current, false);
    draw();
}

/** A key while it is asked why. True when it was an answer. */
function answerSkip(key) {
    if (key === "s" || key === "Enter") skip("");
    else if (key === "Escape") cancelSkip();
    else if (/^[1-9]$/.test(key) && now.form.skip_reasons[key - 1]) skip(now.form.skip_reasons[key - 1]);
    else {
        now.skipping = false; // who goes on ranking does not want it skipped
        return false;
    }
    return true;
}

/** The task on the screen can no longer be ranked: say why, and go on with another. */
async function moveAlong(reason) {
    const { task } = now;
    now.task = null;
    await fetchTask();
    if (now.task?.id === task.id || now.trouble) return; // ours again after all, or may be, and its draft with it
    const words = reason || t("closed");
    complain(now.task ? t("another", { reason: words }) : words);
}

/** Where it can be seen: without a task there is no bar. */
function complain(words) {
    if (now.task) alarm(words);
    else note(".pr-news", words);
}

async function undo() {
    if (now.busy || now.practice) return;
    if (outbox.mine().length && !(await flush())) return complain(t("undo.waits"));
    await bringBack(now.last);
}

/** Brings a ranking back to the screen; it is withdrawn until it is submitted again. Resolves to why not, or "". */
async function bringBack(rankingId) {
    if (now.busy) return "";
    quitPractice();
    keepDraft();
    now.busy = true;
    draw();
    // names the one that is meant: when this reply is lost, asking again takes back no other
    const reply = await call("POST", "/undo", { ranking_id: rankingId, ahead: AHEAD, run });
    const { status, data } = reply;
    now.busy = false;
    now.serverNow = reply.now;
    if (status === 200) {
        alarm("");
        note(".pr-news", "");
        now.epoch += 1;
        takeFacts(data);
        now.task = null;
        // What was sent is what comes back; a skip is sent without the ranks that it had.
        if (data.task.previous_ranks) drafts.put(data.task, null);
        takeTasks({ ...data, task: null });
        now.message = t("brought");
        show(data.task);
        say(t("say.brought", { prompt: promptWords() }));
        return "";
    }
    const nothing = status === 409 && now.last === null;
    now.message = nothing ? t("undo.nothing") : "";
    if (!nothing) complain(t("undo.failed", { reason: why(reply) }));
    say(nothing ? t("undo.nothing") : t("undo.failed", { reason: why(reply) }));
    draw();
    return why(reply);
}
