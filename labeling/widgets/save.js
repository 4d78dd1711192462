// save.js: a ranking leaves the page, or comes back. The next task is in the reply: nobody waits for a model.

/** Sends a ranking or a skip and shows the next task. A failed one is kept, and sent again under the same nonce. */
async function save(answer) {
    if (now.busy || !now.task) return;
    const task = now.task;
    const key = JSON.stringify([task.id, answer]);
    const nonce = now.unsaved?.key === key ? now.unsaved.nonce : newNonce();
    now.busy = true;
    alarm("");
    draw();
    // written down before it is sent: a page that dies now asks again under the same nonce
    drafts.put(task, { ranks: now.ranks, remarks: now.remarks, unsaved: { key, nonce } });
    // the server takes up to a day, and a page may stay open longer
    const seconds = Math.min(86400, Math.round((performance.now() - now.shownAt) / 100) / 10);
    const body = { task_id: task.id, nonce, ...answer, seconds, run };
    const { status, data, now: at } = await call("POST", "/rankings", body);
    if (signal.aborted) return;
    now.busy = false;
    now.serverNow = at;
    if (status === 200 && data.ranking_id) {
        now.unsaved = null;
        // a skipped task keeps its draft: undo brings it back with the ranks it had
        if (answer.skip) keepDraft(task);
        else drafts.put(task, null);
        now.message = answer.skip ? "Skipped" : "Saved";
        show(data);
        say((answer.skip ? "Skipped. " : "Saved. ") + (data.task ? "Next task. " + promptWords() : "No task is waiting."));
    } else if (status === 404 || status === 409) {
        now.unsaved = null; // this nonce will never do
        keepDraft(task);
        await moveAlong(data.error);
        if (now.task?.id === task.id) askAgain();
    } else if (status === 0 || status === 200 || status >= 500) {
        now.unsaved = { key, nonce };
        askAgain();
        draw();
    } else {
        now.unsaved = null;
        alarm("Not saved: " + (data.error || "the server answered " + status + "."));
        draw();
    }
}

function askAgain() {
    alarm((pendingSkip() ? "Not skipped - " : "Not saved - ") + (onTouch() ? "tap Submit" : "press Enter") + " to try again");
}

/** The beginning of the prompt, for those who hear the page: the focus goes to the first response. */
function promptWords() {
    const words = $(".pr-prompt-text").textContent.trim().replace(/\s+/g, " ");
    return "Prompt: " + (words.length > 200 ? words.slice(0, 200) + " …" : words);
}

function submit() {
    if (pendingSkip()) return save(skipped());
    const absent = missing();
    const ranks = JSON.stringify(now.ranks);
    const { acceptable, strength, comment } = now.remarks;
    const answer = { ranks: dense(now.ranks), acceptable, strength, comment: comment.trim() };
    const again = now.unsaved?.key === JSON.stringify([now.task?.id, answer]); // was meant before
    if (whole() || (enough() && (now.asked === ranks || again))) return save(answer);
    if (enough()) { // may be meant, may be a slip: asked once
        now.asked = ranks;
        now.message = (onTouch() ? "Submit" : "Enter") + " again: " + orderWords(now.ranks);
        say(listed(absent.map(name)) + (absent.length === 1 ? " has" : " have") + " no rank yet. Enter again submits: worse than the others, and not compared.");
        draw();
        return;
    }
    now.message = "Still to rank: " + listed(absent.map((i) => LETTERS[i]));
    say(listed(absent.map(name)) + (absent.length === 1 ? " has" : " have") + " no rank yet.");
    goTo(absent.includes(now.current) ? now.current : absent[0], false);
    draw();
}

/** A skip, and why, if that was said. */
const skipped = () => ({ skip: true, comment: now.remarks.comment.trim() });

/** The task on the screen can no longer be ranked: say why, and go on with another. */
async function moveAlong(reason) {
    const task = now.task;
    now.task = null;
    await fetchTask();
    if (now.task?.id === task.id || now.trouble) return; // ours again after all, or may be, and its draft with it
    drafts.put(task, null);
    const words = reason || "This task is closed.";
    complain(now.task ? words + " Here is another one." : words);
}

/** Where it can be seen: without a task there is no bar. */
function complain(words) {
    if (now.task) alarm(words);
    else note(".pr-news", words);
}

async function undo() {
    if (now.busy) return;
    now.busy = true;
    draw();
    // names the one that is meant: when this reply is lost, asking again takes back no other
    const { status, data, now: at } = await call("POST", "/undo", { ranking_id: now.last, run });
    now.busy = false;
    now.serverNow = at;
    if (status === 200) {
        alarm("");
        now.message = "Brought back";
        now.task = null;
        const draft = drafts.get(data.task);
        if (draft) drafts.put(data.task, { ...draft, unsaved: null }); // its nonce is used up
        show(data);
        say("Brought back, with the ranks you gave. " + promptWords());
    } else {
        now.message = status === 409 ? "Nothing to undo" : "";
        if (status !== 409) complain("Not undone: " + (data.error || "the server answered " + status + "."));
        say(status === 409 ? "There is nothing to undo." : "Not undone.");
    }
    draw();
}
