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
    drafts.put(task, { ranks: now.ranks, unsaved: { key, nonce } });
    const seconds = Math.round((performance.now() - now.shownAt) / 100) / 10;
    const { status, data, now: at } = await call("POST", "/rankings", { task_id: task.id, nonce, ...answer, seconds });
    if (signal.aborted) return;
    now.busy = false;
    now.serverNow = at;
    if (status === 200) {
        now.unsaved = null;
        // a skipped task keeps its draft: undo brings it back with the ranks it had
        drafts.put(task, answer.skip && now.ranks.some(Boolean) ? { ranks: now.ranks, unsaved: null } : null);
        now.message = answer.skip ? "Skipped" : "Saved";
        show(data);
        say((answer.skip ? "Skipped. " : "Saved. ") + (data.task ? "Next task." : "No task is waiting."));
    } else if (status === 404 || status === 409) {
        await moveAlong(data.error);
    } else if (status === 0 || status >= 500) {
        now.unsaved = { key, nonce };
        const touch = matchMedia("(hover: none) and (pointer: coarse)").matches;
        alarm("Not saved - " + (touch ? "tap Submit" : "press Enter") + " to try again");
        draw();
    } else {
        now.unsaved = null;
        alarm("Not saved: " + (data.error || "the server answered " + status + "."));
        draw();
    }
}

function submit() {
    if (complete()) return save({ ranks: dense(now.ranks) });
    if (now.unsaved && JSON.parse(now.unsaved.key)[1].skip) return save({ skip: true });
    const absent = missing();
    now.message = "Still to rank: " + listed(absent.map((i) => LETTERS[i]));
    say(listed(absent.map(name)) + (absent.length === 1 ? " has" : " have") + " no rank yet.");
    goTo(absent.includes(now.current) ? now.current : absent[0], false);
    draw();
}

/** The task on the screen can no longer be ranked: say why, and go on with another. */
async function moveAlong(reason) {
    const task = now.task;
    now.task = null;
    await fetchTask();
    if (now.task?.id === task.id) return; // ours again after all, and its draft with it
    drafts.put(task, null);
    const words = reason || "This task is closed.";
    if (now.task) alarm(words + " Here is another one.");
    else note(".pr-news", words);
}

async function undo() {
    if (now.busy) return;
    now.busy = true;
    draw();
    const { status, data, now: at } = await call("POST", "/undo", {});
    now.busy = false;
    now.serverNow = at;
    if (status === 200) {
        alarm("");
        now.message = "Brought back";
        now.task = null;
        show(data);
        say("Brought back, with the ranks you gave.");
    } else {
        now.message = status === 409 ? "Nothing to undo" : "";
        if (status !== 409) alarm("Not undone: " + (data.error || "the server answered " + status + "."));
        say(status === 409 ? "There is nothing to undo." : "Not undone.");
    }
    draw();
}
