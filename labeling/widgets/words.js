// words.js: facts from the API put into sentences. Pure functions, no page.

const LETTERS = "ABCD";
const strengthWords = (strength) => t("strength." + strength); // of two
const DOTS = { idle: "good", paused: "warn", failed: "bad" };
const STATES = ["starting", "generating", "reward_model", "ppo", "dpo", "sft", "publishing", "idle", "paused", "failed"];
const stateWords = (state) => (STATES.includes(state) ? t("worker." + state) : state);

/** What the worker is doing: {dot, words, detail}. `now` is the server's clock in seconds. The detail is the
    worker's own sentence, in English. */
function workerWords(worker, now) {
    if (tooSilent(worker, now)) {
        const minutes = Math.round((now - worker.seen) / 60);
        return { dot: "warn", words: t("worker.silent", { n: Math.max(1, minutes) }), detail: "" };
    }
    return {
        dot: DOTS[worker.state] || "busy",
        words: stateWords(worker.state),
        detail: worker.state === "failed" ? "" : worker.detail || "",
    };
}

/** One line: the detail of these states is a whole phrase, and with the state's own words it would say it twice. */
const SAYS_IT_ALL = ["starting", "generating", "reward_model", "idle"];
function workerLine(worker, now) {
    const { words, detail } = workerWords(worker, now);
    if (!detail || (language !== "en" && SAYS_IT_ALL.includes(worker.state))) return t("worker", { words });
    return t("worker", { words: SAYS_IT_ALL.includes(worker.state) ? detail : joined([words, detail]) });
}

/** "policy 2, trained on 132 rankings". `rankings` is null while it is not known. */
function policyWords(version, rankings) {
    if (version === null || version === undefined) return "";
    if (version === 0) return t("policy.0");
    return rankings ? t("policy.trained", { version, n: rankings }) : t("policy", { version });
}

function newsWords(before, version, rankings) {
    if (version < before) return t("news.back", { version });
    return rankings ? t("news.learned", { version, n: rankings }) : t("news.live", { version });
}

function untilWords(until, version) {
    return until > 0 ? t("until", { n: until, version }) : t("until.enough");
}

/** What the rankings did: the win rate over the policy before, where the round measured one. */
function effectWords(effect) {
    if (!effect || effect.win_rate === null || effect.win_rate === undefined) return "";
    return t("effect", {
        version: effect.policy_version,
        before: effect.parent_version,
        rankings: effect.rankings,
        mine: effect.mine,
        rate: Math.round(100 * effect.win_rate),
        half: Math.round(50 * (effect.win_rate_high - effect.win_rate_low)),
    });
}

/** A round that published nothing says why; a published one speaks through the policy line. */
function roundWords(round) {
    if (!round || !["rejected", "failed", "stopped"].includes(round.state)) return "";
    const reason = round.reason ? round.reason.replace(/[.]$/, "") + "." : "";
    return t("round." + round.state, { id: round.id, reason, parent: round.parent_version }).replace("  ", " ");
}

/** The page while there is nothing to rank: {title, words, more}. `took`: seconds of the last round, if known. */
function waitingWords(status, nothingYet, took) {
    const { state, detail, error } = status.worker;
    const more = t("wait.more");
    if (state === "failed") return { title: t("wait.stopped"), words: error || t("worker.no.reason"), more };
    if (state === "paused") return { title: t("wait.paused"), words: t("wait.paused.words"), more };
    if (state === "starting") return { title: t("wait.starting"), words: detail || t("wait.starting.words"), more };
    if (state === "generating") return { title: t(nothingYet ? "wait.first" : "wait.generating"), words: detail, more };
    if (state === "idle") return { title: t("wait.idle"), words: t("wait.idle.words"), more };
    const words = t("wait.round.words", { words: stateWords(state) + (detail ? " (" + detail + ")" : "") });
    return { title: t("wait.round"), words, more: (took ? t("wait.round.took", { n: Math.round(took) }) + " " : "") + more };
}

/** "Best", "2nd, tied with A and C"; "Not ranked" for none. */
function rankWords(ranks, index) {
    if (!ranks[index]) return t("place.none");
    const mates = ranks.flatMap((rank, i) => (rank === ranks[index] && i !== index ? [LETTERS[i]] : []));
    const place = t("place." + ranks[index]);
    return mates.length ? t("place.tied", { place, others: listed(mates) }) : place;
}

/** Ranks without gaps, as they are sent: [1, 1, 4, 0] -> [1, 1, 2, null]. */
function dense(ranks) {
    const places = [...new Set(ranks.filter(Boolean))].sort((a, b) => a - b);
    return ranks.map((rank) => (rank ? places.indexOf(rank) + 1 : null));
}

/** The order that will be stored: "A = C > B > D", "yours > A > the rest", "slightly" where it is said. */
function orderWords(ranks, remarks) {
    const places = dense(ranks);
    const at = (place) => places.flatMap((other, i) => (other === place ? [LETTERS[i]] : [])).join(" = ");
    const names = [...new Set(places.filter(Boolean))].sort().map(at);
    if (hasBetter(remarks)) names.unshift(t("better.yours"));
    if (places.includes(null) && names.length) names.push(t("order.rest"));
    const order = names.join(" > ");
    // Isolated, from left to right: between words of Arabic the signs would turn around.
    const steady = RIGHT_TO_LEFT.includes(language) && order ? "\u2066" + order + "\u2069" : order;
    return joined([steady, remarks.strength ? strengthWords(remarks.strength).toLowerCase() : ""]);
}

const joined = (parts) => parts.filter(Boolean).join(t("comma"));
const hasBetter = (remarks) => Boolean(remarks.better?.text.trim());

/** The beginning of a text, for a line. */
function beginning(text, length) {
    const words = text.trim().replace(/\s+/g, " ");
    return words.length > length ? words.slice(0, length) + " …" : words;
}
