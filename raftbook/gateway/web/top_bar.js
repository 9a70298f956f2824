// The upper edge: the last price and the day so far, the instrument's status, and what the page is connected to.

import { byId, setClass, setText } from "./dom.js";
import { parseUnits, showChange, showCompact } from "./format.js";
import { nameOf } from "./nodes.js";
import { STATUS_WORDS } from "./reasons.js";

export class TopBar {
  #day = null;
  #instrument = null;

  /** The day's candle so far, null before the first trade; `lastPrice` is the last trade's. */
  showDay(instrument, day) {
    this.#instrument = instrument;
    this.#day = day;
    this.#render(day?.close ?? null, 0);
  }

  /** `direction` is above zero where the price rose against the trade before. */
  showTrade(price, direction) {
    this.#render(price, direction);
  }

  showStatus(status) {
    const pill = byId("status");
    pill.hidden = status === null || status === undefined;
    pill.dataset.status = status ?? "";
    setText(pill, STATUS_WORDS[status] ?? status ?? "");
  }

  #render(price, direction) {
    const instrument = this.#instrument;
    if (instrument === null) return;
    const day = this.#day;
    const show = (units) => (units === null || units === undefined ? "–" : instrument.showPrice(units));
    setText(byId("quote-last"), show(price));
    setClass(byId("quote-last"), `quote-last ${direction > 0 ? "buy-text" : direction < 0 ? "sell-text" : ""}`);
    const change = day === null ? null : showChange(day.close, day.open);
    setText(byId("stat-change"), change ?? "–");
    setClass(byId("stat-change"), change === null ? "" : change.startsWith("+") ? "buy-text" : "sell-text");
    setText(byId("stat-high"), show(day?.high));
    setText(byId("stat-low"), show(day?.low));
    setText(byId("stat-volume"), day === null ? "–" : showCompact(day.volume, instrument.quantityDecimals));
    document.title = price === null ? `${instrument.symbol} · raftbook` : `${show(price)} ${instrument.symbol} · raftbook`;
  }
}

/** What the page is connected to: the pill, and where nothing is live the banner. */
export function showConnection({ phase, node, reason, latencyMs, unreachable }, nodes, underWay) {
  const pill = byId("connection");
  const name = nameOf(phase === "live" ? node : nodes.current);
  pill.dataset.phase = unreachable ? "unreachable" : phase;
  const texts = {
    connecting: `Connecting to ${name}`,
    live: name,
    moving: `Moving to ${name}`,
    locked: "Key needed",
  };
  setText(byId("connection-text"), unreachable ? "No node answers" : texts[phase]);
  setText(byId("connection-latency"), phase === "live" && latencyMs !== null ? `${latencyMs.toFixed(latencyMs < 10 ? 1 : 0)} ms` : "");
  document.body.toggleAttribute("data-stale", phase !== "live");
  const names = nodes.all.map(nameOf).join(", ");
  const kept = underWay === 0 ? "" : ` ${underWay === 1 ? "One command is" : `${underWay} commands are`} under way and will be sent again.`;
  if (unreachable) return `No node answers. Trying ${names} …${kept} What you see may be out of date.`;
  if (phase === "locked") return `${reason ?? "This cluster wants an API key"}. Paste your key: press k.`;
  return null;
}

/** The text of the banner about an auction, null where there is none. */
export function auctionText(instrument, { status, indication }) {
  if (status !== "auction") return null;
  if (indication?.price === undefined) return "Auction: orders gather. Nothing would trade yet.";
  const imbalance = parseUnits(indication.imbalance_quantity, instrument.quantityDecimals);
  const left = imbalance === 0n ? "" : `, ${instrument.showQuantity(imbalance)} more to ${indication.imbalance_side}`;
  return `Auction: ${indication.quantity} would trade at ${indication.price}${left}.`;
}
