// The open orders of one account and what they trade, as the channel `orders` tells it.

const OPEN = new Set(["open", "untriggered"]);
const FILLS_KEPT = 500;

export class OwnOrders {
  /** Open orders by id, each as GET /v1/orders has it. */
  orders = new Map();
  /** The latest first; only what was seen, so since the page was opened. */
  fills = [];
  /** The log index of the last message; null before the first snapshot. */
  position = null;
  #account;
  #addDecimals;
  #onFill;
  #onEnd;

  /**
   * `addDecimals(symbol, one, other, sign)` is one ± other, decimal texts of a quantity of that symbol. `onFill(fill)` is
   * told each fill, `onEnd(order)` each order that ended in another way.
   */
  constructor(account, { addDecimals, onFill = () => {}, onEnd = () => {} }) {
    this.#account = account;
    this.#addDecimals = addDecimals;
    this.#onFill = onFill;
    this.#onEnd = onEnd;
  }

  reset() {
    this.position = null;
  }

  /** Updates come in log order, one for each entry that concerns the account, so what is not later was seen already. */
  apply(message) {
    if (message.type === "snapshot") {
      this.orders = new Map(message.orders.map((order) => [order.order_id, order]));
      this.position = message.sequence;
      return true;
    }
    if (this.position === null) return false;
    if (message.sequence <= this.position) return true;
    for (const event of message.events) this.#applyEvent(event);
    this.position = message.sequence;
    return true;
  }

  /** {buy: Map(price → quantity), sell: …} of what rests in one book, texts as they came. */
  restingIn(symbol) {
    return [...this.orders.values()].filter((order) => order.symbol === symbol && order.status === "open" && order.price !== undefined);
  }

  #applyEvent(event) {
    if (event.event === "trade") this.#applyTrade(event);
    else if (event.order_id !== undefined && event.event?.startsWith("order_") && event.event !== "order_rejected") {
      const before = this.orders.get(event.order_id);
      if (OPEN.has(event.status)) {
        const enteredAt = event.event === "order_accepted" ? event.log_index : before?.enteredAt;
        this.orders.set(event.order_id, { ...before, ...event, enteredAt });
      } else {
        this.orders.delete(event.order_id);
        if (event.status !== "filled" && event.duplicate !== true) this.#onEnd(event);
      }
    }
  }

  /** In a trade with itself the account is on both sides. */
  #applyTrade(trade) {
    for (const role of ["maker", "taker"]) {
      if (trade[`${role}_account`] !== this.#account) continue;
      const orderId = trade[`${role}_order_id`];
      const side = role === "taker" ? trade.taker_side : trade.taker_side === "buy" ? "sell" : "buy";
      const order = this.orders.get(orderId);
      // Of an order that trades as it arrives, its own answer tells already.
      const atEntry = order?.enteredAt !== undefined && order.enteredAt === trade.log_index;
      const fill = { ...trade, role, side, order_id: orderId, atEntry };
      this.fills.unshift(fill);
      if (this.fills.length > FILLS_KEPT) this.fills.pop();
      if (order !== undefined) {
        const filled = this.#addDecimals(trade.symbol, order.filled_quantity, trade.quantity, 1n);
        const leaves = this.#addDecimals(trade.symbol, order.leaves_quantity, trade.quantity, -1n);
        if (/^[0.]+$/.test(leaves)) this.orders.delete(orderId);
        else this.orders.set(orderId, { ...order, filled_quantity: filled, leaves_quantity: leaves });
      }
      this.#onFill(fill);
    }
  }
}
