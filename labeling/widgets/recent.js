// recent.js: the ten latest, each of which can be changed or withdrawn.

const SURE_MS = 400;

async function openRecent() {
    $(".pr-recent-words").textContent = "";
    if (!$(".pr-recent").open) $(".pr-recent").showModal();
    if (outbox.mine().length) await flush(); // the last one may be on its way
    await fillRecent();
}

async function fillRecent() {
    const reply = await call("GET", "/rankings?limit=10");
    if (reply.status !== 200) {
        $(".pr-recent-words").textContent = t("recent.failed", { reason: why(reply) });
        return;
    }
    const rows = reply.data.rankings.map(recentRow);
    $(".pr-recent-list").replaceChildren(...rows);
    if (!rows.length && !$(".pr-recent-words").textContent) $(".pr-recent-words").textContent = t("recent.none");
}

function recentRow(ranking) {
    const row = make("li", "pr-recent-row");
    const prompt = make("p", "pr-recent-prompt", beginning(ranking.prompt, 120));
    prompt.dir = "auto";
    const facts = [
        new Date(ranking.at * 1000).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" }),
        recentWords(ranking),
        ranking.changed ? t("recent.changed") : "",
    ];
    const short = beginning(ranking.prompt, 60);
    const change = recentButton("recent.change", t("recent.change.this", { prompt: short }));
    change.addEventListener("click", async () => {
        const failed = (outbox.mine().length && !(await flush()) && t("undo.waits")) || (await bringBack(ranking.id));
        if (failed) $(".pr-recent-words").textContent = t("recent.failed", { reason: failed });
        else {
            $(".pr-recent").close();
            if (now.task) goTo(now.current, false); // and not the button that opened the list
        }
    });
    const withdraw = recentButton("recent.withdraw", t("recent.withdraw.this", { prompt: short }));
    let sure = false;
    withdraw.addEventListener("click", async () => {
        if (!sure) { // not with one press
            sure = true;
            withdraw.setAttribute("aria-disabled", "true"); // nor with a double click, or a key that is held down
            setTimeout(() => withdraw.removeAttribute("aria-disabled"), SURE_MS);
            withdraw.textContent = t("recent.sure");
            withdraw.setAttribute("aria-label", t("recent.sure") + ": " + short);
            $(".pr-recent-words").textContent = t("recent.sure") + "?";
            return;
        }
        if (withdraw.hasAttribute("aria-disabled")) return;
        const reply = await call("POST", "/rankings/" + ranking.id + "/withdraw", {});
        $(".pr-recent-words").textContent = reply.status === 204 ? t("recent.withdrawn") : t("recent.failed", { reason: why(reply) });
        await fillRecent();
        refreshFacts();
        $(".pr-recent form button").focus();
    });
    const buttons = make("div", "pr-recent-buttons");
    buttons.append(change, withdraw);
    row.append(prompt, make("p", "pr-recent-facts pod-muted", facts.filter(Boolean).join(" · ")), buttons);
    return row;
}

function recentButton(key, label) {
    const button = make("button", "pod-btn", t(key));
    button.type = "button";
    button.setAttribute("aria-label", label);
    return button;
}

function recentWords(ranking) {
    if (!ranking.ranks) return t("skipped") + (ranking.skip_reason ? ": " + named(ranking.skip_reason) : "");
    const none = ranking.acceptable === false ? t("hint.none") : "";
    const order = ranking.ranks.some(Boolean) || hasBetter(ranking) ? orderWords(ranking.ranks.map((rank) => rank || 0), ranking) : "";
    return joined([order, none]);
}
