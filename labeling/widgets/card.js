// card.js: what is built for a task: the prompt's history, a card for each response, the podium.

function buildCard(response, index) {
    const card = make("article", "pr-card pod-card");
    card.tabIndex = 0;
    card.dataset.drop = "card " + index;
    card.setAttribute("aria-labelledby", "pr-name-" + index + " pr-state-" + index);
    const head = make("div", "pr-head");
    head.append(buildTop(index), buildNumbers(index));
    card.append(head);
    const twins = now.twins[index].filter((other) => other !== index);
    if (twins.length) card.append(make("p", "pr-same", t("response.same", { letter: listed(twins.map((i) => LETTERS[i])) })));
    const text = make("div", "pr-text pr-scroll pod-text");
    if (response.text.trim()) text.innerHTML = response.html;
    else text.append(make("p", "pod-muted", t("response.empty")));
    card.append(text, buildMarks(index));
    card.addEventListener("focusin", () => {
        if (now.current === index) return;
        now.current = index;
        drawCards();
    });
    return card;
}

function buildTop(index) {
    const top = make("div", "pr-top");
    const handle = make("div", "pr-handle");
    handle.dataset.drag = index;
    handle.title = t("drag.title");
    const title = make("h3", "pr-name", name(index));
    title.id = "pr-name-" + index;
    handle.append(make("span", "pr-grip"), title);
    const state = make("p", "pr-state");
    state.id = "pr-state-" + index;
    state.append(make("b", "pr-medal"), make("span", "pr-words"));
    top.append(handle, state);
    return top;
}

function buildNumbers(index) {
    const numbers = make("div", "pr-numbers");
    numbers.setAttribute("role", "group");
    numbers.setAttribute("aria-label", t("rank.of", { name: name(index) }));
    for (let rank = 1; rank <= size(); rank++) {
        const button = make("button", "pr-number", rank);
        button.type = "button";
        button.setAttribute("aria-label", rank === 1 ? t("rank.best", { rank }) : rank);
        button.addEventListener("click", (event) => {
            if (now.ranks[index] === rank) unrank(index);
            else setRank(index, rank);
            // event.detail is 0 when a key pressed the button: then focus stays where it is
            if (event.detail) moveOn(index);
            draw();
        });
        numbers.append(button);
    }
    return numbers;
}

function buildChip(index) {
    const chip = make("button", "pr-chip", LETTERS[index]);
    chip.type = "button";
    chip.dataset.drag = index;
    chip.addEventListener("click", () => goTo(index, true));
    return chip;
}

function buildPodium() {
    const slots = [make("div", "pr-slot pr-tray")];
    slots[0].append(make("span", "pr-slot-name", t("place.none")));
    for (let rank = 1; rank <= size(); rank++) {
        const slot = make("div", "pr-slot");
        slot.append(make("span", "pr-slot-name", rank === 1 ? t("podium.best") : rank));
        slots.push(slot);
    }
    slots.forEach((slot, rank) => {
        slot.dataset.drop = "place " + rank;
        slot.dataset.rank = rank;
        slot.append(make("span", "pr-chips"));
    });
    $(".pr-podium").style.setProperty("--count", size());
    $(".pr-podium").replaceChildren(...slots);
}

/** What was said before the prompt, if it is the end of a conversation. */
function buildHistory(turns) {
    const box = $(".pr-history");
    box.hidden = turns.length === 0;
    box.replaceChildren(...turns.map(({ role, html }) => {
        const turn = make("div", "pr-turn");
        turn.dataset.role = role;
        const text = make("div", "pod-text");
        text.innerHTML = html;
        turn.append(make("b", "pr-label", t("prompt." + role)), text);
        return turn;
    }));
    setText($(".pr-prompt-label"), t(turns.length ? "prompt.user" : "prompt"));
}

/** Long texts scroll inside their card, and can be shown whole; code and tables that are wider than their card
    scroll with the keyboard too. Measured first and written then: the layout is asked for once. */
function makeScrollable() {
    const prompt = $(".pr-prompt-text");
    prompt.parentNode.querySelector(":scope > .pr-all")?.remove();
    prompt.classList.remove("is-whole");
    const history = $(".pr-history");
    for (const box of [prompt, history]) box.removeAttribute("tabindex");
    const high = (box) => box.scrollHeight > box.clientHeight + 1;
    const wide = (box) => box.scrollWidth > box.clientWidth;
    const long = [...root.querySelectorAll(".pr-scroll")].filter(high);
    const longHistory = high(history);
    const boxes = [...root.querySelectorAll(".pr-task .pod-text :is(pre, .pod-table)")].map((box) => [box, wide(box)]);
    for (const box of long) {
        const label = box.closest(".pr-card") ? name(cards.indexOf(box.closest(".pr-card"))) : t("prompt");
        reachable(box, t("response.long", { name: label }));
        box.after(buildShowAll(box));
    }
    if (longHistory) reachable(history, t("history"));
    boxes.forEach(([box, reaches], i) => {
        const what = t(box.tagName === "PRE" ? "code" : "table") + " " + (i + 1); // each has a name of its own
        if (reaches) reachable(box, what);
    });
}

function reachable(box, label) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", label);
}

function buildShowAll(box) {
    const button = make("button", "pod-btn quiet pr-all", t("show.all"));
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
        const open = box.classList.toggle("is-whole");
        button.textContent = t(open ? "show.less" : "show.all");
        button.setAttribute("aria-expanded", String(open));
        if (!open) box.scrollIntoView({ block: "nearest" });
    });
    return button;
}

/** Arrow keys scroll the long text of the marked response; a short one leaves them to the page. */
function scrollText(pixels) {
    const text = cards[now.current].querySelector(".pr-scroll");
    if (text.scrollHeight <= text.clientHeight + 1) return false;
    text.scrollBy(0, pixels);
    return true;
}
