// texts.js: what the page says, in the language of the person. labeling/annotate.py puts ENGLISH and LANGUAGES
// before this; the other catalogues (widgets/texts/*.json) are fetched when they are wanted.

const RIGHT_TO_LEFT = ["ar"];
let language = "en";
let texts = ENGLISH;

/** For numbers, times and lists; the digits are those of the keys. */
const locale = () => (language === "en" ? "en-GB" : language) + "-u-nu-latn";
const count = (n) => intl(Intl.NumberFormat, locale()).format(Number(n || 0));

/** Kept: making one takes tenths of a millisecond. */
const kept = {};
const intl = (Kind, where, options) => (kept[Kind.name + " " + where] ??= new Kind(where, options));

/** A text of the catalogue, with its {names} filled in; `n` decides where a number does. */
function t(key, values = {}) {
    let text = texts[key] ?? ENGLISH[key] ?? key;
    if (typeof text === "object") text = text[intl(Intl.PluralRules, language).select(values.n)] ?? text.other;
    return text.replace(/\{(\w+)\}/g, (whole, name) => {
        const value = values[name];
        return value === undefined ? whole : typeof value === "number" ? count(value) : value;
    });
}

/** A name of the form: a delivered one has translations, a project's own is shown as it is. */
const named = (name) => (ENGLISH["form." + name] === undefined ? name : t("form." + name));

/** Sets a text in which [X] is a key. */
function setKeyed(node, text) {
    node.replaceChildren(...text.split(/(\[[^\]]+\])/).filter(Boolean).map((part) => {
        if (!/^\[.+\]$/.test(part)) return part;
        const key = document.createElement("span");
        key.className = "pod-kbd";
        key.dir = "ltr";
        key.textContent = part.slice(1, -1);
        return key;
    }));
}

const listed = (words) => intl(Intl.ListFormat, locale(), { type: "conjunction" }).format(words);

/** Every text that stands in the page's HTML. */
function applyTexts(root, values) {
    for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t, values);
    for (const node of root.querySelectorAll("[data-keys]")) setKeyed(node, t(node.dataset.keys, values));
    for (const node of root.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
    for (const node of root.querySelectorAll("[data-placeholder]")) node.placeholder = t(node.dataset.placeholder);
}

/** The one chosen here before, else the browser's first that there is. */
function preferredLanguage(chosen) {
    const wanted = [chosen, ...navigator.languages].map((one) => String(one || "").split("-")[0].toLowerCase());
    return wanted.find((one) => LANGUAGES[one]) || "en";
}

/** Takes another language; stays with the one it has when its texts cannot be had. Resolves to whether it did. */
async function takeLanguage(wanted, fetchTexts) {
    const found = wanted === "en" ? ENGLISH : await fetchTexts(wanted);
    if (!found) return false;
    [language, texts] = [wanted, found];
    document.documentElement.lang = language;
    return true;
}
