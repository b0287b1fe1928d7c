// The page: every part listens to the link and asks it for what the user wants.

import { byId, icon } from "./dom.js";
import { Call } from "./call.js";
import { Gallery } from "./gallery.js";
import { Graph } from "./graph.js";
import { Jobs } from "./jobs.js";
import { Link } from "./link.js";
import { Output } from "./output.js";
import { Sliders } from "./sliders.js";
import { Timeline } from "./timeline.js";

const link = new Link();
new Output(link);
new Sliders(link);
new Gallery(link);
new Call(link);
new Graph(link);
new Jobs(link);
const timeline = new Timeline(link);

link.addEventListener("connection", ({ detail: { state, text } }) => {
  const chip = byId("connection");
  chip.textContent = text;
  chip.dataset.state = state;
});

// Actions

let recording = null;
let flags = { mirrored: [], frozen: false };
const act = {
  record: async () => {
    const track = await link.ask(recording ? "stop_recording" : "record");
    if (track) timeline.open(track);
  },
  neutral: () => link.ask("neutral"),
  mirror: () => link.ask("mirror", { on: !flags.mirrored.length }),
  freeze: () => link.ask("freeze", { on: !flags.frozen }),
};
for (const [name, action] of Object.entries(act)) byId(`do-${name}`).addEventListener("click", action);

const KEYS = { r: "record", c: "neutral", m: "mirror" };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), select, textarea")) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) act[KEYS[key]]();
  else if (key === " " && event.target === document.body) {
    event.preventDefault();
    act.freeze();
  }
  else if (/^[1-9]$/.test(key)) link.ask("show", { number: Number(key) - 1 });
});

link.addEventListener("run", ({ detail }) => {
  flags = detail;
  byId("do-mirror").setAttribute("aria-pressed", detail.mirrored.length > 0);
  byId("do-freeze").setAttribute("aria-pressed", detail.frozen);
  byId("do-neutral").disabled = !detail.tracked;
  if (Boolean(recording) !== Boolean(detail.recording)) {
    byId("do-record").setAttribute("aria-pressed", Boolean(detail.recording));
    byId("do-record").replaceChildren(icon(detail.recording ? "stop" : "record"), detail.recording ? "Stop" : "Record");
  }
  recording = detail.recording;
  byId("recording").hidden = !recording;
  if (recording) byId("recording").lastElementChild.textContent = `${recording.seconds.toFixed(0)} s`;
});

link.open();
