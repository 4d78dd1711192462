// keys.js: which key means what. Nothing here changes anything by itself.

const EDITABLE = "input, textarea, select, [contenteditable=''], [contenteditable='true'], dialog";
const PRESSABLE = "button, a[href], summary, [role='button']";

/** The name of a key whatever the layout: digits by place (AZERTY needs Shift for them), letters by sign. */
function keyName(event) {
    if (event.key === "?") return "?";
    const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
    if (digit) return digit[1];
    if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
    const letter = /^Key([A-Z])$/.exec(event.code);
    return letter ? letter[1].toLowerCase() : event.key;
}

/** Calls `act(name)` for keys meant for the ranking; `act` says true when it used the key. */
function listenForKeys(root, signal, { enabled, act }) {
    document.addEventListener("keydown", (event) => {
        if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        const at = event.target instanceof Element ? event.target : document.body;
        if (at.closest(EDITABLE) || document.querySelector("dialog[open]")) return;
        if (at !== document.body && at !== document.documentElement && !root.contains(at)) return;
        if (!root.isConnected || root.offsetParent === null) return; // the page around us is gone or hidden
        const name = keyName(event);
        if ((name === "Enter" || name === " ") && at.closest(PRESSABLE)) return; // that presses the button
        if (event.repeat && !name.startsWith("Arrow")) return; // a key that is held down acts once
        if (!enabled() && /^[a-z0-9?]$/.test(name)) return;
        if (act(name)) event.preventDefault();
    }, { signal });
}
