// The tape: the latest trades, the newest above.

import { byId, element, everyFrame, setClass, setText } from "./dom.js";
import { showTime } from "./format.js";

const MOST_ROWS = 60;

export class TradesView {
  #tape = null;
  #instrument = null;
  #rows = [];
  #list = byId("tape");

  constructor() {
    this.render = everyFrame(() => this.#render());
    for (let index = 0; index < MOST_ROWS; index += 1) {
      const row = element("li", { hidden: true });
      row.price = row.appendChild(element("span"));
      row.quantity = row.appendChild(element("span"));
      row.time = row.appendChild(element("span"));
      this.#rows.push(row);
    }
    this.#list.append(...this.#rows);
  }

  show(tape, instrument) {
    this.#tape = tape;
    this.#instrument = instrument;
    this.render();
  }

  #render() {
    if (this.#tape === null) return;
    const { trades, position } = this.#tape;
    const empty = byId("tape-empty");
    empty.hidden = trades.length > 0;
    setText(empty, position === null ? "Loading …" : "No trades yet");
    this.#rows.forEach((row, index) => {
      const trade = trades[trades.length - 1 - index];
      row.hidden = trade === undefined;
      if (trade === undefined) return;
      setText(row.price, this.#instrument.showPrice(trade.price));
      setClass(row.price, trade.auction ? "soft" : trade.takerSide === "buy" ? "buy-text" : "sell-text");
      setText(row.quantity, this.#instrument.showQuantity(trade.quantity));
      setText(row.time, showTime(trade.timestamp));
      row.title = trade.auction ? "traded in an auction" : trade.takerSide === "buy" ? "the buyer came" : "the seller came";
    });
  }
}
