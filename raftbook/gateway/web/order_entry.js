// The ticket: what is typed, checked while it is typed, and sent as one command.

import { byId, element, setText } from "./dom.js";
import { parseUnits } from "./format.js";
import { checkTicket, fieldsOf, mayPostOnly, TIMES_IN_FORCE } from "./order_check.js";
import { TIME_IN_FORCE_WORDS } from "./reasons.js";

const NUMBERS = ["price", "stopPrice", "quantity", "displayQuantity"];

export class Ticket {
  #form = byId("ticket");
  #instrument = null;
  #book = null;
  #touched = new Set();
  #onSubmit;

  /** `onSubmit(command)`: the fields of a command `new`, but for the account and the client order id. */
  constructor(onSubmit) {
    this.#onSubmit = onSubmit;
    this.#form.addEventListener("input", (event) => this.#changed(event.target));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("click", (event) => {
      const button = event.target.closest("[data-step]");
      if (button !== null) this.#stepBy(button.parentElement.querySelector("input"), BigInt(button.dataset.step));
    });
    this.#form.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
      if (step === undefined || !NUMBERS.includes(event.target.name)) return;
      event.preventDefault();
      this.#stepBy(event.target, event.shiftKey ? step * 10n : step);
    });
    this.#offerTimes();
  }

  show(instrument, book) {
    if (instrument.symbol !== this.#instrument?.symbol) {
      for (const name of NUMBERS) this.#form.elements[name].value = "";
      this.#touched.clear();
    }
    this.#instrument = instrument;
    this.#book = book;
    setText(byId("hint-tick"), `tick ${instrument.price(instrument.tick)}`);
    setText(byId("hint-lot"), `lot ${instrument.quantity(instrument.lot)}`);
    this.render();
  }

  side(side) {
    this.#form.elements.side.value = side;
    this.render();
  }

  focus(name) {
    const field = this.#form.elements[name];
    field.focus();
    field.select?.();
  }

  /** Focuses what is typed first. */
  focusFirst() {
    const has = fieldsOf(this.#type);
    this.focus(has.stopPrice ? "stopPrice" : has.price ? "price" : "quantity");
  }

  take({ price, quantity }) {
    const has = fieldsOf(this.#type);
    if (has.price || has.stopPrice) this.#form.elements[has.price ? "price" : "stopPrice"].value = this.#instrument.price(price);
    if (quantity !== null) this.#form.elements.quantity.value = this.#instrument.quantity(quantity);
    this.render();
  }

  report(kind, title, text) {
    const node = byId("last-report");
    node.dataset.kind = kind;
    node.replaceChildren(element("b", {}, title), ` ${text}`);
  }

  render() {
    if (this.#instrument === null) return;
    const { side, type, timeInForce } = this.#read();
    this.#form.dataset.side = side;
    for (const [name, shown] of Object.entries(fieldsOf(type))) this.#fieldOf(name).hidden = !shown;
    this.#fieldOf("expireTime").hidden = timeInForce !== "gtd";
    this.#fieldOf("postOnly").hidden = !mayPostOnly(type, timeInForce);
    const { errors, notional } = this.#check();
    for (const name of [...NUMBERS, "expireTime"]) this.#showError(name, this.#touched.has(name) ? errors[name] : undefined);
    setText(byId("ticket-total"), notional === null ? "–" : this.#instrument.showNotional(notional));
    setText(byId("submit-text"), this.#summary());
    this.renderBest();
  }

  /** The price that the order would meet: of the other side. */
  renderBest() {
    if (this.#book === null) return;
    const buys = this.#form.elements.side.value === "buy";
    const best = (buys ? this.#book.asks : this.#book.bids).best;
    setText(byId("ticket-best-label"), buys ? "Best ask" : "Best bid");
    setText(byId("ticket-best"), best === null ? "–" : this.#instrument.showPrice(best));
  }

  get #type() {
    return this.#form.elements.type.value;
  }

  #read() {
    const { side, type, price, stopPrice, quantity, displayQuantity, timeInForce, postOnly, expireTime } = this.#form.elements;
    return {
      side: side.value,
      type: type.value,
      price: price.value,
      stopPrice: stopPrice.value,
      quantity: quantity.value,
      displayQuantity: displayQuantity.value,
      timeInForce: timeInForce.value,
      postOnly: postOnly.checked,
      expireTime: expireTime.value,
    };
  }

  #check() {
    return checkTicket(this.#read(), this.#instrument, Date.now());
  }

  #fieldOf(name) {
    return this.#form.querySelector(`[data-field="${name}"]`);
  }

  #showError(name, text) {
    setText(byId(`error-${name}`), text ?? "");
    const input = this.#form.elements[name];
    if (text === undefined) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  }

  #summary() {
    const { side, type, price, quantity } = this.#read();
    const verb = side === "buy" ? "Buy" : "Sell";
    const what = parseUnits(quantity, this.#instrument.quantityDecimals) === null ? this.#instrument.symbol : `${quantity.trim()} ${this.#instrument.symbol}`;
    if (type === "market") return `${verb} ${what} at market`;
    if (type === "stop") return `${verb} ${what} on stop`;
    return parseUnits(price, this.#instrument.priceDecimals) === null ? `${verb} ${what}` : `${verb} ${what} at ${price.trim()}`;
  }

  #changed(input) {
    if (input.name === "type") this.#offerTimes();
    // An empty field is no mistake before it was left, or somebody tried to send it.
    if (input.value !== "") this.#touched.add(input.name);
    this.render();
  }

  #offerTimes() {
    const select = this.#form.elements.timeInForce;
    const chosen = select.value;
    const times = TIMES_IN_FORCE[this.#type];
    select.replaceChildren(...times.map((name) => element("option", { value: name }, TIME_IN_FORCE_WORDS[name])));
    select.value = times.includes(chosen) ? chosen : times[0];
  }

  /** Up and down by ticks or lots, from the nearest one; an empty price starts at the best of the other side. */
  #stepBy(input, count) {
    const isPrice = input.name === "price" || input.name === "stopPrice";
    const step = isPrice ? this.#instrument.tick : this.#instrument.lot;
    const decimals = isPrice ? this.#instrument.priceDecimals : this.#instrument.quantityDecimals;
    const buys = this.#form.elements.side.value === "buy";
    const start = isPrice ? ((buys ? this.#book?.asks : this.#book?.bids)?.best ?? this.#book?.lastPrice ?? null) : 0n;
    const given = parseUnits(input.value, decimals);
    let units;
    if (given === null) units = isPrice && start !== null ? start : step;
    else units = given - (given % step) + count * step;
    if (units < step) units = step;
    input.value = isPrice ? this.#instrument.price(units) : this.#instrument.quantity(units);
    this.#changed(input);
  }

  #submit() {
    if (this.#instrument === null) return;
    const { errors, command } = this.#check();
    if (command === null) {
      for (const name of Object.keys(errors)) this.#touched.add(name);
      this.render();
      const first = [...this.#form.querySelectorAll("[aria-invalid]")][0];
      first?.focus();
      first?.select?.();
      return;
    }
    this.#touched.clear();
    this.#onSubmit(command, describe(command));
  }
}

/** An order in one line: Buy 5 ACME at 100.25. */
export function describe({ side, quantity, symbol, price, stop_price: stopPrice, order_type: type }) {
  const stop = stopPrice === undefined ? "" : ` when it trades at ${stopPrice}`;
  const at = price === undefined ? (type === "market" ? " at market" : "") : ` at ${price}`;
  return `${side === "buy" ? "Buy" : "Sell"} ${quantity} ${symbol}${at}${stop}`;
}

