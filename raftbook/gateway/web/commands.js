// Commands of this page, from what is wanted to what became of it, in words.

import { describe } from "./order_entry.js";
import { checkPrice, checkQuantity } from "./order_check.js";
import { NotTaken } from "./delivery.js";
import { nameOf } from "./nodes.js";
import { inWords } from "./reasons.js";
import { toast } from "./toasts.js";

export class Commands {
  #stream;
  #account;
  #tell;

  /** `account()` is the chosen account; `tell(kind, title, text)` shows what became of an order under the ticket. */
  constructor(stream, account, tell) {
    this.#stream = stream;
    this.#account = account;
    this.#tell = tell;
  }

  /** A new order. Its client order id is made here, once, so that it stays one order however often it is sent. */
  async enter(command) {
    const order = { ...command, account: this.#account(), client_order_id: `page-${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}` };
    this.#tell("wait", "Sending …", describe(command));
    const answer = await this.#submit(order, describe(command));
    if (answer === null) return;
    const { report, node, elapsedMs, sent } = answer;
    const how = `${elapsedMs.toFixed(elapsedMs < 10 ? 1 : 0)} ms at ${nameOf(node)}${sent > 1 ? `, sent ${sent} times and executed once` : ""}`;
    if (report.status === "rejected") {
      this.#tell("bad", "Rejected:", `${reasonOf(report)}. ${describe(command)}`);
      toast("bad", "Order rejected", `${describe(command)}: ${reasonOf(report)}`);
    } else {
      const [kind, title, text] = outcomeOf(report.order, report);
      this.#tell(kind, title, `${text} ${how}`);
      toast(kind, title, `${describe(command)}${text === "" ? "" : `. ${text}`}`);
    }
  }

  async cancel(order) {
    const what = `order ${order.order_id}`;
    const answer = await this.#submit({ op: "cancel", account: order.account, order_id: order.order_id }, `cancel ${what}`);
    if (answer === null) return;
    const { report, sent } = answer;
    // The refusal carries the order as it stands: sent twice, the first may have done it, or it may have been filled.
    const standing = report.reason === "unknown_order" ? report.order?.status : undefined;
    if (report.status === "accepted" || (sent > 1 && standing === "canceled")) {
      toast("plain", "Canceled", describe(order));
    } else if (standing !== undefined) {
      toast("bad", `Could not cancel ${what}`, `It is ${standing} already`);
    } else {
      toast("bad", `Could not cancel ${what}`, reasonOf(report));
    }
  }

  /** `symbol` null: in every instrument. */
  async cancelAll(symbol) {
    const command = { op: "cancel_all", account: this.#account(), symbol: symbol ?? undefined };
    const answer = await this.#submit(command, "cancel all");
    if (answer === null) return;
    const { report } = answer;
    if (report.status === "rejected") {
      toast("bad", "Could not cancel all", reasonOf(report));
      return;
    }
    const count = report.events.find((event) => event.event === "mass_canceled")?.canceled_count ?? 0;
    toast("plain", count === 1 ? "1 order canceled" : `${count} orders canceled`);
  }

  /** Changes price and quantity, texts as typed; whether it was accepted. */
  async replace(order, { price, quantity }, instrument) {
    const errors = {};
    const priceUnits = price === null ? null : checkPrice(price, instrument, "price", errors);
    const quantityUnits = checkQuantity(quantity, instrument, "quantity", errors);
    const [wrong] = Object.entries(errors);
    if (wrong !== undefined) {
      toast("bad", `Order ${order.order_id} stays as it is`, `${wrong[0]}: ${wrong[1]}`);
      return false;
    }
    const change = { op: "replace", account: order.account, order_id: order.order_id, quantity: instrument.quantity(quantityUnits) };
    if (priceUnits !== null && instrument.price(priceUnits) !== order.price) change.price = instrument.price(priceUnits);
    const answer = await this.#submit(change, `change order ${order.order_id}`);
    if (answer === null) return false;
    if (answer.report.status === "rejected") {
      toast("bad", `Order ${order.order_id} stays as it is`, reasonOf(answer.report));
      return false;
    }
    toast("good", "Changed", describe({ ...order, ...change }));
    return true;
  }

  /** The answer, or null where there was none that is definite; then that is shown. */
  async #submit(command, what) {
    try {
      return await this.#stream.submit(command);
    } catch (error) {
      if (!(error instanceof NotTaken)) throw error;
      const unknown = error.code === "outcome_unknown";
      const title = unknown ? "Outcome unknown" : "Not taken";
      const text = unknown ? `${error.message}; look at the open orders before you enter it again` : error.message;
      this.#tell("bad", `${title}:`, text);
      toast("bad", `${title}: ${what}`, text);
      return null;
    }
  }
}

function reasonOf(report) {
  const words = inWords(report.reason);
  return report.detail === undefined ? words : `${words} (${report.detail})`;
}

/** [kind, title, text] of an accepted order as it stands. */
function outcomeOf(order, report) {
  const average = order === null || order.filled_quantity === order.quantity ? "" : `${order.filled_quantity} of ${order.quantity} traded.`;
  const ended = report.events.findLast((event) => event.event === "order_canceled" && event.order_id === order?.order_id);
  switch (order?.status) {
    case "filled":
      return ["good", "Filled", ""];
    case "open":
      return order.leaves_quantity === order.quantity ? ["good", "In the book", ""] : ["good", "Partly filled", average];
    case "untriggered":
      return ["good", "Waits for its stop", ""];
    case "canceled":
      return [order.filled_quantity.match(/^[0.]+$/) ? "bad" : "wait", "Canceled", `${average} ${ended === undefined ? "" : capital(inWords(ended.reason))}.`.trim()];
    default:
      return ["good", "Accepted", ""];
  }
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
