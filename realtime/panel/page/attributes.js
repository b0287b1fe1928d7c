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
  if (name.endsWith("_side") && name.startsWith("AU")) return LABELS[name.slice(0, 4)];
  return LABELS[name] ?? name;
}

/** The short name of the field beside the label; empty where the label says it all. */
export const code = (name) => (name.startsWith("AU") ? name.slice(0, 4) : "");

const DEGREES = 180 / Math.PI;
const angle = { pitch: 1, yaw: 1, roll: 1, gaze_pitch: 2, gaze_yaw: 2 };

/** A value as people read it: degrees for angles, else two digits. */
export function written(name, value) {
  if (angle[name] === 1) return `${signed((value - 0.5) * 1.4 * DEGREES, 0)}°`;
  if (angle[name] === 2) return `${signed(value * 0.6 * DEGREES, 0)}°`;
  return signed(value, 2);
}

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
