// The tables of open orders and fills: cancel, change in place, cancel all.

import { byId, element, everyFrame, icon, setText } from "./dom.js";
import { grouped, parseUnits, shareOf, showTime } from "./format.js";
import { TIME_IN_FORCE_WORDS, TYPE_WORDS } from "./reasons.js";

const MOST_ROWS = 200;

export class OwnOrdersView {
  #orders = null;
  #rows = new Map();
  #fillCount = -1;
  #body = byId("order-rows");
  #actions;
  #instrumentOf;

  /** `actions` are {cancel(order), replace(order, {price, quantity}), cancelAll()}; `instrumentOf(symbol)`. */
  constructor(actions, instrumentOf) {
    this.#actions = actions;
    this.#instrumentOf = instrumentOf;
    this.render = everyFrame(() => this.#render());
    byId("cancel-all").addEventListener("click", () => actions.cancelAll());
    this.#startTabs();
  }

  show(orders) {
    this.#orders = orders;
    this.#fillCount = -1;
    this.render();
  }

  #render() {
    if (this.#orders === null) return;
    const orders = [...this.#orders.orders.values()].sort((one, other) => other.order_id - one.order_id).slice(0, MOST_ROWS);
    const shown = new Set(orders.map((order) => order.order_id));
    for (const [id, row] of this.#rows) if (!shown.has(id)) (row.remove(), this.#rows.delete(id));
    orders.forEach((order, index) => {
      let row = this.#rows.get(order.order_id);
      if (row === undefined) this.#rows.set(order.order_id, (row = this.#makeRow(order)));
      this.#fill(row, order);
      if (this.#body.children[index] !== row) this.#body.insertBefore(row, this.#body.children[index] ?? null);
    });
    setText(byId("open-count"), String(this.#orders.orders.size));
    byId("cancel-all").disabled = this.#orders.orders.size === 0;
    const empty = byId("orders-empty");
    empty.hidden = orders.length > 0;
    setText(empty, this.#orders.position === null ? "Loading orders …" : "No open orders.");
    this.#renderFills();
  }

  #makeRow(order) {
    const row = element("tr", { "data-order": order.order_id });
    row.parts = {};
    for (const [name, className] of [
      ["symbol", "of-symbol"],
      ["side", "of-side"],
      ["type", "of-type"],
      ["price", "number of-price"],
      ["quantity", "number of-quantity"],
      ["filled", "number of-filled"],
      ["force", "of-force"],
      ["status", "of-status"],
    ]) {
      row.parts[name] = row.appendChild(element("td", { class: className }));
    }
    row.bar = element("i");
    row.filledText = element("span");
    row.parts.filled.append(element("span", { class: "filled" }, row.filledText, row.bar));
    row.buttons = element("td", { class: "actions of-actions" });
    row.append(row.buttons);
    this.#offerActions(row, order.order_id);
    return row;
  }

  #offerActions(row, id) {
    row.editing = false;
    const order = () => this.#orders.orders.get(id);
    const edit = element("button", { type: "button", title: "Change price or quantity", "aria-label": `Change order ${id}` }, icon("edit"));
    edit.addEventListener("click", () => this.#edit(row, order()));
    const cancel = element("button", { type: "button", class: "cancel", title: "Cancel", "aria-label": `Cancel order ${id}` }, icon("close"));
    cancel.addEventListener("click", async () => {
      cancel.disabled = true;
      await this.#actions.cancel(order());
      cancel.disabled = false;
    });
    row.buttons.replaceChildren(edit, cancel);
  }

  #fill(row, order) {
    const { parts } = row;
    const decimals = this.#instrumentOf(order.symbol)?.quantityDecimals ?? 0;
    setText(parts.symbol, order.symbol);
    setText(parts.side, order.side === "buy" ? "Buy" : "Sell");
    parts.side.className = `of-side ${order.side}-text`;
    setText(parts.type, order.display_quantity === undefined ? (TYPE_WORDS[order.order_type] ?? order.order_type) : "Iceberg");
    if (!row.editing) {
      const stop = order.stop_price === undefined ? "" : `stop ${grouped(order.stop_price)}`;
      setText(parts.price, [order.price === undefined ? "" : grouped(order.price), stop].filter(Boolean).join(" · ") || "Market");
      setText(parts.quantity, grouped(order.quantity));
    }
    setText(row.filledText, grouped(order.filled_quantity));
    const share = shareOf(parseUnits(order.filled_quantity, decimals) ?? 0n, parseUnits(order.quantity, decimals) ?? 1n);
    if (row.share !== share) row.bar.style.setProperty("--share", (row.share = share));
    setText(parts.force, order.post_only ? `${order.time_in_force.toUpperCase()} · post only` : order.time_in_force.toUpperCase());
    parts.force.title = TIME_IN_FORCE_WORDS[order.time_in_force] ?? "";
    setText(parts.status, order.status === "untriggered" ? "Waits for its stop" : "Open");
  }

  /** Price and quantity become fields; Enter sends, Escape leaves all as it was. */
  #edit(row, order) {
    row.editing = true;
    const field = (label, value) => element("input", { value, inputmode: "decimal", "aria-label": `${label} of order ${order.order_id}` });
    const price = order.price === undefined ? null : field("Price", order.price);
    const quantity = field("Quantity", order.quantity);
    if (price !== null) row.parts.price.replaceChildren(price);
    row.parts.quantity.replaceChildren(quantity);
    const leave = () => {
      row.parts.price.replaceChildren();
      row.parts.quantity.replaceChildren();
      this.#offerActions(row, order.order_id);
      this.render();
    };
    const save = async () => {
      const accepted = await this.#actions.replace(order, { price: price?.value ?? null, quantity: quantity.value });
      if (accepted) leave();
      else (price ?? quantity).focus();
    };
    for (const input of [price, quantity].filter(Boolean)) {
      input.addEventListener("keydown", (event) => {
        event.stopPropagation();
        if (event.key === "Enter") save();
        if (event.key === "Escape") leave();
      });
    }
    const accept = element("button", { type: "button", title: "Save", "aria-label": `Save order ${order.order_id}` }, icon("check"));
    accept.addEventListener("click", save);
    const discard = element("button", { type: "button", title: "Leave as it is", "aria-label": "Leave as it is" }, icon("close"));
    discard.addEventListener("click", leave);
    row.buttons.replaceChildren(accept, discard);
    (price ?? quantity).select();
  }

  #renderFills() {
    const { fills } = this.#orders;
    setText(byId("fill-count"), String(fills.length));
    byId("fills-empty").hidden = fills.length > 0;
    // Fills only ever come on top, and go at the end; nothing is written twice.
    const newest = fills[0]?.trade_id ?? 0;
    if (newest === this.#fillCount) return;
    this.#fillCount = newest;
    byId("fill-rows").replaceChildren(
      ...fills.slice(0, MOST_ROWS).map((fill) =>
        element(
          "tr",
          {},
          element("td", { class: "soft" }, showTime(fill.timestamp)),
          element("td", {}, element("b", {}, fill.symbol)),
          element("td", { class: `${fill.side}-text` }, fill.side === "buy" ? "Bought" : "Sold"),
          element("td", { class: "number" }, grouped(fill.price)),
          element("td", { class: "number" }, grouped(fill.quantity)),
          element("td", { class: "soft" }, fill.auction ? "auction" : fill.role),
          element("td", { class: "number soft" }, String(fill.order_id)),
        ),
      ),
    );
  }

  #startTabs() {
    const tabs = [byId("tab-open"), byId("tab-fills")];
    const choose = (chosen) => {
      for (const tab of tabs) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        tab.tabIndex = tab === chosen ? 0 : -1;
        byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
      }
    };
    for (const tab of tabs) {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        const other = tabs[1 - tabs.indexOf(tab)];
        choose(other);
        other.focus();
      });
    }
  }
}
