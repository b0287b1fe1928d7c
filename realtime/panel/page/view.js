// The part of a track that is seen: from one time to another, zoomed and moved, and its drawing.

import { cachedColour, fitted } from "./dom.js";

const SHORTEST_S = 0.2;
const EDGE = 6;

export class View {
  from = 0;
  to = 1;
  #end = 1;

  /** Show all of a track that lasts so long. */
  all(end = this.#end) {
    this.#end = end;
    [this.from, this.to] = [0, end];
  }

  get isWhole() {
    return this.to - this.from >= this.#end - 1e-6;
  }

  /** Show `factor` times as much, around a time that stays where it is. */
  zoom(factor, time) {
    const length = Math.min(Math.max((this.to - this.from) * factor, Math.min(SHORTEST_S, this.#end)), this.#end);
    const share = (time - this.from) / (this.to - this.from);
    this.#move(time - Math.min(Math.max(share, 0), 1) * length, length);
  }

  /** Move by a part of what is seen. */
  pan(share) {
    const length = this.to - this.from;
    this.#move(this.from + share * length, length);
  }

  /** Bring a time into sight. */
  reveal(time) {
    const length = this.to - this.from;
    if (time < this.from || time > this.to) this.#move(time - 0.05 * length, length);
  }

  #move(from, length) {
    this.from = Math.min(Math.max(from, 0), this.#end - length);
    this.to = this.from + length;
  }

  /** The time at a share of the width. */
  time(share) {
    return this.from + share * (this.to - this.from);
  }

  /** Begin a drawing: grid of seconds, the rest line and the part that is repeated. */
  begin(canvas, low, rest, loop) {
    const { context, width, height } = fitted(canvas);
    this.context = context;
    this.x = (time) => ((time - this.from) / (this.to - this.from)) * width;
    this.y = (value) => EDGE + (1 - (value - low) / (1 - low)) * (height - 2 * EDGE);
    if (loop) {
      context.fillStyle = cachedColour("accent");
      context.globalAlpha = 0.14;
      context.fillRect(this.x(loop[0]), 0, this.x(loop[1]) - this.x(loop[0]), height);
      context.globalAlpha = 1;
    }
    context.strokeStyle = cachedColour("line");
    context.lineWidth = 1;
    context.beginPath();
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300].find((seconds) => (seconds / (this.to - this.from)) * width > 40) ?? 600;
    for (let i = Math.ceil(this.from / step); i * step < this.to; i++) {
      context.moveTo(this.x(i * step), 0);
      context.lineTo(this.x(i * step), height);
    }
    context.moveTo(0, this.y(rest));
    context.lineTo(width, this.y(rest));
    context.stroke();
    if (!this.isWhole) {
      context.fillStyle = cachedColour("quiet");
      context.font = "10px system-ui, sans-serif";
      for (let i = Math.ceil(this.from / step); i * step < this.to; i++) context.fillText(`${Number((i * step).toFixed(1))} s`, this.x(i * step) + 3, height - 3);
    }
    return { context, width, height };
  }

  /** Draw a curve from row `first` to before `end`; `at(row)` gives [time, value]. */
  curve(first, end, at, colour, lineWidth) {
    const { context } = this;
    context.strokeStyle = cachedColour(colour);
    context.lineWidth = lineWidth;
    context.lineJoin = "round";
    context.beginPath();
    for (let row = first; row < end; row++) {
      const [time, value] = at(row);
      context.lineTo(this.x(time), this.y(value));
    }
    context.stroke();
  }
}

/** The share of the canvas's height at which a pointer is, as a value from `low` to 1. */
export function valueAt(canvas, clientY, low) {
  const place = canvas.getBoundingClientRect();
  const share = Math.min(Math.max((clientY - place.top - EDGE) / (place.height - 2 * EDGE), 0), 1);
  return low + (1 - low) * (1 - share);
}
