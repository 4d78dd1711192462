// Models that judge: the constitution with its versions, whether what they say is learned from, and what they said.

const find = (selector) => element.querySelector(selector);
const signal = mounted("constitution");

const followText = textEditor({ path: "constitution", rows: 16, longest: 20000, after: "Judges go by it from their next task on." });

// ---- the switch --------------------------------------------------------------------------------------------------

const [use, weight] = [find("#feedback-use"), find("#feedback-weight")];
let feedback = ""; // as it came
const written = () => JSON.stringify([use.checked, weight.value]);

function showFeedback(ai) {
  [use.checked, weight.value] = [ai.use, String(ai.weight)];
  feedback = written();
}

find(".feedback-part").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const saved = (await api("ai-feedback", { use: use.checked, weight: Number(weight.value) })).ai_feedback;
    showFeedback(saved);
    message(".feedback-message", saved.use ? "Saved: the next round learns from judges, with weight " + saved.weight + "." : "Saved: the next round learns nothing from judges.");
  } catch (error) {
    message(".feedback-message", "Not saved: " + error.message, true);
  }
}, { signal });

// ---- the judges --------------------------------------------------------------------------------------------------

const thousands = (count) => count.toLocaleString("en");
const within = ({ low, high }) => known(low) ? " (" + percent(low).replace(" %", "") + " to " + percent(high) + ")" : "";

function agreement(agreed) {
  if (!agreed) return "not compared yet: --compare ranks what people have ranked";
  if (agreed.too_few) return agreed.too_few;
  if (!agreed.same_order) return "no pair was decided by both";
  return percent(agreed.same_order.value) + within(agreed.same_order) + " of pairs in the same order, " + plural(agreed.tasks, "task");
}

function judgeFacts(one) {
  const facts = [
    ["Rankings", thousands(one.rankings) + (one.failed ? ", and " + plural(one.failed, "task") + " without a usable answer" : "")],
    ["With people", agreement(one.agreed)],
    ["Consistent", known(one.consistent) ? percent(one.consistent) + " of pairs ranked alike in both orders" : "–"],
    ["Calls", thousands(one.calls) + (one.rankings + one.failed ? ", " + duration(one.seconds / (one.rankings + one.failed)) + " a task" : "")],
    ["Tokens", thousands(one.prompt_tokens) + " of prompts, " + thousands(one.response_tokens) + " of responses"],
    ["Last", one.last ? make("span", { title: clock(one.last) }, ago(one.last)) : "–"],
  ];
  return make("dl", { class: "judge-facts" }, facts.map(([name, value]) => [make("dt", null, name), make("dd", null, value)]));
}

function drawJudges(judges) {
  renderWhenChanged(find(".judges-list"), [judges, Math.round(serverNow() / 60)], () => judges.length
    ? make("ul", { class: "judges" }, judges.map((one) => make("li", null,
      make("h3", { class: "judge-name", dir: "auto" }, one.name),
      make("p", { class: "judge-where" }, one.model + (one.endpoint ? " at " + one.endpoint : ", in the judge’s own process")),
      judgeFacts(one))))
    : make("p", { class: "judges-none" }, "No model has judged yet. Beside this server, ",
      make("code", null, "python app.py judge --endpoint http://127.0.0.1:8000/v1"), " asks one behind an OpenAI-compatible endpoint, ",
      make("code", null, "--model FOLDER"), " one of your own."));
}

// Others may write too: what is not being changed here follows.
repeat(3000, async () => {
  await followText();
  const reply = await api("judges");
  if (!feedback || (written() === feedback && JSON.stringify([reply.ai_feedback.use, String(reply.ai_feedback.weight)]) !== feedback)) showFeedback(reply.ai_feedback);
  drawJudges(reply.judges);
}, signal);
