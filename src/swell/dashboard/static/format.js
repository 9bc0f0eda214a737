// Numbers as people read them. None is "–": nobody knows, which is another thing than 0.

export const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

// Three figures at most: 0.12, 4.5, 83, 1,204, 12.3 k, 4.1 M.
export function count(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.005) return "<0.01";
  if (value < 1) return value.toFixed(2).replace(/0$/, "");
  if (value < 10) return Number.isInteger(value) ? String(value) : value.toFixed(1);
  if (value < 99_950) return whole.format(value);
  if (value < 999_500) return `${(value / 1000).toFixed(0)} k`;
  if (value < 99_950_000) return `${(value / 1e6).toFixed(1)} M`;
  if (value < 999_500_000) return `${(value / 1e6).toFixed(0)} M`;
  return `${(value / 1e9).toFixed(1)} G`;
}

export const exact = (value) => (value === null || value === undefined ? NONE : whole.format(value));

// A short time: 85 µs, 4.2 ms, 310 ms, 1.5 s, then as an age.
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds <= 0) return "0 s";
  if (seconds < 0.0009995) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 0.00995) return `${tenths(seconds * 1e3)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 9.95) return `${tenths(seconds)} s`;
  return age(seconds);
}

const tenths = (value) => value.toFixed(1).replace(/\.0$/, "");

// A long time in its two largest units: 12 s, 4 min, 3 h 05, 2 d 7 h.
export function age(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${value < 9.95 && value > 0 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}

// Binary units, as `swell status` and ps have them.
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  for (const unit of ["KB", "MB", "GB"]) {
    value /= 1024;
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
  }
  return `${(value / 1024).toFixed(1)} TB`;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

// Unix seconds: the time of day, with the date when it was another day.
export function clock(at, now = Date.now() / 1000) {
  return (now - at < 20 * 3600 ? clockFormat : dayFormat).format(at * 1000);
}

export const plural = (number, word) => `${exact(number)} ${word}${number === 1 ? "" : "s"}`;
