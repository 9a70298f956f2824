// The order book as people trade from it: asks above, bids below, both towards the spread. Rows are made once and used
// again; a frame writes only what has changed.

import { gatherLevels } from "./book.js";
import { byId, element, everyFrame, setText } from "./dom.js";
import { shareOf } from "./format.js";

const FEWEST_ROWS = 5;
const ROWS_ON_A_PHONE = 8;
/** Price steps on offer, as multiples of the tick. */
const STEPS = [1n, 2n, 5n, 10n, 50n, 100n, 1_000n];

export class Ladder {
  #book = null;
  #instrument = null;
  #step = 1n;
  #ownQuantities = { buy: new Map(), sell: new Map() };
  #lastTrade = null;
  #fittedRow = "";
  #rows = { asks: [], bids: [] };
  #container = byId("ladder");
  #sides = { asks: byId("asks"), bids: byId("bids") };
  #stepSelect = byId("step");

  /** `onPick({price, quantity})`: a price was chosen, and how much there is up to it. */
  constructor(onPick) {
    this.render = everyFrame(() => this.#render());
    new ResizeObserver(() => this.render()).observe(this.#container);
    this.#stepSelect.addEventListener("change", () => {
      this.#step = BigInt(this.#stepSelect.value);
      this.render();
    });
    this.#container.addEventListener("click", (event) => {
      const row = event.target.closest(".ladder-row");
      if (row?.level) onPick({ price: row.level.price, quantity: event.shiftKey ? row.level.total : null });
    });
    this.#container.addEventListener("keydown", (event) => this.#walk(event));
  }

  show(book, instrument) {
    this.#book = book;
    this.#lastTrade = null;
    if (instrument !== this.#instrument) {
      this.#instrument = instrument;
      this.#step = instrument.tick;
      this.#stepSelect.replaceChildren(
        ...STEPS.map((multiple) => element("option", { value: multiple * instrument.tick }, instrument.price(multiple * instrument.tick))),
      );
    }
    this.render();
  }

  /** What the chosen account has at each price: {buy: Map(price → quantity), sell: …}. */
  showOwn(quantities) {
    this.#ownQuantities = quantities;
    this.render();
  }

  /** The last trade and the one before it, for its direction. */
  showLastTrade(price, direction) {
    this.#lastTrade = { price, direction };
    this.render();
  }

  focus() {
    const row = this.#rows.asks.find((each) => each.level !== null) ?? this.#rows.bids.find((each) => each.level !== null);
    row?.focus();
  }

  #render() {
    if (this.#book === null) return;
    const count = this.#fit();
    const asks = gatherLevels(this.#book.asks, false, this.#step, count);
    const bids = gatherLevels(this.#book.bids, true, this.#step, count);
    const deepest = [asks.at(-1)?.total ?? 0n, bids.at(-1)?.total ?? 0n].reduce((one, other) => (one > other ? one : other));
    this.#fill("asks", asks, deepest, this.#ownOf("sell", false));
    this.#fill("bids", bids, deepest, this.#ownOf("buy", true));
    this.#renderSpread();
  }

  /** Own quantities by gathered price. */
  #ownOf(side, isBid) {
    const gathered = new Map();
    for (const [price, quantity] of this.#ownQuantities[side]) {
      const rest = price % this.#step;
      const at = rest === 0n ? price : isBid ? price - rest : price - rest + this.#step;
      gathered.set(at, (gathered.get(at) ?? 0n) + quantity);
    }
    return gathered;
  }

  /** As many rows a side as there is room for; on a phone, where the page scrolls, a fixed number. */
  #fit() {
    const rowHeight = Number.parseFloat(getComputedStyle(this.#container).getPropertyValue("--row"));
    const isPhone = matchMedia("(max-width: 759px)").matches;
    const room = Math.min(this.#sides.asks.clientHeight, this.#sides.bids.clientHeight);
    const count = isPhone ? ROWS_ON_A_PHONE : Math.max(FEWEST_ROWS, Math.floor(room / rowHeight));
    const fitted = isPhone ? `${rowHeight}px` : `${Math.max(rowHeight, room / count)}px`;
    if (this.#fittedRow !== fitted) this.#container.style.setProperty("--fitted-row", (this.#fittedRow = fitted));
    for (const side of ["asks", "bids"]) {
      const rows = this.#rows[side];
      while (rows.length < count) rows.push(this.#sides[side].appendChild(makeRow()));
      while (rows.length > count) rows.pop().remove();
    }
    return count;
  }

  #fill(side, levels, deepest, own) {
    this.#rows[side].forEach((row, index) => {
      const level = levels[index] ?? null;
      row.level = level;
      row.disabled = level === null;
      const mine = level === null ? undefined : own.get(level.price);
      setText(row.price, level === null ? "" : this.#instrument.showPrice(level.price));
      setText(row.quantity, level === null ? "" : this.#instrument.showQuantity(level.quantity));
      setText(row.total, level === null ? "" : this.#instrument.showQuantity(level.total));
      setText(row.own, mine === undefined ? "" : this.#instrument.showQuantity(mine));
      if (row.hasAttribute("data-own") !== (mine !== undefined)) row.toggleAttribute("data-own");
      const share = level === null ? 0 : shareOf(level.total, deepest);
      if (row.share !== share) row.style.setProperty("--share", (row.share = share));
      row.tabIndex = index === 0 ? 0 : -1;
    });
  }

  #renderSpread() {
    const { bids, asks, indication, status } = this.#book;
    const last = this.#lastTrade?.price ?? this.#book.lastPrice;
    const lastNode = byId("spread-last");
    const direction = this.#lastTrade?.direction ?? 0;
    setText(lastNode, last === null ? "–" : `${this.#instrument.showPrice(last)}${direction > 0 ? " ↑" : direction < 0 ? " ↓" : ""}`);
    lastNode.className = direction > 0 ? "buy-text" : direction < 0 ? "sell-text" : "";
    setText(byId("spread-text"), spreadText(this.#instrument, bids.best, asks.best, status, indication, this.#book.position));
  }

  /** Up and down walk through the prices, from one side into the other. */
  #walk(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    const filled = [...this.#rows.asks].reverse().concat(this.#rows.bids).filter((row) => row.level !== null);
    const next = filled[filled.indexOf(document.activeElement) + step];
    if (next !== undefined) {
      event.preventDefault();
      next.focus();
    }
  }
}

function makeRow() {
  const row = element("button", { type: "button", class: "ladder-row" });
  row.level = null;
  row.own = element("span", { class: "own" });
  row.priceCell = element("span", { class: "price" });
  row.price = element("span");
  row.priceCell.append(row.price, row.own);
  row.quantity = element("span");
  row.total = element("span", { class: "total" });
  row.append(row.priceCell, row.quantity, row.total);
  return row;
}

function spreadText(instrument, bid, ask, status, indication, position) {
  if (position === null) return "Loading …";
  if (status === "auction") {
    return indication?.price === undefined
      ? "Auction: nothing would trade yet"
      : `Auction: ${indication.quantity} at ${indication.price}`;
  }
  if (bid === null && ask === null) return "No orders yet";
  if (bid === null || ask === null) return bid === null ? "No bids" : "No asks";
  return `Spread ${instrument.showPrice(ask - bid)}`;
}
