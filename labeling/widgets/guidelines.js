// guidelines.js: the guidelines, shown at the first visit and when they have changed, and four tasks of practice.

let loading = false;
async function loadInstructions() {
    if (loading) return;
    loading = true;
    const [form, guidelines] = await Promise.all([call("GET", "/form"), call("GET", "/guidelines")]);
    if (form.status === 200) [now.form, now.formChanges] = [form.data.form, form.data.form_changes];
    if (guidelines.status === 200) now.guidelines = guidelines.data;
    loading = false;
}

/** Whether the server has others than the page. */
const instructionsAreOld = (status) =>
    !now.guidelines || !now.form || status.guidelines !== now.guidelines.version || status.form_changes !== now.formChanges;

const versionRead = () => (memory.get("guidelines") || {})[run];

/** Between two tasks, once for each version. */
function showGuidelinesOnce() {
    if (!now.guidelines || now.practice || covered() || versionRead() === now.guidelines.version) return;
    openGuidelines(t(versionRead() === undefined ? "guidelines.first" : "guidelines.changed"));
}

function openGuidelines(lead = "") {
    if (!now.guidelines || covered()) return;
    $(".pr-guidelines-lead").textContent = lead;
    $(".pr-guidelines-lead").hidden = !lead;
    $(".pr-guidelines-text").innerHTML = now.guidelines.html;
    $(".pr-guidelines-version").textContent = now.guidelines.version ? t("guidelines.version", { n: now.guidelines.version }) : "";
    $(".pr-guidelines-close").textContent = t(lead ? "guidelines.start" : "close");
    $(".pr-guidelines").returnValue = "";
    $(".pr-guidelines").showModal();
    // When they have changed, who types on must not close them with the keys of the next ranking.
    const typing = lead && versionRead() !== undefined;
    (typing ? $("#pr-guidelines-title") : $(".pr-guidelines-close")).focus();
    $(".pr-guidelines").scrollTo(0, 0);
}

function guidelinesClosed() {
    memory.put("guidelines", { ...memory.get("guidelines"), [run]: now.guidelines.version });
    now.under = now.guidelines.version;
    // who had to read them first has not begun with the task before
    if (now.task && !$(".pr-guidelines-lead").hidden) clock.start(drafts.get(now.task)?.seconds || 0);
    if ($(".pr-guidelines").returnValue === "practise") startPractice();
    else if (now.task) cards[now.current].focus({ preventScroll: true });
}

// ---- practice: nothing of it leaves the page -----------------------------------------------------------------

const PRACTICE = [ // the ranks we would give; all 0: none acceptable
    { ranks: [1, 2] },
    { ranks: [3, 1, 4, 2] },
    { ranks: [1, 2, 1] },
    { ranks: [0, 0] },
];

function practiceTask(step) {
    const text = (part) => t("practice." + (step + 1) + "." + part);
    const safe = (words) => make("p", "", words).outerHTML;
    return {
        id: "practice " + step,
        prompt: text("prompt"),
        prompt_html: safe(text("prompt")),
        responses: PRACTICE[step].ranks.map((_, i) => text("abcd"[i])).map((words) => ({ text: words, html: safe(words) })),
    };
}

function startPractice() {
    if (now.practice) return;
    keepDraft();
    now.practice = { step: 0, aside: now.task && !outbox.holds(now.task.id) ? now.task : null };
    now.busy = false;
    showPractice();
}

function showPractice() {
    const { step } = now.practice;
    $(".pr-practice").hidden = false;
    $(".pr-practice > span").textContent = t("practice", { n: step + 1, of: PRACTICE.length });
    now.message = "";
    alarm("");
    show(practiceTask(step));
    say(t("say.next", { prompt: promptWords() }));
}

function judgePractice() {
    const { step } = now.practice;
    const wanted = PRACTICE[step].ranks;
    const none = wanted.every((rank) => rank === 0);
    const right = none ? noneAcceptable() : JSON.stringify(dense(now.ranks)) === JSON.stringify(wanted);
    const order = none ? t("hint.none") : orderWords(wanted, NO_REMARKS);
    $("#pr-lesson-title").textContent = right ? t("practice.right") : t("practice.wrong", { order });
    setKeyed($(".pr-lesson-why"), t("practice." + (step + 1) + ".why"));
    $(".pr-lesson-next").textContent = t(step + 1 < PRACTICE.length ? "practice.next" : "practice.done");
    $(".pr-lesson").showModal();
}

function nextPractice() {
    if (!now.practice) return;
    now.practice.step += 1;
    if (now.practice.step < PRACTICE.length) showPractice();
    else leavePractice();
}

function leavePractice() {
    quitPractice();
    advance();
}

/** Back to what is real: the task that was put aside comes next. */
function quitPractice() {
    if (!now.practice) return;
    const { aside } = now.practice;
    now.practice = null;
    now.task = null;
    if (aside) now.queue.unshift(aside);
    if ($(".pr-lesson").open) $(".pr-lesson").close();
    $(".pr-practice").hidden = true;
    now.message = "";
    alarm("");
}
