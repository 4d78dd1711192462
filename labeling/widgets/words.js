// words.js: facts from the API put into sentences. Pure functions, no page.

const LETTERS = "ABCD";
const PLACES = ["Best", "2nd", "3rd", "4th"];
const STRENGTHS = ["Slightly better", "Clearly better", "Much better"]; // of two
const count = (n) => Number(n || 0).toLocaleString("en");
const plural = (n, one, many) => count(n) + " " + (n === 1 ? one : many);

const WORKER = {
    starting: "starting",
    generating: "writing responses",
    reward_model: "training the reward model",
    ppo: "training the policy",
    publishing: "publishing the new policy",
    idle: "waiting for rankings",
    paused: "paused",
    failed: "stopped by an error",
};
const DOTS = { idle: "good", paused: "warn", failed: "bad" };

/** What the worker is doing: {dot, words, detail}. `now` is the server's clock in seconds. */
function workerWords(worker, now) {
    if (tooSilent(worker, now)) {
        const minutes = Math.round((now - worker.seen) / 60);
        return { dot: "warn", words: "no word for " + plural(Math.max(1, minutes), "minute", "minutes"), detail: "" };
    }
    return {
        dot: DOTS[worker.state] || "busy",
        words: WORKER[worker.state] || worker.state,
        detail: worker.state === "failed" ? "" : worker.detail || "",
    };
}

/** One line: the detail of these states is a whole phrase, and with the state's own words it would say it twice. */
const SAYS_IT_ALL = ["starting", "generating", "reward_model", "idle"];
function workerLine(worker, now) {
    const { words, detail } = workerWords(worker, now);
    if (!detail) return "worker: " + words;
    return "worker: " + (SAYS_IT_ALL.includes(worker.state) ? detail : words + ", " + detail);
}

/** "policy 2, trained on 132 rankings". `rankings` is null while it is not known. */
function policyWords(version, rankings) {
    if (version === null || version === undefined) return "";
    if (version === 0) return "policy 0, the model as it came";
    return "policy " + version + (rankings ? ", trained on " + plural(rankings, "ranking", "rankings") : "");
}

function newsWords(before, version, rankings) {
    if (version < before) return "Policy " + version + " answers again.";
    const from = rankings ? " It learned from " + plural(rankings, "ranking", "rankings") + "." : "";
    return "Policy " + version + " is live." + from + " New tasks come from it.";
}

function untilWords(until) {
    if (until > 0) return plural(until, "more ranking", "more rankings") + " until the next round";
    return "enough rankings for the next round";
}

/** A round that published nothing says why; a published one speaks through the policy line. */
function roundWords(round) {
    if (!round || !["rejected", "failed", "stopped"].includes(round.state)) return "";
    const what = { rejected: "was not published", failed: "failed", stopped: "was stopped" }[round.state];
    const reason = round.reason ? " " + round.reason.replace(/[.]$/, "") + "." : "";
    return "Round " + round.id + " " + what + "." + reason + " Policy " + round.parent_version + " stays.";
}

/** The page while there is nothing to rank: {title, words, more}. */
function waitingWords(status, nothingYet) {
    const { state, detail, error } = status.worker;
    const more = "This page wakes by itself when a task arrives.";
    if (state === "failed") return { title: "The worker stopped", words: error || "It gave no reason.", more };
    if (state === "paused") return { title: "The loop is paused", words: "It can be resumed on the lab page.", more };
    if (state === "starting") {
        return { title: "Waking the model", words: detail || "It is loaded, then it writes the first responses.", more };
    }
    if (state === "generating") {
        return { title: nothingYet ? "Writing the first responses" : "Writing more responses", words: detail, more };
    }
    if (state === "idle") {
        return { title: "All caught up", words: "Every task is ranked, or with another annotator.", more };
    }
    const words = "The worker is " + WORKER[state] + (detail ? " (" + detail + ")" : "") + ".";
    return { title: "A round is running", words, more };
}

/** "Best", "2nd, tied with A and C"; "Not ranked" for none. */
function rankWords(ranks, index) {
    if (!ranks[index]) return "Not ranked";
    const mates = ranks.flatMap((rank, i) => (rank === ranks[index] && i !== index ? [LETTERS[i]] : []));
    return PLACES[ranks[index] - 1] + (mates.length ? ", tied with " + listed(mates) : "");
}

function listed(words) {
    return words.length < 2 ? words.join("") : words.slice(0, -1).join(", ") + " and " + words[words.length - 1];
}

/** Ranks without gaps, as they are sent: [1, 1, 4, 0] -> [1, 1, 2, null]. */
function dense(ranks) {
    const places = [...new Set(ranks.filter(Boolean))].sort((a, b) => a - b);
    return ranks.map((rank) => (rank ? places.indexOf(rank) + 1 : null));
}

/** The order that will be stored: "A = C > B > D", "A > the rest", "slightly" where it is said. */
function orderWords(ranks, strength) {
    const places = dense(ranks);
    const at = (place) => places.flatMap((other, i) => (other === place ? [LETTERS[i]] : [])).join(" = ");
    const named = [...new Set(places.filter(Boolean))].sort().map(at);
    if (places.includes(null)) named.push("the rest");
    return named.join(" > ") + (strength ? ", " + STRENGTHS[strength - 1].toLowerCase() : "");
}
