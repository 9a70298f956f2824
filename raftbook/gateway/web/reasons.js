// The exchange's codes in words. A code that is not here is shown as it is, its underscores as spaces.

const REASONS = {
  submission_expired: "it came too late: the cluster could not order it within its time",
  unknown_symbol: "there is no such instrument",
  unknown_order: "that order is not open any more",
  duplicate_client_order_id: "another order has this client order id already",
  invalid_order: "its fields do not go together",
  instrument_halted: "the instrument is halted: only cancels are taken",
  instrument_closed: "the instrument is closed",
  price_too_precise: "the price has more decimals than the instrument",
  price_not_on_tick: "the price is not on the tick",
  quantity_too_precise: "the quantity has more decimals than the instrument",
  quantity_not_on_lot: "the quantity is no multiple of the lot",
  out_of_range: "the numbers are too large for the exchange",
  post_only_would_trade: "post-only, and it would have traded at once",
  instrument_in_auction: "the instrument is in auction, where this kind of order is not taken",
  not_in_auction: "the instrument is in no auction",
  display_quantity_too_small: "the shown part is too small for the quantity",
  quantity_too_small: "the quantity is below the instrument's least",
  quantity_too_large: "the quantity is above the instrument's most",
  notional_too_small: "price times quantity is below the instrument's least",
  price_outside_band: "the price is too far from the last trade",
  too_many_open_orders: "the account has as many open orders as it may have",
  requested: "canceled as asked",
  ioc: "the rest found nothing to trade with at once",
  fok: "its whole quantity could not trade at once",
  no_liquidity: "nothing was left to trade with",
  replaced_to_zero: "nothing was left of it after the change",
  mass_cancel: "canceled with all others",
  expired: "its time was over",
  self_trade: "it would have traded with an order of the same account",
  market_protection: "the next price was too far from the best one",
  iceberg_refresh: "its next part is shown",
  volatility: "the price moved too far at once: an auction has begun",
  storage_full: "the node's disk is nearly full",
  forbidden: "this key may not do that",
  outcome_unknown: "no node could say what became of it",
};

export function inWords(code) {
  return REASONS[code] ?? String(code).replaceAll("_", " ");
}

export const STATUS_WORDS = {
  trading: "Trading",
  halted: "Halted",
  closed: "Closed",
  auction: "Auction",
};

export const TYPE_WORDS = { limit: "Limit", market: "Market", stop: "Stop", stop_limit: "Stop limit", iceberg: "Iceberg" };

export const TIME_IN_FORCE_WORDS = {
  gtc: "Good till canceled",
  ioc: "Immediate or cancel",
  fok: "Fill or kill",
  day: "Day (to midnight UTC)",
  gtd: "Good till date",
};
