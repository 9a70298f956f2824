// The latest trades of one instrument, without gap or repeat.

import { parseUnits } from "./format.js";

const KEPT = 200;

export class TradeTape {
  /** Oldest first. */
  trades = [];
  /** The sequence number of the last message; null before the first snapshot. */
  position = null;
  #lastId = null;
  #instrument;
  #onTrade;

  /** `onTrade` is called with each new trade, once; not with those of snapshots, which are history. */
  constructor(instrument, onTrade = () => {}) {
    this.#instrument = instrument;
    this.#onTrade = onTrade;
  }

  get last() {
    return this.trades.at(-1) ?? null;
  }

  reset() {
    this.position = null;
  }

  /** Applies a message of the channel `trades`. False where trades are missing before it. */
  apply(message) {
    if (message.type === "snapshot") {
      const unseen = this.#lastId;
      this.trades = message.trades.map((trade) => this.#read(trade));
      // What was not seen yet of a snapshot that follows a gap is new, as far as it goes.
      if (unseen !== null) for (const trade of this.trades) if (trade.id > unseen) this.#onTrade(trade);
      this.#lastId = this.last?.id ?? null;
      this.position = message.sequence;
      return true;
    }
    if (this.position === null || (message.previous_trade_id ?? null) !== this.#lastId) return false;
    const trade = this.#read(message);
    this.trades.push(trade);
    if (this.trades.length > KEPT) this.trades.splice(0, this.trades.length - KEPT);
    this.#lastId = trade.id;
    this.position = message.sequence;
    this.#onTrade(trade);
    return true;
  }

  #read(message) {
    return {
      id: message.trade_id,
      price: parseUnits(message.price, this.#instrument.priceDecimals),
      quantity: parseUnits(message.quantity, this.#instrument.quantityDecimals),
      takerSide: message.taker_side,
      auction: message.auction === true,
      timestamp: message.timestamp,
      logIndex: message.log_index,
    };
  }
}
