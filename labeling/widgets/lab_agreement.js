// Whether annotators agree, whether a position or a length wins, and how long a ranking takes. The server reckons
// (labeling/agreement.py); here figures become rows: a name, a bar for the interval, and the numbers in words.

const find = (selector) => element.querySelector(selector);
const signal = mounted("agreement");
const KINDS = { human: "person", program: "program" };
const open = new Set();    // names of the details that are open
let kind = "human";
let report = null;

const plain = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
const whole = (value) => Math.round(value * 100) + " %";
whole.unit = " %";
const seconds = (value) => value < 9.95 ? value.toFixed(1) + " s" : duration(value);
// "61 to 68 %": the unit once.
const range = (from, to, show) => (show.unit ? show(from).replace(show.unit, "") : show(from)) + " to " + show(to);

// ---- rows with a bar --------------------------------------------------------------------------------------

// value, low and high lie between scale.from and scale.to; scale.mark is where chance is.
function bar({ value, low, high }, { from, to, mark }) {
  const at = (number) => (100 * Math.min(1, Math.max(0, (number - from) / (to - from)))).toFixed(2) + "%";
  return make("span", { class: "row-bar", "aria-hidden": "true" },
    known(mark) ? make("i", { class: "mark", style: "left:" + at(mark) }) : null,
    known(low) ? make("i", { class: "range", style: "left:" + at(low) + ";right:calc(100% - " + at(high) + ")" }) : null,
    make("i", { class: "dot", style: "left:" + at(value) }));
}

function row(name, estimate, scale, show, of, none = "cannot be told yet") {
  if (!estimate) return make("li", null, make("span", { class: "row-name" }, name), make("span", { class: "row-none" }, none));
  const { value, low, high, n } = estimate;
  return make("li", null,
    make("span", { class: "row-name" }, name),
    bar(estimate, scale),
    make("span", { class: "row-numbers" }, make("strong", null, show(value)), " ",
      make("span", { class: "row-interval" }, known(low) ? range(low, high, show) : "no interval: every task says the same"), " ",
      of ? make("span", { class: "row-n" }, plural(n, of)) : null));
}

function rows(label, ends, ...items) {
  return make("ul", { class: "rows", "aria-label": label }, items,
    make("li", { class: "axis", "aria-hidden": "true" }, make("span"), make("span", { class: "ends" }, ends.map((end) => make("span", null, end))), make("span")));
}

// Around 50 %, as narrow as the intervals allow: all of 0 to 100 % would hide a bias of 5 points.
function aroundHalf(estimates) {
  const far = Math.max(0, ...estimates.filter(Boolean).flatMap(({ low, high }) => [Math.abs(low - 0.5), Math.abs(high - 0.5)]));
  const reach = [0.1, 0.2, 0.3].find((points) => far <= points) || 0.5;
  return { from: 0.5 - reach, to: 0.5 + reach, mark: 0.5, ends: [whole(0.5 - reach), "chance", whole(0.5 + reach)] };
}

// ---- the parts of the report ------------------------------------------------------------------------------

const warning = (word) => make("span", { class: "badge badge-rejected" }, icon("failed"), word);
const verdictOf = (biased, word, verdict) => [biased ? warning(word) : icon("published"), " ", verdict];

function part(name, title, head, ...content) {
  return make("section", { class: "part pod-card", "data-part": name, "aria-label": title },
    make("h2", null, title), make("p", { class: "part-verdict" }, head), content);
}

const about = (...text) => make("p", { class: "about" }, text);

function more(name, title, content) {
  const toggled = ({ target }) => (target.open ? open.add(name) : open.delete(name));
  return make("details", { open: open.has(name), ontoggle: toggled }, make("summary", null, title), content);
}

function table(label, columns, items) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", { class: "lab-table cards" },
      make("thead", null, make("tr", null, columns.map(([title]) => make("th", { scope: "col" }, title)))),
      make("tbody", null, items.map((item) => make("tr", null, columns.map(([title, cell], at) =>
        make(at ? "td" : "th", { scope: at ? null : "row", "data-label": title }, make("div", null, cell(item)))))))));
}

const cell = (estimate, show) => !estimate ? "–" : [show(estimate.value),
  known(estimate.low) ? make("span", { class: "interval" }, range(estimate.low, estimate.high, show)) : null];

const SHARE = { from: 0, to: 1, mark: 0.5 };
const COEFFICIENT = { from: -1, to: 1, mark: 0 };
const ENDS = ["the reverse", "chance", "the same"];

const agreementRows = (label, { same_order, tau, alpha }) => rows(label, ENDS,
  row("Pairs in the same order", same_order, SHARE, whole, "pair", "no pair was decided by both"),
  row("Kendall’s tau-b", tau, COEFFICIENT, plain, "task", "in each task one of the two tied all"),
  row("Krippendorff’s alpha", alpha, COEFFICIENT, plain, "task"));

function agreementPart({ overall, pairs, over_time }) {
  if (overall.too_few) {
    return part("agreement", "Agreement", overall.too_few,
      about("To compare annotators, have some tasks ranked by two of them, one after the other: ",
        make("code", null, "python app.py --overlap 0.1"), " does so with a tenth of the tasks."));
  }
  const { same_order, tasks, all_tied } = overall;
  const head = same_order
    ? "Two annotators put " + whole(same_order.value) + " of pairs in the same order (" + range(same_order.low, same_order.high, whole) + "); by chance it would be 50 %."
    : "No pair of responses was decided by two annotators.";
  return part("agreement", "Agreement", head,
    agreementRows("Agreement of two annotators", overall),
    about("From ", plural(tasks, "task"), " ranked by two annotators or more. Bars are 95 % intervals. Tau and alpha (ordinal) are 1 in full agreement and 0 by chance. For comparison: the labellers of InstructGPT put 73 % of pairs in the same order.",
      all_tied ? " Tau leaves out " + plural(all_tied, "comparison") + " in which somebody tied all responses." : "",
      report.partial ? " In " + plural(report.partial, "ranking") + " some responses were not compared; they count as tied last." : ""),
    over_time.length ? more("agreement over time", "Over time", [rows("Krippendorff’s alpha over time", ENDS,
      over_time.map((block) => row(when(block), block.agreed.alpha, COEFFICIENT, plain, "task"))), about("Krippendorff’s alpha of as many tasks each.")]) : null,
    pairs.length > 1 ? more("pairs", "By pair of annotators", table("Agreement by pair of annotators", [
      ["Annotators", ({ people, kinds }) => people.map((person, at) => [at ? " and " : "", make("bdi", null, person), kinds[at] === "program" ? " (program)" : ""])],
      ["Tasks", ({ agreed }) => String(agreed.tasks)],
      ["Same order", ({ agreed }) => agreed.too_few ? make("span", { class: "pod-muted" }, "too few") : cell(agreed.same_order, whole)],
      ["Tau-b", ({ agreed }) => cell(agreed.tau, plain)],
      ["Alpha", ({ agreed }) => cell(agreed.alpha, plain)],
    ], pairs)) : null);
}

function judgesPart(judges) {
  if (!judges.length) return null;
  const [best] = judges.filter(({ agreed }) => agreed.same_order);
  const head = best
    ? [make("bdi", null, best.judge), " puts " + whole(best.agreed.same_order.value) + " of pairs in the order people do"
      + (known(best.agreed.same_order.low) ? " (" + range(best.agreed.same_order.low, best.agreed.same_order.high, whole) + ")" : "") + "; by chance it would be 50 %."]
    : judges[0].agreed.too_few || "No pair of responses was decided by a person and a judge.";
  const compared = judges.filter(({ agreed }) => !agreed.too_few);
  const bars = compared.map(({ judge, agreed }) => [
    compared.length > 1 ? make("h3", null, make("bdi", null, judge)) : null,
    agreementRows("Agreement of people and " + judge, agreed)]);
  const few = judges.filter(({ agreed }) => best && agreed.too_few);
  return part("judges", "People and judges", head,
    bars,
    few.map(({ judge, agreed }) => about(make("bdi", null, judge), ": " + agreed.too_few)),
    about("Each judge, a model that ranks by the constitution, beside every person who ranked the same tasks. ",
      make("code", null, "python app.py judge --compare 50"), " lets one rank what people have ranked. Bars are 95 % intervals."));
}

const LETTERS = "ABCD";
function positionRows(label, positions) {
  if (!positions.some(Boolean)) return about("Too few to tell.");
  const scale = aroundHalf(positions);
  return rows(label, scale.ends, positions.map((estimate, at) => row("Response " + LETTERS[at], estimate, scale, whole, "pair")));
}

function positionPart({ too_few, verdict, biased, positions, by_size, annotators }) {
  const head = too_few || verdictOf(biased, "bias", verdict);
  const odd = annotators.filter((one) => one.biased).length;
  return part("position", "Position bias", head,
    too_few ? null : positionRows("Win rate by position", positions),
    about("Of the pairs with the response shown as A, the share it won, and so on. Responses are shuffled, so without a bias each wins 50 %. The verdict is one test of all positions; one unbiased run in twenty fails it."),
    by_size.length ? more("sizes", "By number of responses", by_size.map(({ responses, tasks, positions: own }) => [
      make("h3", null, plural(tasks, "task") + " with " + responses + " responses"), positionRows("Win rate by position, of " + responses, own)])) : null,
    annotators.length ? more("annotators", "By annotator" + (odd ? ": " + plural(odd, "bias", "biases") + " seen" : ""), table("Position bias by annotator", [
      ["Annotator", ({ person, kind: whose }) => [make("bdi", null, person), whose === "program" ? " (program)" : ""]],
      ["Tasks", ({ tasks }) => String(tasks)],
      ["Position", (one) => one.biased ? [warning("bias"), " ", one.verdict] : one.verdict],
    ], annotators)) : null);
}

function lengthPart({ too_few, verdict, biased, longer_wins, longer_wins_tokens, same_length }) {
  const head = too_few || verdictOf(biased, "preference", verdict);
  const scale = aroundHalf([longer_wins, longer_wins_tokens]);
  return part("length", "Length bias", head,
    too_few ? null : rows("Share of pairs that the longer response won", scale.ends,
      row("By characters", longer_wins, scale, whole, "pair"),
      longer_wins_tokens ? row("By tokens", longer_wins_tokens, scale, whole, "pair") : null),
    about("Of the pairs of different lengths, the share that the longer response won. The longer one may well be the better one; but a policy learns length sooner than anything else, so look at its response length too.",
      same_length ? " Left out: " + plural(same_length, "pair") + " of one length." : ""));
}

function when({ begin, end, policies: [oldest, newest] }) {
  const day = (time) => new Date(time * 1000).toLocaleDateString([], { day: "numeric", month: "short" });
  const hour = (time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const hours = hour(begin) === hour(end) ? hour(begin) : hour(begin) + "–" + hour(end);
  const times = day(begin) === day(end) ? day(begin) + ", " + hours : day(begin) + "–" + day(end);
  return [times, make("span", { class: "row-policy" }, oldest === newest ? "policy " + oldest : "policies " + oldest + " to " + newest)];
}

const timed = (quartiles) => ({ value: quartiles.median, low: quartiles.low, high: quartiles.high, n: quartiles.n });

function pacePart({ too_few, seconds: all, skips, skip_share, over_time, annotators }) {
  const skipped = known(skip_share) ? " " + (skips ? percent(skip_share) + " of tasks were skipped (" + skips + ")." : "No task was skipped.") : "";
  const head = too_few ? too_few + skipped
    : "Half of the rankings took less than " + seconds(all.median) + ", the middle half " + range(all.low, all.high, seconds) + "." + skipped;
  const most = Math.max(...over_time.map((block) => block.seconds.high), all?.high || 0) * 1.1;
  const scale = { from: 0, to: most };
  const blocks = over_time.length ? over_time.map((block) => row(when(block), timed(block.seconds), scale, seconds, "ranking"))
    : all ? [row("All", timed(all), scale, seconds, "ranking")] : [];
  return part("pace", "Time per ranking", head,
    blocks.length ? rows("Seconds per ranking over time", ["0 s", seconds(most / 2), seconds(most)], blocks) : null,
    about("Time active on a task, as the page measured it. Dots are medians, bars hold the middle half of the rankings. People who grow faster and agree less may be tired."),
    annotators.length ? more("pace", "By annotator", table("Time and amount by annotator", [
      ["Annotator", ({ person }) => make("bdi", null, person)],
      ["Kind", ({ kind: whose }) => badge(whose, KINDS[whose])],
      ["Rankings", ({ rankings }) => String(rankings)],
      ["Median time", ({ seconds: own }) => own ? cell(timed(own), seconds) : "–"],
      ["Per active hour", ({ per_active_hour }) => known(per_active_hour) ? per_active_hour.toFixed(0) : "–"],
      ["Per day", ({ per_day, days }) => [per_day < 10 ? per_day.toFixed(1) : per_day.toFixed(0), make("span", { class: "interval" }, "on " + plural(days, "day"))]],
      ["Skipped", ({ skips: own, skip_share: share }) => own ? percent(share) : "0 %"],
    ], annotators)) : null);
}

function nothingYet() {
  const others = report.left_out;
  const [who, other] = kind === "program" ? ["programs", "people"] : ["people", "programs"];
  return make("div", { class: "lab-empty pod-card" },
    make("h2", null, kind === "all" ? "No rankings yet" : "No rankings by " + who + " yet"),
    make("p", null, "Here stands whether annotators agree with each other, whether they prefer a position or a length, and how long they take. ",
      make("a", { href: "/annotate" }, "Rank responses"), ". To compare annotators, have some tasks ranked by two of them: ",
      make("code", null, "python app.py --overlap 0.1"), " does so with a tenth of the tasks."),
    others ? make("p", null, make("button", { type: "button", class: "pod-btn small", onclick: () => choose(kind === "program" ? "human" : "program") },
      "Show the " + plural(others, "ranking") + " by " + other)) : null);
}

// ---- asking -----------------------------------------------------------------------------------------------

function draw() {
  find(".agreement-says").textContent = report.rankings ? report.says : "";
  renderWhenChanged(find(".agreement-report"), report, () => report.rankings || report.pace.skips
    ? [agreementPart(report.agreement), judgesPart(report.judges), make("div", { class: "beside" }, positionPart(report.position), lengthPart(report.length)), pacePart(report.pace)]
    : nothingYet());
}

async function load() {
  const asked = kind;
  try {
    const reply = await api("agreement?kind=" + asked);
    if (asked !== kind) return;
    report = reply;
    draw();
  } catch (error) {
    if (asked === kind) find(".agreement-says").textContent = error.message + " Trying again.";
  }
}

function choose(next) {
  kind = next;
  for (const button of find(".segments").children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  load();
}

find(".segments").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) choose(button.dataset.kind);
}, { signal });
repeat(5000, load, signal);
