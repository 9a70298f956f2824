// The keyboard: one key each, where no field has the focus. The help lists what stands here.

import { byId, element } from "./dom.js";

/** `actions`: name → function, for the names below. */
const SHORTCUTS = [
  [["b"], "buy", "Buy: to the ticket"],
  [["s"], "sell", "Sell: to the ticket"],
  [["p"], "price", "Price of the ticket"],
  [["q"], "quantity", "Quantity of the ticket"],
  [["l"], "ladder", "Order book: ↑ ↓ walk, Enter takes the price, Shift+Enter the quantity up to it too"],
  [["x"], "cancelAll", "Cancel all open orders, after a question"],
  [["/"], "instrument", "Instrument"],
  [["a"], "account", "Account"],
  [["k"], "key", "API key"],
  [["t"], "theme", "Dark or light"],
  [["?"], "help", "This list"],
];
const IN_FIELDS = [
  [["↑", "↓"], "One tick or lot more or less; with Shift ten"],
  [["Enter"], "Send the ticket"],
  [["Esc"], "Leave the field"],
];

export function startShortcuts(actions) {
  const list = byId("shortcuts");
  for (const [keys, , text] of SHORTCUTS) list.append(...entry(keys, text));
  for (const [keys, text] of IN_FIELDS) list.append(...entry(keys, text));
  const byKey = new Map(SHORTCUTS.map(([[key], name]) => [key, actions[name]]));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") !== null) return;
    const typing = event.target.matches("select, input:not([type=radio], [type=checkbox])");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    const action = byKey.get(event.key);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}

function entry(keys, text) {
  return [element("dt", {}, ...keys.map((key) => element("kbd", {}, key))), element("dd", {}, text)];
}
