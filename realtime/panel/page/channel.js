// What shapes one attribute or a group beside its source: offset, limits and smoothing, behind a button.

import { unit } from "./attributes.js";
import { icon, make } from "./dom.js";

const FIELDS = [
  { key: "offset", text: "Offset", about: "is added", usual: 0 },
  { key: "low", text: "At least", about: "no lower than this; empty: no limit", usual: null },
  { key: "high", text: "At most", about: "no higher than this; empty: no limit", usual: null },
  { key: "smoothing_s", text: "Smoothing", about: "seconds that a change takes to arrive", usual: 0 },
];

/** Give the button and the fields for these attributes; `set` takes changes of their channels. */
export function shaping(title, names, set) {
  const { rest, scale, sign } = unit(names[0]);
  const shown = {
    offset: (value) => value * scale,
    low: (value) => (value - rest) * scale,
    high: (value) => (value - rest) * scale,
    smoothing_s: (value) => value,
  };
  const meant = {
    offset: (number) => number / scale,
    low: (number) => number / scale + rest,
    high: (number) => number / scale + rest,
    smoothing_s: (number) => number,
  };
  const step = sign ? 1 : 0.05;
  const inputs = new Map();
  const labels = FIELDS.map(({ key, text, about, usual }) => {
    const input = make("input", { type: "number", step: key === "smoothing_s" ? 0.05 : step, title: about });
    if (key === "smoothing_s") input.min = 0;
    input.dataset.field = key;
    input.addEventListener("change", () => {
      if (input.value !== "") set({ [key]: meant[key](Number(input.value)) });
      else set({ [key]: usual });
    });
    inputs.set(key, input);
    return make("label", {}, make("span", {}, text), input, make("span", { class: "quiet" }, key === "smoothing_s" ? "s" : sign));
  });
  const fields = make("div", { class: "shaping", role: "group", ariaLabel: `Offset, limits and smoothing of ${title}`, hidden: true }, ...labels);
  const button = make("button", { type: "button", class: "more", ariaLabel: `Offset, limits and smoothing of ${title}`, title: "Offset, limits, smoothing", ariaExpanded: "false" }, icon("shape"));
  button.addEventListener("click", (event) => {
    event.preventDefault();
    fields.hidden = !fields.hidden;
    button.setAttribute("aria-expanded", !fields.hidden);
    if (!fields.hidden) inputs.get("offset").focus();
  });

  /** Show the channels as they are; where they differ, a field is empty. */
  function follow(channels) {
    let shaped = false;
    for (const { key, usual } of FIELDS) {
      const input = inputs.get(key);
      const same = channels.every((channel) => channel[key] === channels[0][key]);
      shaped ||= channels.some((channel) => channel[key] !== usual);
      input.placeholder = same ? (usual === null ? "none" : "") : "mixed";
      if (document.activeElement === input) continue;
      const value = same ? channels[0][key] : null;
      input.value = value === null ? "" : Number(shown[key](value).toFixed(sign && key !== "smoothing_s" ? 1 : 3));
    }
    button.dataset.shaped = shaped;
  }
  return { button, fields, follow };
}
