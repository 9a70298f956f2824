// A local copy of one order book, level by level. It equals the node's at every sequence number, or says that it does not.

import { parseUnits } from "./format.js";
import { follows } from "./sequence.js";

/** One side: prices in order, best first, and the quantity at each. Finding a price costs O(log n). */
class BookSide {
  prices = [];
  quantities = new Map();
  #comesBefore;

  constructor(comesBefore) {
    this.#comesBefore = comesBefore;
  }

  /** `quantity` is absolute; 0 means that the level is gone. */
  set(price, quantity) {
    const known = this.quantities.has(price);
    if (quantity === 0n) {
      if (known) this.prices.splice(this.#position(price), 1);
      this.quantities.delete(price);
      return;
    }
    if (!known) this.prices.splice(this.#position(price), 0, price);
    this.quantities.set(price, quantity);
  }

  clear() {
    this.prices = [];
    this.quantities.clear();
  }

  get best() {
    return this.prices[0] ?? null;
  }

  #position(price) {
    let low = 0;
    let high = this.prices.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#comesBefore(this.prices[middle], price)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class LocalBook {
  bids = new BookSide((one, other) => one > other);
  asks = new BookSide((one, other) => one < other);
  /** The last sequence number applied; null before the first snapshot. */
  position = null;
  status = null;
  indication = null;
  lastPrice = null;
  #instrument;

  constructor(instrument) {
    this.#instrument = instrument;
  }

  reset() {
    this.position = null;
  }

  /** Applies a message of the channel `book`. False where it does not follow, and nothing was applied. */
  apply(message) {
    if (message.type === "snapshot") {
      this.bids.clear();
      this.asks.clear();
      this.indication = null;
      this.lastPrice = null;
    } else if (!follows(this.position, message)) {
      return false;
    }
    this.position = message.sequence;
    this.#setLevels(this.bids, message.bids);
    this.#setLevels(this.asks, message.asks);
    if (message.status !== undefined) {
      this.status = message.status;
      if (message.status !== "auction") this.indication = null;
    }
    if (message.indication !== undefined) this.indication = message.indication;
    if (message.last_price !== undefined) this.lastPrice = parseUnits(message.last_price, this.#instrument.priceDecimals);
    return true;
  }

  #setLevels(side, levels) {
    for (const [price, quantity] of levels ?? []) {
      side.set(
        parseUnits(price, this.#instrument.priceDecimals),
        parseUnits(quantity, this.#instrument.quantityDecimals),
      );
    }
  }
}

/**
 * The best `count` levels of a side with their running total, prices gathered in steps of `step`: a bid counts at the
 * multiple below it, an ask at the one above, so no level looks better than it is.
 */
export function gatherLevels(side, isBid, step, count) {
  const levels = [];
  let total = 0n;
  for (const price of side.prices) {
    const rest = price % step;
    const gathered = rest === 0n ? price : isBid ? price - rest : price - rest + step;
    const quantity = side.quantities.get(price);
    const last = levels.at(-1);
    if (last === undefined || last.price !== gathered) {
      if (levels.length === count) break;
      levels.push({ price: gathered, quantity, total: total + quantity });
    } else {
      last.quantity += quantity;
      last.total += quantity;
    }
    total += quantity;
  }
  return levels;
}
