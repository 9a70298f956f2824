// Exact decimals: texts and BigInts in units of 10^-decimals. Prices, quantities and what is computed from them are never
// floats; only what is drawn (a bar's length, a point on a chart) is, and nothing is sent or shown that came from it.

const DECIMAL = /^(\d*)(?:\.(\d*))?$/;

/**
 * The units that `text` is, as a BigInt.
 * Returns null where it is no decimal number, or has more decimals than `decimals` and so would need rounding.
 */
export function parseUnits(text, decimals) {
  const match = DECIMAL.exec(text.trim());
  if (match === null) return null;
  const whole = match[1];
  const fraction = (match[2] ?? "").replace(/0+$/, "");
  if (whole === "" && (match[2] ?? "") === "") return null;
  if (fraction.length > decimals || whole.length + decimals > 40) return null;
  return BigInt(whole + fraction.padEnd(decimals, "0") || "0");
}

/** Whether `text` is a decimal number at all, however precise. */
export function isDecimal(text) {
  return parseUnits(text, 36) !== null;
}

/** `units` as text with exactly `decimals` decimals. */
export function formatUnits(units, decimals) {
  const sign = units < 0n ? "-" : "";
  const digits = (units < 0n ? -units : units).toString().padStart(decimals + 1, "0");
  if (decimals === 0) return sign + digits;
  return `${sign}${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

/** A decimal text as people read it: 1234567.50 as 1,234,567.50. */
export function grouped(text) {
  const [whole, fraction] = String(text).split(".");
  const separated = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? separated : `${separated}.${fraction}`;
}

/** `units` for people. */
export function showUnits(units, decimals) {
  return grouped(formatUnits(units, decimals));
}

/** A large number in few characters, cut off and not rounded up: 1,234,567 as 1.23M. */
export function showCompact(units, decimals) {
  const whole = units / 10n ** BigInt(decimals);
  for (const [suffix, size] of [["B", 1_000_000_000n], ["M", 1_000_000n], ["K", 1_000n]]) {
    if (whole >= size * 10n || (suffix !== "K" && whole >= size)) {
      return `${formatUnits((whole * 100n) / size, 2)}${suffix}`;
    }
  }
  return showUnits(units, decimals);
}

/** What `units` has changed against `base`, as signed percent with two decimals; null where there is no base. */
export function showChange(units, base) {
  if (base === null || base === 0n) return null;
  const hundredths = ((units - base) * 10_000n) / base;
  const text = `${grouped(formatUnits(hundredths < 0n ? -hundredths : hundredths, 2))}%`;
  return hundredths < 0n ? `−${text}` : `+${text}`;
}

/** How far `units` is in `whole`, from 0 to 1: a float, for drawing alone. */
export function shareOf(units, whole) {
  if (whole <= 0n) return 0;
  return Number((units * 10_000n) / whole) / 10_000;
}

/** Where a price stands on an axis: a float, for drawing alone. */
export function toCoordinate(units, decimals) {
  return Number(formatUnits(units, decimals));
}

/** Nanoseconds since the epoch as the time of day in UTC, as the chart has it too, and the exchange's day. */
export function showTime(nanoseconds) {
  return new Date(nanoseconds / 1e6).toISOString().slice(11, 19);
}

/** JSON in which a BigInt is an integer, as a time in nanoseconds must be: JSON.stringify knows no BigInt. */
export function toJson(fields) {
  const members = Object.entries(fields).filter(([, value]) => value !== undefined);
  return `{${members
    .map(([name, value]) => `${JSON.stringify(name)}:${typeof value === "bigint" ? value : JSON.stringify(value)}`)
    .join(",")}}`;
}
