// drag.js: pointer events for mouse, pen and touch. HTML drag-and-drop does not fire on touch.
// Things with data-drag (a response's index) are pulled onto things with data-drop.

const DRAG_STARTS_AFTER = 6; // pixels: less is a click

function makeDrag(root, signal, { label, hint, drop }) {
    let held = null; // {index, x, y, pointer, ghost, target}
    let endedAt = -Infinity;

    const targetAt = (x, y) => {
        const under = document.elementFromPoint(x, y);
        return under && root.contains(under) ? under.closest("[data-drop]") : null;
    };
    const mark = (target) => {
        if (held.target === target) return;
        held.target?.classList.remove("is-target");
        held.target = target;
        target?.classList.add("is-target");
        held.ghost.lastChild.textContent = target ? hint(held.index, target.dataset.drop) : "";
    };
    const start = () => {
        held.ghost = document.createElement("div");
        held.ghost.className = "pr-ghost";
        held.ghost.setAttribute("aria-hidden", "true");
        held.ghost.append(Object.assign(document.createElement("b"), { textContent: label(held.index) }));
        held.ghost.append(document.createElement("span"));
        root.append(held.ghost);
        root.classList.add("is-dragging");
    };
    const end = () => {
        if (!held) return;
        held.target?.classList.remove("is-target");
        held.ghost?.remove();
        root.classList.remove("is-dragging");
        held = null;
    };

    root.addEventListener("pointerdown", (event) => {
        const source = event.target.closest("[data-drag]");
        if (!source || event.button !== 0 || held) return;
        held = { index: Number(source.dataset.drag), x: event.clientX, y: event.clientY, pointer: event.pointerId };
        if (event.pointerType === "mouse" && source.tagName !== "BUTTON") event.preventDefault(); // no text selection
    }, { signal });
    // Moves are heard on the document, not captured by the source: the source is redrawn by what it causes.
    document.addEventListener("pointermove", (event) => {
        if (!held || event.pointerId !== held.pointer) return;
        if (!held.ghost && Math.hypot(event.clientX - held.x, event.clientY - held.y) < DRAG_STARTS_AFTER) return;
        if (!held.ghost) start();
        held.ghost.style.transform = "translate(" + event.clientX + "px," + event.clientY + "px)";
        mark(targetAt(event.clientX, event.clientY));
        if (event.clientY < 40) window.scrollBy(0, -14);
        else if (event.clientY > window.innerHeight - 24) window.scrollBy(0, 14);
    }, { signal });
    document.addEventListener("pointerup", (event) => {
        if (!held || event.pointerId !== held.pointer) return;
        const { index, target, ghost } = held;
        end();
        if (!ghost) return;
        endedAt = performance.now();
        if (target) drop(index, target.dataset.drop);
    }, { signal });
    // a drag that ends where it began is followed by a click that nobody meant
    root.addEventListener("click", (event) => {
        if (performance.now() - endedAt < 50 && event.target.closest("[data-drag]")) event.stopPropagation();
    }, { signal, capture: true });
    document.addEventListener("pointercancel", end, { signal });
    window.addEventListener("blur", end, { signal });
    return { cancel: end, active: () => Boolean(held?.ghost) };
}
