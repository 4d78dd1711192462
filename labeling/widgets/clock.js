// clock.js: how long a person was active on a task: while the tab was to be seen, and no longer than this after
// they last moved anything.

const IDLE_MS = 120000;
const LONGEST_S = 86400; // what the server takes

function makeClock(signal) {
    let total = 0; // milliseconds
    let last = performance.now();
    let seen = !document.hidden;

    const settle = () => {
        const at = performance.now();
        if (seen) total += Math.min(at - last, IDLE_MS);
        last = at;
        seen = !document.hidden;
    };
    for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchmove"]) {
        document.addEventListener(kind, settle, { signal, passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", settle, { signal });
    return {
        start(seconds) {
            settle();
            total = seconds * 1000;
        },
        /** To a tenth. */
        seconds() {
            settle();
            return Math.min(LONGEST_S, Math.round(total / 100) / 10);
        },
    };
}
