// A small line chart on a canvas: points arrive in deltas, rounds stand side by side on one axis, and drawing
// costs one path however many points there are (lowest and highest per pixel column). No library, because the
// page must work without internet, and because redrawing a whole plot twice a second is what made others slow.

// An axis for each kind of step, running on over all rounds: PPO updates, and steps of the reward model, DPO and SFT.
const AXES = { "reward_model/": "reward", "dpo/": "dpo", "sft/": "sft" };
const axisOf = (name) => AXES[name.slice(0, name.indexOf("/") + 1)] || "ppo";

class CurveData {
  constructor() {
    this.names = new Map();     // name -> round -> {steps, values}
    this.attempts = new Map();  // round -> the attempt its points are from
    this.lastId = 0;
  }

  add(row) {
    this.lastId = Math.max(this.lastId, row.id);
    if (!known(row.value)) return;
    let points = this.names.get(row.name)?.get(row.round);
    const last = points ? points.steps[points.steps.length - 1] : -Infinity;
    // A round that was killed is done again: its new curve replaces the broken one.
    const attempt = row.attempt ?? (this.attempts.get(row.round) || 1) + (row.step < last ? 1 : 0);
    if (attempt > (this.attempts.get(row.round) ?? attempt)) {
      for (const rounds of this.names.values()) rounds.delete(row.round);
      points = undefined;
    }
    this.attempts.set(row.round, attempt);
    if (!points) {
      points = { steps: [], values: [] };
      if (!this.names.has(row.name)) this.names.set(row.name, new Map());
      this.names.get(row.name).set(row.round, points);
    }
    let at = points.steps.length;
    while (at > 0 && points.steps[at - 1] > row.step) at -= 1;
    if (points.steps[at - 1] === row.step) points.values[at - 1] = row.value;
    else { points.steps.splice(at, 0, row.step); points.values.splice(at, 0, row.value); }
  }

  points(name, round) {
    return this.names.get(name)?.get(round);
  }

  last(name) {
    const rounds = this.names.get(name);
    if (!rounds?.size) return null;
    const round = Math.max(...rounds.keys());
    const { steps, values } = rounds.get(round);
    return { round, step: steps[steps.length - 1], value: values[values.length - 1], first: values[0] };
  }

  // The spans of an axis: [{round, low, high, start}], start being where the round begins on the running axis.
  layout(axis, newest) {
    const extent = new Map();
    for (const [name, rounds] of this.names) {
      if (axisOf(name) !== axis) continue;
      for (const [round, { steps }] of rounds) {
        const span = extent.get(round) || { round, low: Infinity, high: -Infinity };
        span.low = Math.min(span.low, steps[0]);
        span.high = Math.max(span.high, steps[steps.length - 1]);
        extent.set(round, span);
      }
    }
    const spans = [...extent.values()].sort((a, b) => a.round - b.round).slice(-newest);
    let total = 0;
    for (const span of spans) {
      span.start = total;
      total += span.high - span.low + 1;
    }
    return { spans, total };
  }
}

// The point of a series at or before `step` in a round: what the crosshair reads.
function valueAt(points, step) {
  if (!points) return null;
  let at = points.steps.length - 1;
  while (at > 0 && points.steps[at] > step) at -= 1;
  return { step: points.steps[at], value: points.values[at], index: at };
}

// 3 to 5 round numbers between low and high.
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) {
    found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  }
  return { found, decimals: Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0))) };
}

const FONT = "11px system-ui, sans-serif";
const TOP = 18;     // room for the round labels
const BOTTOM = 5;

// Draw panel = {canvas, spec, data} as view = {version, newest, outcomes, cursor} says. The curve is kept in a
// second canvas until the version or the size changes, so that moving the crosshair costs a copy.
function drawPanel(panel, view) {
  const { canvas } = panel;
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return;
  const key = [view.version, width, height, ratio].join();
  if (panel.key !== key) {
    panel.key = key;
    panel.kept ||= document.createElement("canvas");
    for (const node of [canvas, panel.kept]) {
      node.width = Math.round(width * ratio);
      node.height = Math.round(height * ratio);
    }
    const context = panel.kept.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(canvas);
    panel.colour = (name) => style.getPropertyValue("--curve-" + name).trim();
    panel.geometry = drawCurve(context, panel, view, { width, height, ratio });
  }
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(panel.kept, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (view.cursor) drawCursor(context, panel, view.cursor);
}

// Everything but the crosshair. Returns the geometry, which the pointer and the crosshair need.
function drawCurve(context, { spec, data, colour }, view, { width, height, ratio }) {
  context.font = FONT;
  const layout = data.layout(axisOf(spec.name), view.newest);
  if (!layout.spans.length) {
    context.fillStyle = colour("muted");
    context.textAlign = "center";
    context.fillText(axisOf(spec.name) === "ppo" ? "begins with the first PPO update" : "begins with the first round of its kind", width / 2, height / 2);
    return { layout };
  }
  const range = valueRange(spec, data, layout);
  const marks = ticks(range.low, range.high);
  const format = (value) => spec.percent ? (value * 100).toFixed(Math.max(0, marks.decimals - 2)) + " %" : value.toFixed(marks.decimals);
  const left = Math.ceil(Math.max(...marks.found.map((v) => context.measureText(format(v)).width))) + 8;
  const plot = { left, right: width - 6, top: TOP, bottom: height - BOTTOM };
  const y = (value) => plot.bottom - (Math.min(range.high, Math.max(range.low, value)) - range.low) / (range.high - range.low) * (plot.bottom - plot.top);
  const unit = (plot.right - plot.left) / Math.max(1, layout.total);
  const x = (span, step) => plot.left + (span.start + step - span.low + 0.5) * unit;
  const sharp = (value) => Math.round(value * ratio) / ratio + 0.5 / ratio;

  const line = (x1, y1, x2, y2, stroke, dash) => {
    context.beginPath();
    context.setLineDash(dash || []);
    context.lineWidth = 1;
    context.strokeStyle = stroke;
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
    context.setLineDash([]);
  };

  // Bands and labels of the rounds.
  context.textBaseline = "alphabetic";
  let labelEnd = -Infinity;
  layout.spans.forEach((span, at) => {
    const from = plot.left + span.start * unit;
    const to = from + (span.high - span.low + 1) * unit;
    const roomy = layout.total * unit / layout.spans.length > 6;
    if (roomy && at % 2 === 1) {
      context.fillStyle = colour("band");
      context.fillRect(from, plot.top, to - from, plot.bottom - plot.top);
    }
    if (roomy && at > 0) line(sharp(from), TOP - 12, sharp(from), plot.bottom, colour("edge"));
    if (from + 4 < labelEnd + 6) return;
    const outcome = view.outcomes?.get(span.round);
    const bad = outcome && outcome !== "published" && outcome !== "running";
    const room = to - from - 6;
    const label = ["round " + span.round + (bad ? ", " + outcome : ""), "round " + span.round + (bad ? " ✕" : ""), span.round + (bad ? " ✕" : "")]
      .find((text, level) => level === 2 || context.measureText(text).width < room);
    const end = from + 4 + context.measureText(label).width;
    if (end > plot.right + 4) return;
    context.fillStyle = colour(bad ? "warn" : "muted");
    context.textAlign = "left";
    context.fillText(label, from + 4, TOP - 6);
    labelEnd = end;
  });

  // Grid, with its values.
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const value of marks.found) {
    line(plot.left, sharp(y(value)), plot.right, sharp(y(value)), colour("grid"));
    context.fillStyle = colour("muted");
    context.fillText(format(value), plot.left - 6, Math.max(y(value), plot.top + 3));
  }
  // Lines with a meaning: chance, the reference, warn, stop. A dash and a word, not colour alone.
  let labelled = Infinity;
  for (const mark of spec.lines || []) {
    if (mark.at < range.low || mark.at > range.high) continue;
    const level = sharp(y(mark.at));
    line(plot.left, level, plot.right, level, colour(mark.kind), mark.kind === "note" ? [2, 3] : [6, 3]);
    if (Math.abs(labelled - level) < 13) continue;
    labelled = level;
    const below = y(mark.at) - plot.top < 14;
    context.textAlign = mark.right ? "right" : "left";
    context.textBaseline = below ? "top" : "bottom";
    context.fillStyle = colour(mark.kind);
    context.fillText(mark.label, mark.right ? plot.right - 3 : plot.left + 4, level + (below ? 3 : -2));
  }

  drawValues(context, { spec, data, layout, x, y, unit, colour });
  return { layout, plot, unit, x, y };
}

function valueRange(spec, data, layout) {
  let low = spec.low ?? Infinity;
  let high = spec.high ?? -Infinity;
  for (const { round } of layout.spans) {
    for (const name of [spec.name, spec.lowName, spec.highName]) {
      for (const value of (name && data.points(name, round)?.values) || []) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  if (!Number.isFinite(low)) low = spec.low ?? Math.min(0, high);
  if (!Number.isFinite(high)) high = spec.high ?? Math.max(1, low + 1);
  if (!Number.isFinite(low)) low = 0;
  if (high - low < 1e-9) { high += Math.abs(high) * 0.1 || 0.5; low -= spec.low === undefined ? Math.abs(low) * 0.1 || 0.5 : 0; }
  const air = (high - low) * 0.06;
  if (spec.low === undefined || low < spec.low) low -= air;
  if (spec.high === undefined || high > spec.high) high += air;
  return { low, high };
}

function drawValues(context, { spec, data, layout, x, y, unit, colour }) {
  context.lineJoin = unit < 1 ? "bevel" : "round";
  context.lineWidth = 1.75;
  context.strokeStyle = colour("line");
  context.fillStyle = colour("line");
  const crowded = layout.total * unit < 14 * layout.spans.length;
  let previous = null;
  for (const span of layout.spans) {
    const points = data.points(spec.name, span.round);
    if (!points) continue;
    const { steps, values } = points;
    context.beginPath();
    if (previous && spec.joined) context.moveTo(...previous);
    const low = data.points(spec.lowName, span.round);
    const high = data.points(spec.highName, span.round);
    let column = NaN, first = 0, lowest = 0, highest = 0, latest = 0;
    const flush = () => {
      if (Number.isNaN(column)) return;
      context.lineTo(column, y(first));
      if (lowest !== highest) for (const value of [lowest, highest, latest]) context.lineTo(column, y(value));
    };
    for (let at = 0; at < steps.length; at += 1) {
      const place = unit < 0.5 ? Math.round(x(span, steps[at])) : x(span, steps[at]);
      const value = values[at];
      if (place === column) {
        if (value < lowest) lowest = value;
        if (value > highest) highest = value;
      } else {
        flush();
        column = place;
        first = lowest = highest = value;
      }
      latest = value;
    }
    flush();
    context.stroke();
    const end = [x(span, steps[steps.length - 1]), y(values[values.length - 1])];
    // The interval: a bar with caps, or where there are too many of them, a bar without.
    for (let at = 0; low && high && at < low.steps.length; at += 1) {
      const place = x(span, low.steps[at]);
      context.save();
      context.lineWidth = crowded ? 1 : 1.25;
      context.globalAlpha = crowded ? 0.35 : 0.7;
      context.beginPath();
      context.moveTo(place, y(low.values[at]));
      context.lineTo(place, y(high.values[at] ?? low.values[at]));
      for (const value of crowded ? [] : [low.values[at], high.values[at]]) {
        context.moveTo(place - 3, y(value));
        context.lineTo(place + 3, y(value));
      }
      context.stroke();
      context.restore();
    }
    const lonely = !crowded && steps.length === 1;
    if (lonely || span === layout.spans[layout.spans.length - 1]) {
      for (const at of lonely ? steps.keys() : [steps.length - 1]) {
        context.beginPath();
        context.arc(x(span, steps[at]), y(values[at]), 3, 0, 7);
        context.fill();
      }
    }
    previous = end;
  }
}

// One crosshair for all panels. A panel on the other axis shows where that round ended.
function cursorPoint(spec, data, layout, cursor) {
  const span = layout.spans.find(({ round }) => round === cursor.round);
  if (!span) return null;
  const points = data.points(spec.name, cursor.round);
  const same = axisOf(spec.name) === cursor.axis;
  const point = valueAt(points, same ? cursor.step : Infinity);
  return { span, point, step: same ? cursor.step : point?.step ?? span.high };
}

function drawCursor(context, { spec, data, geometry, colour }, cursor) {
  const { layout, plot, x, y } = geometry;
  const found = cursorPoint(spec, data, layout, cursor);
  if (!found) return;
  context.strokeStyle = colour("cursor");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x(found.span, found.step), plot.top);
  context.lineTo(x(found.span, found.step), plot.bottom);
  context.stroke();
  if (!found.point) return;
  context.beginPath();
  context.arc(x(found.span, found.point.step), y(found.point.value), 4, 0, 7);
  context.fillStyle = colour("back");
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = colour("line");
  context.stroke();
}

// Which update the pointer is over.
function cursorFrom(spec, { layout, plot, unit }, offsetX) {
  if (!layout.spans.length) return null;
  const place = Math.max(0, Math.min(layout.total - 1, Math.floor((offsetX - plot.left) / unit)));
  const span = layout.spans.findLast(({ start }) => start <= place);
  return { axis: axisOf(spec.name), round: span.round, step: span.low + place - span.start };
}

// The next update left or right, over the round's edge too: what the arrow keys do.
function cursorMoved({ layout }, cursor, by) {
  const span = layout.spans.find(({ round }) => round === cursor.round);
  const place = Math.max(0, Math.min(layout.total - 1, span.start + cursor.step - span.low + by));
  const target = layout.spans.findLast(({ start }) => start <= place);
  return { ...cursor, round: target.round, step: target.low + place - target.start };
}
