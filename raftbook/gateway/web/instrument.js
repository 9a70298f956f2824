// An instrument: its numbers, and how its prices and quantities are read and shown.

import { formatUnits, parseUnits, showUnits } from "./format.js";

export class Instrument {
  constructor(document) {
    this.symbol = document.symbol;
    this.priceDecimals = document.price_decimals;
    this.quantityDecimals = document.quantity_decimals;
    this.tick = parseUnits(document.tick_size, this.priceDecimals);
    this.lot = parseUnits(document.lot_size, this.quantityDecimals);
    this.minQuantity = optional(document.min_quantity, this.quantityDecimals);
    this.maxQuantity = optional(document.max_quantity, this.quantityDecimals);
    this.minNotional = optional(document.min_notional, this.priceDecimals + this.quantityDecimals);
    this.status = document.status;
  }

  price(units) {
    return formatUnits(units, this.priceDecimals);
  }

  quantity(units) {
    return formatUnits(units, this.quantityDecimals);
  }

  showPrice(units) {
    return showUnits(units, this.priceDecimals);
  }

  showQuantity(units) {
    return showUnits(units, this.quantityDecimals);
  }

  /** Price times quantity: exact, and so with the decimals of both; those beyond the price's that are 0 are not shown. */
  showNotional(units) {
    const text = showUnits(units, this.priceDecimals + this.quantityDecimals);
    if (this.quantityDecimals === 0) return text;
    const point = text.indexOf(".");
    const shortest = point + 1 + this.priceDecimals;
    return (text.slice(0, shortest) + text.slice(shortest).replace(/0+$/, "")).replace(/\.$/, "");
  }
}

function optional(text, decimals) {
  return text === undefined ? null : parseUnits(text, decimals);
}
