// Candles: what GET /v1/candles gave, gone on with from the trades.

import { parseUnits } from "./format.js";

/** Length in seconds by name. */
export const INTERVALS = { "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400 };

export class CandleHistory {
  /** Oldest first; `start` in seconds. */
  candles = [];
  #length;
  #instrument;
  #countedTo;

  /** `documents` are the candles of an answer, `logIndex` how far it had counted. */
  constructor(instrument, interval, documents, logIndex) {
    this.#instrument = instrument;
    this.#length = INTERVALS[interval];
    this.#countedTo = logIndex;
    this.candles = documents.map((document) => ({
      start: toSeconds(document.start),
      open: this.#price(document.open),
      high: this.#price(document.high),
      low: this.#price(document.low),
      close: this.#price(document.close),
      volume: parseUnits(document.volume, instrument.quantityDecimals),
    }));
  }

  get last() {
    return this.candles.at(-1) ?? null;
  }

  /** Counts a trade, unless the answer had counted it. Returns the candle that changed, or null. */
  add(trade) {
    if (trade.logIndex <= this.#countedTo) return null;
    const seconds = toSeconds(trade.timestamp);
    const start = seconds - (seconds % this.#length);
    const last = this.last;
    if (last !== null && last.start === start) {
      if (trade.price > last.high) last.high = trade.price;
      if (trade.price < last.low) last.low = trade.price;
      last.close = trade.price;
      last.volume += trade.quantity;
      return last;
    }
    const { price, quantity } = trade;
    const begun = { start, open: price, high: price, low: price, close: price, volume: quantity };
    this.candles.push(begun);
    return begun;
  }

  #price(text) {
    return parseUnits(text, this.#instrument.priceDecimals);
  }
}

/** Starts are whole seconds, so what a float loses of nanoseconds changes none of them. */
function toSeconds(nanoseconds) {
  return Math.floor(Math.round(nanoseconds / 1e3) / 1e6);
}
