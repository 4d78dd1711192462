// facts.js: what the worker and the others do: policy, progress, notes, waking up, keeping the lease.

const POLL_MS = 2000;
const WAKE_MS = 1000; // while there is nothing to rank
const LEASE_MS = 40000; // a lease lasts 120 s
const HIDDEN_MS = 15 * 60000; // who looks something up in another tab keeps the task
const NEWS_MS = 20000;

async function fetchTask() {
    const { epoch } = now;
    const reply = await call("GET", "/task?ahead=" + AHEAD);
    const { status, data } = reply;
    now.serverNow = reply.now;
    if (now.busy || now.task || epoch !== now.epoch) return; // an undo or a save was quicker, and has shown its own
    now.trouble = status === 200 ? "" : why(reply);
    if (status === 200) {
        sessionStorage.removeItem("podium.reloaded");
        takeFacts(data);
        takeTasks(data);
        advance();
        if (now.task) say(t("say.next", { prompt: promptWords() }));
    } else {
        draw();
        if (status === 401) reloadOnce();
    }
}

/** A cookie of another run directory: the page's next visit makes a person here, and drafts stay. */
function reloadOnce() {
    if (sessionStorage.getItem("podium.reloaded") !== null) return;
    sessionStorage.setItem("podium.reloaded", "1");
    location.reload();
}

/** Counts and the last ranking, after something was changed elsewhere than on the screen. */
async function refreshFacts() {
    const { epoch } = now;
    const { status, data } = await call("GET", "/task?ahead=" + AHEAD);
    if (status !== 200 || epoch !== now.epoch) return;
    takeFacts(data);
    takeTasks(data);
    if (!now.task && !now.busy) advance();
    else draw();
}

function takeStatus(status) {
    const before = now.status?.policy_version;
    now.status = status;
    if (instructionsAreOld(status)) loadInstructions();
    const round = status.last_round;
    if (round && round.policy_version !== null && round.policy_version !== undefined) {
        now.rankingsOf[round.policy_version] = round.rankings;
    }
    if (round?.ended_at) now.took = round.ended_at - round.started_at;
    const version = status.policy_version;
    if (version > 0 && now.rankingsOf[version] === undefined) learnRounds();
    if (before !== undefined && before !== null && version !== before) {
        const words = newsWords(before, version, now.rankingsOf[version]);
        note(".pr-news", words);
        say(words);
        clearTimeout(now.newsTimer);
        now.newsTimer = setTimeout(() => note(".pr-news", ""), NEWS_MS);
        refreshFacts(); // what the rankings did
    }
}

/** Which rankings the earlier policies were trained on (needed after one was put back by hand), and how long the
    last round took. */
async function learnRounds() {
    now.rankingsOf[now.status.policy_version] = 0;
    const { status, data } = await call("GET", "/rounds");
    if (status !== 200) return;
    for (const round of data.rounds) if (round.policy_version) now.rankingsOf[round.policy_version] = round.rankings;
    const ended = data.rounds.find((round) => round.ended_at);
    if (ended) now.took = ended.ended_at - ended.started_at;
    drawFacts();
}

function note(selector, words) {
    $(selector).hidden = !words;
    setText($(selector).firstElementChild, words);
}

function drawFacts() {
    const { status, progress } = now;
    if (now.trouble) {
        $(".pr-worker").hidden = false;
        $(".pr-worker .pod-dot").className = "pod-dot bad";
        setText($(".pr-worker-words"), t("server.silent"));
    }
    if (!status || now.trouble) return;
    const policy = policyWords(status.policy_version, now.rankingsOf[status.policy_version]);
    setText($(".pr-policy"), policy);
    $(".pr-policy").hidden = !policy;
    const worker = workerWords(status.worker, status.now || now.serverNow);
    $(".pr-worker").hidden = false;
    $(".pr-worker .pod-dot").className = "pod-dot " + worker.dot;
    setText($(".pr-worker-words"), workerLine(status.worker, status.now || now.serverNow));
    note(".pr-broken", status.worker.state === "failed" && now.task
        ? t("worker.stopped", { reason: status.worker.error || t("worker.no.reason") })
        : "");
    $(".pr-starter").hidden = !status.starter || memory.get("starter-seen") === true;

    const programs = (status.programs || 0) + (status.judges || 0);  // to an annotator a judge is one too
    $(".pr-progress").hidden = !progress;
    if (!progress) return;
    setText($(".pr-mine"), t("you", { today: progress.mine_today, total: progress.mine_total }));
    const others = programs ? " " + t("project.programs", { n: programs }) : "";
    setText($(".pr-total"), t("project", { n: status.rankings }) + others);
    const needed = status.rankings_per_round || 1;
    const until = status.until_next_round ?? progress.until_next_round;
    const done = Math.min(needed, Math.max(0, needed - until));
    const meter = $(".pr-meter");
    meter.setAttribute("aria-valuemin", 0);
    meter.setAttribute("aria-valuemax", needed);
    meter.setAttribute("aria-valuenow", done);
    meter.firstElementChild.style.width = (100 * done) / needed + "%";
    setText($(".pr-until-words"), untilWords(until, status.next_policy));
    const effect = effectWords(progress.effect);
    setText($(".pr-effect"), effect);
    $(".pr-effect").hidden = !effect;
}

/** Between tasks only: a line that appears above the responses would move them under somebody's finger. */
function drawRound() {
    if (!now.status) return;
    note(".pr-round", memory.get("round-seen") === roundKey() ? "" : roundWords(now.status.last_round));
}

const roundKey = () => (now.status?.last_round ? now.status.last_round.id + "." + now.status.last_round.started_at : "");

function drawWaiting() {
    const unsaved = troubled && outbox.mine().length > 0;
    const { title, words, more } = unsaved
        ? { title: t("wait.unsaved"), words: now.trouble, more: outbox.kept ? t("unsaved.wait") : "" }
        : now.trouble
            ? { title: t("wait.trouble"), words: now.trouble, more: t("wait.trouble.more") }
            : waitingWords(now.status, now.status.rankings === 0, now.took);
    root.dataset.busy = String(!now.trouble && !unsaved && !DOTS[now.status.worker.state]);
    $("#pr-waiting-title").textContent = title;
    $(".pr-waiting-words").textContent = words;
    $(".pr-waiting-more").textContent = more;
    $(".pr-waiting .pr-undo").hidden = now.last === null;
}

let turn = 0; // of polling: coming back to the tab starts a new one, and the one before ends
async function poll() {
    const mine = ++turn;
    if (!document.hidden && !now.busy) {
        const reply = await call("GET", "/status");
        if (signal.aborted || mine !== turn) return;
        if (!now.busy) await takePoll(reply);
    }
    if (signal.aborted || mine !== turn) return;
    now.pollTimer = setTimeout(poll, now.task ? POLL_MS : WAKE_MS);
}

async function takePoll(reply) {
    now.serverNow = reply.now;
    const answersAgain = now.trouble !== "" && reply.status === 200;
    now.trouble = reply.status === 200 ? "" : why(reply);
    if (reply.status === 200) {
        takeStatus(reply.data);
        if (outbox.mine().length && (answersAgain || performance.now() >= retryAt)) await flush();
    }
    if (reply.status === 200 && !now.task && (reply.data.open_tasks > 0 || !now.progress)) await fetchTask();
    else if (now.task) drawFacts();
    else draw();
}

async function renewLease() {
    const task = now.practice ? now.practice.aside : now.task;
    if (!task || now.busy) return;
    if (document.hidden && performance.now() - now.hiddenAt > HIDDEN_MS) return;
    const { status, data } = await call("POST", "/tasks/" + task.id + "/lease", {});
    const gone = status === 404 || status === 409;
    if (gone && now.practice) now.practice.aside = null;
    else if (gone && now.task === task && !now.busy && !outbox.holds(task.id)) await moveAlong(data.error);
}

/** Closing the page gives its tasks back: others may have them in ten seconds. A reload is quicker, and another
    tab of the same person speaks up for its own. */
const tabs = new BroadcastChannel("podium");
function leave() {
    fetch("/api/leave", { method: "POST", keepalive: true }).catch(() => {});
    tabs.postMessage("left");
}
