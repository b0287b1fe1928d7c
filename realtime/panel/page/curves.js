// The drawing of a track: its curves, their names, what is repeated, and the playhead.

import { label } from "./attributes.js";
import { cachedColour } from "./dom.js";

const FONT = "10px system-ui, sans-serif";
const LINE = 12;
/** Shares of the width at which a name may stand, beside the place where its curve moves most. */
const PLACES = [0.5, 0.25, 0.75, 0.1, 0.9, 0.38, 0.63];

/**
 * Draw the curve that is edited and those beside it.
 *
 * @param canvas where.
 * @param track the numbers.
 * @param view the part that is seen.
 * @param shown {attribute, beside, position, loop}: the edited one's name, other names, seconds, [from, to] or null.
 * @param lowest each attribute's lowest value. Every curve is drawn over its own range.
 */
export function drawCurves(canvas, track, view, { attribute, beside, position, loop }, lowest) {
  const low = lowest.get(attribute);
  const rest = ["pitch", "yaw", "roll"].includes(attribute) ? 0.5 : 0;
  const { context, width, height } = view.begin(canvas, low, rest, loop);
  const [first, end] = [Math.max(track.row(view.from) - 1, 0), Math.min(track.row(view.to) + 2, track.rows)];
  const share = (name, row) => (track.value(name, row) - lowest.get(name)) / (1 - lowest.get(name));
  const at = (name) => (row) => [track.times[row], low + (1 - low) * share(name, row)];
  context.globalAlpha = 0.55;
  for (const name of beside) view.curve(first, end, at(name), "quiet", 1);
  context.globalAlpha = 1;
  view.curve(first, end, at(attribute), "accent", 1.8);
  nameCurves(context, width, height, track, view, beside.map((name) => ({ name, at: at(name) })), first, end);

  const row = track.row(position);
  context.strokeStyle = context.fillStyle = cachedColour("driver");
  context.lineWidth = 1.4;
  context.beginPath();
  context.moveTo(view.x(position), 0);
  context.lineTo(view.x(position), height);
  context.stroke();
  context.beginPath();
  context.arc(view.x(track.times[row]), view.y(track.value(attribute, row)), 3.5, 0, 7);
  context.fill();
}

/** Write the curves' names, those that move most first. One that would cover another has to stay away. */
function nameCurves(context, width, height, track, view, curves, first, end) {
  context.font = FONT;
  context.fillStyle = cachedColour("ink");
  const taken = [];
  for (const { name, at } of curves.map((curve) => ({ ...curve, ...reach(curve.at, first, end) })).sort((a, b) => b.size - a.size)) {
    const text = label(name);
    const long = context.measureText(text).width;
    const peak = reach(at, first, end).row;
    for (const row of [peak, ...PLACES.map((share) => track.row(view.time(share)))]) {
      const [time, value] = at(row);
      const left = Math.min(Math.max(view.x(time) - long / 2, 2), width - long - 2);
      const bottom = Math.min(Math.max(view.y(value) - 3, LINE), height - 14);
      const box = { left: left - 3, right: left + long + 3, top: bottom - LINE, bottom };
      if (taken.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom)) continue;
      taken.push(box);
      context.fillText(text, left, bottom - 2);
      break;
    }
  }
}

/** How far a curve goes up and down, and the row where it is farthest from its beginning. */
function reach(at, first, end) {
  const begin = at(first)[1];
  let [low, high, row, most] = [begin, begin, first, 0];
  for (let i = first; i < end; i++) {
    const value = at(i)[1];
    [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (Math.abs(value - begin) > most) [most, row] = [Math.abs(value - begin), i];
  }
  return { size: high - low, row };
}
