/** Numbers, times and durations as people read them. */

const NUMBER = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });
const UNITS = /** @type {const} */ ([
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
]);

/** A count with separators. @param {number} value */
export function count(value) {
  return NUMBER.format(value);
}

/** A count with its noun: "1 event", "3 events". @param {number} value @param {string} noun */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A rate in events a second. @param {number} value */
export function rate(value) {
  if (!value) return "0";
  if (value < 0.05) return "<0.1";
  return value < 10 ? value.toFixed(1) : count(Math.round(value));
}

/** A duration of some seconds in its two largest units. @param {number} seconds */
export function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return `${Math.round(size * 1_000)} ms`;
  if (size < 10) return `${size.toFixed(1)} s`;
  const at = UNITS.findIndex(([unit]) => size >= unit);
  const [unit, name] = UNITS[at];
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((size % unit) / next[0]) : 0;
  const first = `${Math.floor(size / unit)} ${name}`;
  return rest && next ? `${first} ${rest} ${next[1]}` : first;
}

/** A size in the largest unit that it fills. @param {number} bytes */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, at] = [bytes, 0];
  for (; value >= 1_024 && at < units.length - 1; at += 1) value /= 1_024;
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

/** How late a delivery was. @param {number} seconds */
export function lateness(seconds) {
  return seconds < 0.001 ? "<1 ms" : span(seconds);
}

/** Seconds of a moment of the contract; NaN for none. @param {string | undefined} text */
export function seconds(text) {
  return text ? Date.parse(text) / 1_000 : Number.NaN;
}

/** Seconds of a duration of the contract, such as "1.5s". @param {string | undefined} text */
export function durationSeconds(text) {
  return text ? Number.parseFloat(text) : 0;
}

/** A duration of the contract as one types it: "300s" is "5m". @param {string | undefined} text */
export function brief(text) {
  const given = durationSeconds(text);
  if (given && given < 1) return `${Number((given * 1_000).toFixed(3))}ms`;
  const [unit, name] = UNITS.find(([size]) => given >= size && given % size === 0) ?? [1, "s"];
  return `${Number((given / unit).toFixed(6))}${name}`;
}

/** A moment in local time. @param {number} at seconds */
export function moment(at) {
  return Number.isNaN(at) ? "" : MOMENT.format(at * 1_000);
}

/** How long ago, or until when. @param {number} at seconds @param {number} now seconds */
export function ago(at, now) {
  if (Number.isNaN(at)) return "";
  return at <= now ? `${span(now - at)} ago` : `in ${span(at - now)}`;
}

/** The bytes of a Base64 text. @param {string | undefined} text */
export function bytes(text) {
  return Uint8Array.from(atob(text ?? ""), (each) => each.charCodeAt(0));
}

/** Text of bytes in UTF-8; null if they are none. @param {Uint8Array} data */
export function text(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return null;
  }
}

/** Indented JSON; null if the text is none. @param {string | null} source */
export function json(source) {
  try {
    return source === null ? null : JSON.stringify(JSON.parse(source), null, 2);
  } catch {
    return null;
  }
}

const PER_LINE = 16;

/** Bytes as a hex dump. @param {Uint8Array} data */
export function hex(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += PER_LINE) {
    const part = [...data.slice(at, at + PER_LINE)];
    const codes = part.map((each) => each.toString(16).padStart(2, "0")).join(" ");
    const shown = part.map((each) => (each >= 32 && each < 127 ? String.fromCharCode(each) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${codes.padEnd(PER_LINE * 3)} ${shown}`);
  }
  return lines.join("\n");
}
