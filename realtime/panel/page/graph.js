// How fast the run is: the facts of the head, and the frame time and latency of the last half minute.

import { byId, cachedColour, fitted, make } from "./dom.js";

const SECONDS = 30;
const short = (engine) => engine.split(" for ")[0].replace("corrected by", "with");
const STAGES = [["track", "Tracking"], ["mix", "Mixing"], ["animate", "Animation"], ["compose", "Composition"], ["send", "Sending"]];

export class Graph {
  #intervals = [];
  #latencies = [];
  #budget = 33;
  #stages = {};

  constructor(link) {
    link.addEventListener("picture", ({ detail }) => this.#add(this.#intervals, detail.interval_ms));
    link.addEventListener("speed", ({ detail }) => this.#tell(detail));
  }

  #add(series, value) {
    const now = performance.now() / 1000;
    series.push([now, value]);
    while (series.length && series[0][0] < now - SECONDS) series.shift();
  }

  #tell({ fps, budget_ms, latency_ms, stages_ms, dropped, sent, engine, mark, level }) {
    this.#budget = budget_ms;
    if (latency_ms) this.#add(this.#latencies, latency_ms);
    byId("fact-fps").textContent = fps.toFixed(1);
    byId("fact-latency").textContent = latency_ms ? `${latency_ms.toFixed(0)} ms` : "–";
    byId("fact-dropped").textContent = `${dropped}`;
    byId("fact-dropped").title = `${dropped} of ${sent + dropped} frames`;
    byId("fact-mark").textContent = mark ? "on" : "off";
    byId("fact-engine").textContent = level === "full" ? short(engine) : `${short(engine)}; ${level}`;
    byId("fact-engine").title = engine;
    byId("graph-latency").textContent = latency_ms ? `${latency_ms.toFixed(0)} ms` : "–";
    const last = this.#intervals.slice(-15);
    if (last.length) byId("graph-interval").textContent = `${(last.reduce((sum, [, ms]) => sum + ms, 0) / last.length).toFixed(0)} ms`;
    Object.assign(this.#stages, stages_ms);
    const written = STAGES.filter(([key]) => this.#stages[key] !== undefined).map(([key, text]) =>
      make("div", {}, make("dt", {}, text), make("dd", {}, `${this.#stages[key].toFixed(1)} ms`)));
    byId("stages").replaceChildren(...written);
    this.#draw();
  }

  #draw() {
    const { context, width, height } = fitted(byId("graph"));
    if (!width) return;
    const now = performance.now() / 1000;
    const top = Math.max(2.2 * this.#budget, ...this.#latencies.map(([, ms]) => 1.15 * ms));
    const y = (ms) => height - 2 - (Math.min(ms, top) / top) * (height - 4);
    context.strokeStyle = cachedColour("line");
    context.beginPath();
    context.setLineDash([3, 3]);
    context.moveTo(0, y(this.#budget));
    context.lineTo(width, y(this.#budget));
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = cachedColour("quiet");
    context.font = "10px system-ui, sans-serif";
    context.fillText(`${this.#budget.toFixed(0)} ms`, 2, y(this.#budget) - 3);
    for (const [series, name] of [[this.#intervals, "accent"], [this.#latencies, "driver"]]) {
      context.strokeStyle = cachedColour(name);
      context.lineWidth = 1.2;
      context.beginPath();
      for (const [time, ms] of series) context.lineTo(width * (1 - (now - time) / SECONDS), y(ms));
      context.stroke();
    }
  }
}
