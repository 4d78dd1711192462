// client.js: the JSON API, a nonce, and what survives a reload: drafts, and rankings that are not saved yet.

let run = null; // of the answers so far: task numbers start at 1 in every run directory

/** Whether an answer is of another run than those before: then what is on the screen is not served any more. */
function otherRun(data) {
    const its = data.run || data.status?.run || run;
    run ??= its;
    return its !== run;
}

/** One request. Resolves to {status, data, now}; status 0 means the server could not be reached, 502 that
    something else answered in its place. */
async function call(method, path, body) {
    try {
        const reply = await fetch("/api" + path, {
            method,
            headers: body === undefined ? {} : { "Content-Type": "application/json" },
            body: body === undefined ? undefined : JSON.stringify(body),
            cache: "no-store",
            signal: AbortSignal.timeout(20000),
        });
        const text = await reply.text();
        const date = Date.parse(reply.headers.get("date") || "");
        let { status } = reply;
        let data = {};
        try {
            if (status !== 204) data = Object(JSON.parse(text));
        } catch {
            [status, data] = [502, { error: t("server.other") }];
        }
        if (otherRun(data)) {
            memory.put("news", "news.run");
            location.reload();
            return new Promise(() => {}); // nobody acts on the answer any more
        }
        return { status, data, now: (Number.isNaN(date) ? Date.now() : date) / 1000 };
    } catch {
        return { status: 0, data: { error: t("server.unreachable") }, now: Date.now() / 1000 };
    }
}

const why = ({ status, data }) => data.error || t("answered", { status });

/** crypto.randomUUID exists only on https and localhost; this works everywhere. */
function newNonce() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** localStorage that may be full, forbidden or absent: `put` says whether it was kept. */
const memory = {
    get(key) {
        try {
            return JSON.parse(localStorage.getItem("podium." + key));
        } catch {
            return null;
        }
    },
    put(key, value) {
        try {
            if (value === null) localStorage.removeItem("podium." + key);
            else localStorage.setItem("podium." + key, JSON.stringify(value));
            return true;
        } catch {
            return false;
        }
    },
};

/** A draft counts only for the very same texts. */
function fingerprint(task) {
    const text = JSON.stringify([task.id, task.prompt, task.responses.map((r) => r.text)]);
    let hash = 5381;
    for (let i = 0; i < text.length; i++) hash = ((hash * 33) ^ text.charCodeAt(i)) >>> 0;
    return hash.toString(36) + "." + text.length;
}

const NO_REMARKS = { acceptable: null, strength: 0, comment: "", skip_reason: "", marks: [], better: null };
const noMark = () => ({ flags: [], reasons_for: [], reasons_against: [], ratings: {} });
const isMarked = (mark) => Object.values(mark).some((said) => Object.keys(said).length > 0);

/** A copy of remarks that may be written to, with a mark for each response. */
function copyOf(remarks, responses) {
    const copy = { ...NO_REMARKS, ...structuredClone(remarks) };
    copy.marks = Array.from({ length: responses }, (_, i) => ({ ...noMark(), ...copy.marks[i] }));
    return copy;
}

const DRAFTS_KEPT = 30;
const drafts = {
    get(task) {
        const draft = (memory.get("drafts") || {})[run + "." + task.id];
        if (!draft || draft.of !== fingerprint(task) || draft.ranks.length !== task.responses.length) return null;
        return { remarks: NO_REMARKS, seconds: 0, ...draft };
    },
    put(task, draft) {
        const all = memory.get("drafts") || {};
        const key = run + "." + task.id;
        delete all[key];
        if (draft) all[key] = { of: fingerprint(task), at: Date.now(), ...draft };
        const oldest = Object.keys(all).sort((a, b) => all[a].at - all[b].at);
        for (const id of oldest.slice(0, -DRAFTS_KEPT)) delete all[id];
        memory.put("drafts", all);
    },
};

/** Rankings that were submitted and are not known to be stored, oldest first. Written down before they are sent:
    a page that dies sends them when it is opened again, under the same nonce, so nothing is stored twice. */
const outbox = {
    entries: Object.values(memory.get("outbox") || {}).sort((a, b) => a.at - b.at),
    add(entry) {
        outbox.entries.push(entry);
        const own = Object.fromEntries(outbox.entries.map((one) => [one.nonce, one]));
        outbox.kept = memory.put("outbox", { ...memory.get("outbox"), ...own }); // another tab's stay
    },
    remove(nonce) {
        outbox.entries = outbox.entries.filter((entry) => entry.nonce !== nonce);
        const { [nonce]: _, ...others } = memory.get("outbox") || {};
        memory.put("outbox", Object.keys(others).length ? others : null);
    },
    /** Of the run that is served: those of another wait until theirs is. */
    mine: () => outbox.entries.filter((entry) => entry.run === run),
    holds: (taskId) => outbox.mine().some((entry) => entry.task.id === taskId),
    kept: true, // whether what is in it would survive the page
};
