// What the attributes are called, how they are grouped, and how their values are written.

const LABELS = {
  pitch: "Nod", yaw: "Turn", roll: "Tilt", gaze_pitch: "Gaze down", gaze_yaw: "Gaze aside",
  AU01: "Inner brow up", AU02: "Outer brow up", AU04: "Brow down",
  AU05: "Lid up", AU06: "Cheek up", AU07: "Lid tight", AU45: "Blink",
  AU09: "Nose wrinkle", AU10: "Upper lip up",
  AU12: "Smile", AU14: "Dimple", AU15: "Corners down", AU17: "Chin up", AU18: "Pucker", AU20: "Lip stretch",
  AU22: "Funnel", AU23: "Lip tight", AU24: "Lip press", AU25: "Lips part", AU26: "Jaw drop", AU29: "Jaw forward",
  AU34: "Cheek puff", jaw_side: "Jaw aside", mouth_side: "Mouth aside",
  place_x: "Aside", place_y: "Down", place_scale: "Nearer",
};

/** Groups in the order of the page. The first four are open at first. */
export const GROUPS = [
  ["pose", "Head pose"], ["gaze", "Gaze"], ["brows", "Brows"], ["eyes", "Eyes"], ["mouth", "Mouth"],
  ["nose", "Nose"], ["sides", "Left against right"], ["place", "Place in the picture"],
];
export const OPEN_AT_FIRST = new Set(["pose", "brows", "eyes", "mouth"]);

export function label(name) {
  if (name.endsWith("_side") && name.startsWith("AU")) return `${LABELS[name.slice(0, 4)]} L/R`;
  return LABELS[name] ?? name;
}

/** The short name of the field beside the label; empty where the label says it all. */
export const code = (name) => (name.startsWith("AU") ? name.slice(0, 4) : "");

const DEGREES = 180 / Math.PI;
const POSE = { rest: 0.5, scale: 1.4 * DEGREES, digits: 0, sign: "°" };
const GAZE = { rest: 0, scale: 0.6 * DEGREES, digits: 0, sign: "°" };
const UNITS = { pitch: POSE, yaw: POSE, roll: POSE, gaze_pitch: GAZE, gaze_yaw: GAZE };
const PLAIN = { rest: 0, scale: 1, digits: 2, sign: "" };

/** How an attribute's values are written: `(value - rest) * scale`. */
export const unit = (name) => UNITS[name] ?? PLAIN;

/** A value as people read it: degrees for angles, else two digits. */
export function written(name, value) {
  const { rest, scale, digits, sign } = unit(name);
  return signed((value - rest) * scale, digits) + sign;
}

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
