// order.js: the order of the responses: by digit, letter, button or drag; ties; taking back.

function changed() {
    now.message = "";
    alarm("");
    now.asked = "";
    now.skipping = false;
    if (!decided()) now.remarks.strength = 0;
    keepDraft();
}

/** What is on the screen is kept for this task, if there is anything. */
function keepDraft() {
    if (!now.task || now.practice) return;
    now.touched = true;
    const { ranks, remarks } = now;
    const said = ranks.some(Boolean) || remarks.comment.trim() || noneAcceptable() || hasBetter(remarks) || remarks.marks.some(isMarked);
    drafts.put(now.task, said ? { ranks, remarks, seconds: clock.seconds() } : null);
}

/** Gives a response a rank, and its twins with it: the same text cannot be better than itself. */
function setRank(index, rank) {
    if (now.busy) return; // what is being sent stays as it is
    for (const twin of now.twins[index]) now.ranks[twin] = rank;
    now.trail = now.trail.filter((other) => other !== index).concat(index);
    now.taken = null;
    changed();
    say(name(index) + ": " + rankWords(now.ranks, index) + (complete() ? ". " + t("say.complete") : ""));
}

function unrank(index) {
    if (!now.ranks[index] || now.busy) return;
    now.taken = [...now.ranks];
    now.takenStrength = now.remarks.strength;
    for (const twin of now.twins[index]) now.ranks[twin] = 0;
    now.trail = now.trail.filter((other) => other !== index);
    changed();
    say(t("say.unranked", { name: name(index) }));
}

function clearOrPutBack() {
    if (now.busy) return;
    if (now.taken) {
        [now.ranks, now.taken] = [now.taken, null];
        now.remarks.strength = now.takenStrength;
        say(t("say.back"));
    } else if (now.ranks.some(Boolean)) {
        now.takenStrength = now.remarks.strength;
        [now.taken, now.ranks] = [now.ranks, now.ranks.map(() => 0)];
        say(t("say.cleared"));
    }
    now.trail = [];
    changed();
    draw();
}

function goTo(index, center) {
    now.current = index;
    cards[index].focus({ preventScroll: true });
    cards[index].scrollIntoView({ block: center ? "start" : "nearest" });
    drawCards();
}

/** After a rank: the next response that has none; with all ranked the mark stays. */
function moveOn(index) {
    const next = [...cards.keys()].map((i) => (index + 1 + i) % size()).find((i) => !now.ranks[i]);
    now.current = next ?? index;
    cards[now.current].focus({ preventScroll: true });
}

/** The place after the worst so far; with the last place taken, the first that is free. */
function nextPlace() {
    const worst = Math.max(0, ...now.ranks);
    if (worst < size()) return worst + 1;
    return [1, 2, 3, 4].find((rank) => rank <= size() && !now.ranks.includes(rank)) || size();
}

function byDigit(rank) {
    if (rank < 1 || rank > size()) {
        say(t("say.range", { n: size() }));
        return;
    }
    const index = now.current;
    setRank(index, rank);
    moveOn(index);
    cards[now.current].scrollIntoView({ block: "nearest" });
    draw();
}

/** Typing letters from best to worst; a letter that has a rank only moves the mark. Of two, one letter says all:
    it is better, and again by how much. */
function byLetter(index) {
    if (index >= size()) return;
    if (two() && now.twins[0].length === 1 && !now.busy) {
        if (decided() && now.ranks[index] < now.ranks[1 - index]) setStrength((now.remarks.strength + 1) % 4);
        else prefer(index);
    } else if (!now.ranks[index]) setRank(index, nextPlace());
    goTo(index, false);
    draw();
}

/** Of two: this one is better. */
function prefer(index) {
    setRank(1 - index, 2);
    setRank(index, 1);
    now.remarks.strength = 0;
    keepDraft();
}

function setStrength(strength) {
    if (now.busy || !decided()) return;
    now.remarks.strength = strength;
    now.message = "";
    keepDraft();
    const better = name(now.ranks[0] < now.ranks[1] ? 0 : 1);
    say(better + ": " + (strength ? strengthWords(strength) : t("strength.unsaid")));
    draw();
}

function tie() {
    if (two() && !now.busy && !now.ranks.some(Boolean)) {
        setRank(0, 1);
        setRank(1, 1);
        draw();
        return;
    }
    const index = now.current;
    const mate = now.trail.filter((other) => other !== index && now.ranks[other]).pop()
        ?? now.ranks.findIndex((rank, other) => rank && other !== index);
    if (mate === -1) {
        say(t("say.tie.first"));
        return;
    }
    setRank(index, now.ranks[mate]);
    moveOn(index);
    draw();
}

function dropHint(index, where) {
    const [kind, at] = where.split(" ");
    if (kind === "place") return t(at === "0" ? "place.none" : "place." + at);
    if (Number(at) === index) return "";
    return t(now.ranks[at] ? "tie.with" : "tie.not.yet", { letter: LETTERS[at] });
}

function dropped(index, where) {
    const [kind, at] = where.split(" ");
    const rank = kind === "place" ? Number(at) : now.ranks[at];
    if (kind === "card" && Number(at) === index) return;
    if (kind === "card" && !rank) say(t("say.no.tie", { name: name(at) }));
    else if (rank) setRank(index, rank);
    else unrank(index);
    moveOn(index);
    draw();
}
