// The numbers of a recorded track, and the changes of its curves, which can be taken back.

const UNDO_STEPS = 100;

export class Track {
  #names;
  #before = null;
  #first = Infinity;
  #end = 0;
  #undone = [];
  #done = [];

  /** From the packed form: rows and columns (uint32), then times and values by row (float32). */
  constructor(name, data, names) {
    this.name = name;
    this.#names = names;
    [this.rows, this.size] = new Uint32Array(data, 0, 2);
    const times = new Float32Array(data, 8, this.rows);
    this.times = times.map((time) => time - times[0]);
    this.values = new Float32Array(data, 8 + 4 * this.rows, this.rows * this.size);
    const last = this.times[this.rows - 1];
    /** When it ends: the last row lasts as long as the others. */
    this.end = this.rows > 1 ? last + last / (this.rows - 1) : 0.04;
  }

  /** The row that is nearest to a time. */
  row(time) {
    let [low, high] = [0, this.rows - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle;
      else high = middle;
    }
    return this.times[high] - time <= time - this.times[low] ? high : low;
  }

  value(name, row) {
    return this.values[row * this.size + this.#names.indexOf(name)];
  }

  /** Whether an attribute changes at all. */
  moves(name) {
    const column = this.#names.indexOf(name);
    for (let row = 1; row < this.rows; row++) if (Math.abs(this.values[row * this.size + column] - this.values[column]) > 0.02) return true;
    return false;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** Begin a change of several strokes. */
  begin() {
    this.#before = this.values.slice();
    [this.#first, this.#end] = [Infinity, 0];
  }

  /** Move a curve to a value at a row, and its neighbours within `reach` seconds with it, the less the farther they are. */
  pull(name, row, value, reach, low) {
    const { times, values, size, rows } = this;
    const column = this.#names.indexOf(name);
    const by = value - values[row * size + column];
    for (let i = 0; i < rows; i++) {
      const away = Math.abs(times[i] - times[row]);
      if (i !== row && away >= 2 * reach) continue;
      const share = i === row ? 1 : Math.exp(-0.5 * (away / (reach / 1.5)) ** 2);
      values[i * size + column] = Math.min(1, Math.max(low, values[i * size + column] + share * by));
      this.#first = Math.min(this.#first, i);
      this.#end = Math.max(this.#end, i + 1);
    }
  }

  /** End a change; gives {attribute, start, values} of what is new, or null where nothing is. */
  finish(name) {
    const [first, end] = [this.#first, this.#end];
    if (end <= first) return null;
    this.#done.push({ attribute: name, start: first, values: this.#column(this.#before, name, first, end) });
    this.#done = this.#done.slice(-UNDO_STEPS);
    this.#undone = [];
    return { attribute: name, start: first, values: this.#column(this.values, name, first, end) };
  }

  undo() {
    return this.#swap(this.#done, this.#undone);
  }

  redo() {
    return this.#swap(this.#undone, this.#done);
  }

  /** Put the newest change of one list back, and what was there onto the other. */
  #swap(from, onto) {
    const step = from.pop();
    if (!step) return null;
    const { attribute, start, values } = step;
    onto.push({ ...step, values: this.#column(this.values, attribute, start, start + values.length) });
    const column = this.#names.indexOf(attribute);
    values.forEach((value, i) => (this.values[(start + i) * this.size + column] = value));
    return step;
  }

  #column(values, name, first, end) {
    const column = this.#names.indexOf(name);
    return Array.from({ length: end - first }, (_, i) => values[(first + i) * this.size + column]);
  }
}
