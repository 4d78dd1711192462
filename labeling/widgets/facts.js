// facts.js: what the worker and the others do: policy, progress, notes, waking up, keeping the lease.

const POLL_MS = 2000;
const WAKE_MS = 1000; // while there is nothing to rank
const LEASE_MS = 40000; // a lease lasts 120 s
const HIDDEN_MS = 15 * 60000; // who looks something up in another tab keeps the task
const NEWS_MS = 20000;

async function fetchTask() {
    const { status, data, now: at } = await call("GET", "/task");
    now.serverNow = at;
    if (now.busy || now.task) return; // an undo or a save was quicker, and has shown its own
    now.trouble = status === 200 ? "" : data.error || "The server answered " + status + ".";
    if (status === 200) show(data);
    else draw();
    // A cookie of another run directory: the page's next visit makes a person here, and the draft stays.
    if (status === 401 && sessionStorage.getItem("podium.reloaded") === null) {
        sessionStorage.setItem("podium.reloaded", "1");
        location.reload();
    }
    if (status === 200) sessionStorage.removeItem("podium.reloaded");
}

function takeStatus(status) {
    const before = now.status?.policy_version;
    now.status = status;
    const round = status.last_round;
    if (round && round.policy_version !== null && round.policy_version !== undefined) {
        now.rankingsOf[round.policy_version] = round.rankings;
    }
    const version = status.policy_version;
    if (version > 0 && now.rankingsOf[version] === undefined) learnRounds();
    if (before !== undefined && before !== null && version !== before) {
        const words = newsWords(before, version, now.rankingsOf[version]);
        note(".pr-news", words);
        say(words);
        clearTimeout(now.newsTimer);
        now.newsTimer = setTimeout(() => note(".pr-news", ""), NEWS_MS);
    }
}

/** Which rankings the earlier policies were trained on; needed after a policy was put back by hand. */
async function learnRounds() {
    now.rankingsOf[now.status.policy_version] = 0;
    const { status, data } = await call("GET", "/rounds");
    if (status !== 200) return;
    for (const round of data.rounds) if (round.policy_version) now.rankingsOf[round.policy_version] = round.rankings;
    drawFacts();
}

function note(selector, words) {
    $(selector).hidden = !words;
    $(selector).firstElementChild.textContent = words;
}

function drawFacts() {
    const { status, progress } = now;
    if (now.trouble) {
        $(".pr-worker").hidden = false;
        $(".pr-worker .pod-dot").className = "pod-dot bad";
        $(".pr-worker-words").textContent = "the server does not answer";
    }
    if (!status || now.trouble) return;
    const policy = policyWords(status.policy_version, now.rankingsOf[status.policy_version]);
    $(".pr-policy").textContent = policy;
    $(".pr-policy").hidden = !policy;
    const worker = workerWords(status.worker, status.now || now.serverNow);
    $(".pr-worker").hidden = false;
    $(".pr-worker .pod-dot").className = "pod-dot " + worker.dot;
    $(".pr-worker-words").textContent = workerLine(status.worker, status.now || now.serverNow);
    note(".pr-broken", status.worker.state === "failed" && now.task
        ? "The worker stopped: " + (status.worker.error || "it gave no reason.") + " You can go on ranking."
        : "");
    $(".pr-starter").hidden = !status.starter || memory.get("starter-seen") === true;

    $(".pr-progress").hidden = !progress;
    if (!progress) return;
    $(".pr-mine").textContent = "You: " + count(progress.mine_today) + " today, " + count(progress.mine_total) + " in all";
    $(".pr-total").textContent = "Project: " + plural(status.rankings, "ranking", "rankings")
        + (status.programs ? " (" + count(status.programs) + " by programs)" : "");
    const needed = status.rankings_per_round || 1;
    const until = status.until_next_round ?? progress.until_next_round;
    const done = Math.min(needed, Math.max(0, needed - until));
    const meter = $(".pr-meter");
    meter.setAttribute("aria-valuemin", 0);
    meter.setAttribute("aria-valuemax", needed);
    meter.setAttribute("aria-valuenow", done);
    meter.firstElementChild.style.width = (100 * done) / needed + "%";
    $(".pr-until-words").textContent = untilWords(until);
}

/** Between tasks only: a line that appears above the responses would move them under somebody's finger. */
function drawRound() {
    note(".pr-round", memory.get("round-seen") === roundKey() ? "" : roundWords(now.status.last_round));
}

const roundKey = () => (now.status?.last_round ? now.status.last_round.id + "." + now.status.last_round.started_at : "");

function drawWaiting() {
    const { title, words, more } = now.trouble
        ? { title: "No answer", words: now.trouble, more: "This page tries again by itself." }
        : waitingWords(now.status, now.status.rankings === 0);
    root.dataset.busy = String(!now.trouble && !DOTS[now.status.worker.state]);
    $("#pr-waiting-title").textContent = title;
    $(".pr-waiting-words").textContent = words;
    $(".pr-waiting-more").textContent = more;
    $(".pr-waiting .pr-undo").hidden = now.last === null;
}

let turn = 0; // of polling: coming back to the tab starts a new one, and the one before ends
async function poll() {
    const mine = ++turn;
    if (!document.hidden && !now.busy) {
        const { status, data, now: at } = await call("GET", "/status");
        if (signal.aborted || mine !== turn) return;
        if (!now.busy) await takePoll(status, data, at);
    }
    if (signal.aborted || mine !== turn) return;
    now.pollTimer = setTimeout(poll, now.task ? POLL_MS : WAKE_MS);
}

async function takePoll(status, data, at) {
    now.serverNow = at;
    now.trouble = status === 200 ? "" : data.error || "The server answered " + status + ".";
    if (status === 200) takeStatus(data);
    if (status === 200 && !now.task && (data.open_tasks > 0 || !now.progress)) await fetchTask();
    else if (now.task) drawFacts();
    else draw();
}

async function renewLease() {
    const task = now.task;
    if (!task || now.busy) return;
    if (document.hidden && performance.now() - now.hiddenAt > HIDDEN_MS) return;
    const { status, data } = await call("POST", "/tasks/" + task.id + "/lease", {});
    if ((status === 404 || status === 409) && now.task === task && !now.busy) await moveAlong(data.error);
}
