// client.js: the JSON API, a nonce, and drafts that survive a reload.

const NOT_OURS = "What answered is not this server (a login page or a proxy?); try again, or reload the page.";
const OTHER_RUN = "The server was started on another run, so the page was loaded again.";
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
            [status, data] = [502, { error: NOT_OURS }];
        }
        if (otherRun(data)) {
            memory.put("news", OTHER_RUN);
            location.reload();
            return new Promise(() => {}); // nobody acts on the answer any more
        }
        return { status, data, now: (Number.isNaN(date) ? Date.now() : date) / 1000 };
    } catch {
        return { status: 0, data: { error: "The server could not be reached." }, now: Date.now() / 1000 };
    }
}

/** crypto.randomUUID exists only on https and localhost; this works everywhere. */
function newNonce() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** localStorage that may be full, forbidden or absent: then drafts are simply not kept. */
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
        } catch {
            // nothing to do: the page works without
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

const NO_REMARKS = { acceptable: null, strength: 0, comment: "" };
const DRAFTS_KEPT = 30;
const drafts = {
    get(task) {
        const draft = (memory.get("drafts") || {})[run + "." + task.id];
        if (!draft || draft.of !== fingerprint(task) || draft.ranks.length !== task.responses.length) return null;
        return { remarks: { ...NO_REMARKS }, ...draft };
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
