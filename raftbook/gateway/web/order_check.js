// What a ticket asks for, checked as the exchange will check it (engine/SEMANTICS.md), so that most mistakes are told
// while they are typed. The exchange still has the last word: only it knows the book, the band and the other orders.

import { isDecimal, parseUnits } from "./format.js";

/** Times in force by order type, the default first. An elected stop cannot be fok, and what rests not at all can be. */
export const TIMES_IN_FORCE = {
  limit: ["gtc", "ioc", "fok", "day", "gtd"],
  market: ["ioc", "fok"],
  stop: ["gtc", "day", "gtd"],
  stop_limit: ["gtc", "day", "gtd"],
  iceberg: ["gtc", "day", "gtd"],
};

const HAS_PRICE = new Set(["limit", "stop_limit", "iceberg"]);
const HAS_STOP_PRICE = new Set(["stop", "stop_limit"]);
const RESTS = new Set(["gtc", "day", "gtd"]);
/** An iceberg may have so many tips at the most. */
const MOST_TIPS = 100n;
/** Every integer of the engine fits a signed 64-bit field. */
const MOST_UNITS = 2n ** 63n - 1n;

export function fieldsOf(type) {
  return {
    price: HAS_PRICE.has(type),
    stopPrice: HAS_STOP_PRICE.has(type),
    displayQuantity: type === "iceberg",
  };
}

export function mayPostOnly(type, timeInForce) {
  return (type === "limit" || type === "iceberg") && RESTS.has(timeInForce);
}

/**
 * Checks `ticket`, texts as they were typed: {side, type, price, stopPrice, quantity, displayQuantity, timeInForce,
 * postOnly, expireTime}. Returns {errors, command, notional}: errors by field; the fields of the command `new`, null where
 * there are errors; price times quantity in units, null where one of them is missing.
 */
export function checkTicket(ticket, instrument, now) {
  const errors = {};
  const has = fieldsOf(ticket.type);
  const price = has.price ? checkPrice(ticket.price, instrument, "price", errors) : null;
  const stopPrice = has.stopPrice ? checkPrice(ticket.stopPrice, instrument, "stopPrice", errors) : null;
  const quantity = checkQuantity(ticket.quantity, instrument, "quantity", errors);
  if (quantity !== null) checkLimits(quantity, instrument, errors);
  const display = has.displayQuantity
    ? checkQuantity(ticket.displayQuantity, instrument, "displayQuantity", errors)
    : null;
  if (display !== null && quantity !== null) checkDisplay(display, quantity, instrument, errors);
  const expireTime = ticket.timeInForce === "gtd" ? checkExpiry(ticket.expireTime, now, errors) : null;
  const notional = price === null || quantity === null ? null : price * quantity;
  if (notional !== null && instrument.minNotional !== null && notional < instrument.minNotional) {
    errors.quantity ??= `At this price the total is below the least of ${instrument.showNotional(instrument.minNotional)}`;
  }
  if (Object.keys(errors).length > 0) return { errors, command: null, notional };
  const command = {
    op: "new",
    symbol: instrument.symbol,
    side: ticket.side,
    order_type: ticket.type === "iceberg" ? "limit" : ticket.type,
    time_in_force: ticket.timeInForce,
    quantity: instrument.quantity(quantity),
  };
  if (price !== null) command.price = instrument.price(price);
  if (stopPrice !== null) command.stop_price = instrument.price(stopPrice);
  if (display !== null) command.display_quantity = instrument.quantity(display);
  if (expireTime !== null) command.expire_time = expireTime;
  if (ticket.postOnly && mayPostOnly(ticket.type, ticket.timeInForce)) command.post_only = true;
  return { errors, command, notional };
}

/** The price in units, or null with an error that says what to write. */
export function checkPrice(text, instrument, field, errors) {
  const units = checkNumber(text, instrument.priceDecimals, field, errors);
  if (units === null) return null;
  if (units % instrument.tick !== 0n) {
    const below = units - (units % instrument.tick);
    const near = below === 0n ? [below + instrument.tick] : [below, below + instrument.tick];
    errors[field] = `Not on the tick of ${instrument.price(instrument.tick)}; try ${near.map((each) => instrument.price(each)).join(" or ")}`;
    return null;
  }
  return units;
}

export function checkQuantity(text, instrument, field, errors) {
  const units = checkNumber(text, instrument.quantityDecimals, field, errors);
  if (units === null) return null;
  if (units % instrument.lot !== 0n) {
    errors[field] = `Not a multiple of the lot, ${instrument.quantity(instrument.lot)}`;
    return null;
  }
  return units;
}

function checkNumber(text, decimals, field, errors) {
  const units = parseUnits(text, decimals);
  if (units === null) {
    if (text.trim() === "") errors[field] = "Enter a number";
    else if (!isDecimal(text)) errors[field] = "Not a number: write digits and a point, such as 12.5";
    else errors[field] = decimals === 0 ? "Whole numbers only" : `At most ${decimals} decimals`;
    return null;
  }
  if (units === 0n || units > MOST_UNITS) {
    errors[field] = units === 0n ? "Must be above zero" : "Larger than any exchange needs";
    return null;
  }
  return units;
}

function checkLimits(quantity, instrument, errors) {
  if (instrument.minQuantity !== null && quantity < instrument.minQuantity) {
    errors.quantity = `At least ${instrument.showQuantity(instrument.minQuantity)}`;
  } else if (instrument.maxQuantity !== null && quantity > instrument.maxQuantity) {
    errors.quantity = `At most ${instrument.showQuantity(instrument.maxQuantity)}`;
  }
}

function checkDisplay(display, quantity, instrument, errors) {
  if (display >= quantity) {
    errors.displayQuantity = "Must be less than the quantity";
  } else if (display * MOST_TIPS < quantity) {
    errors.displayQuantity = `Show at least ${instrument.showQuantity((quantity + MOST_TIPS - 1n) / MOST_TIPS)}`;
  }
}

/** Local date and time as an <input type="datetime-local"> gives it -> nanoseconds, a BigInt. */
function checkExpiry(text, now, errors) {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) errors.expireTime = "Enter a date and time";
  else if (milliseconds <= now) errors.expireTime = "Must be later than now";
  else return BigInt(milliseconds) * 1_000_000n;
  return null;
}
