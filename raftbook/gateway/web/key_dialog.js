// The dialog in which an API key is pasted, and forgotten.

import { byId, setText } from "./dom.js";
import { parseKey } from "./signing.js";

const ROLE_WORDS = {
  read: "may read; it is sent with each request",
  trade: "may trade for its accounts; it signs each request",
  admin: "may do everything; it signs each request",
};

/** `changed()` is called when another key, or none, is used. Returns what opens the dialog, with a reason to show. */
export function startKeyDialog(credentials, changed) {
  const dialog = byId("key-dialog");
  const input = byId("key-text");
  const error = byId("key-error");
  const showKey = () => {
    const { key } = credentials;
    setText(byId("key-now"), key === null ? "" : `In use: ${key.keyId}, which ${ROLE_WORDS[key.role]}.`);
    byId("key-forget").hidden = key === null;
    byId("open-key").classList.toggle("active", key !== null);
  };
  const open = (reason = "") => {
    if (dialog.open) return;
    input.value = "";
    setText(error, reason);
    showKey();
    dialog.showModal();
  };
  byId("key-form").addEventListener("submit", (event) => {
    const key = parseKey(input.value);
    if (key === null) {
      event.preventDefault();
      setText(error, "This is no API key: it looks like rb_trade_…, as `raftbook account create` printed it.");
      input.focus();
      return;
    }
    credentials.use(key);
    showKey();
    changed();
  });
  byId("key-forget").addEventListener("click", () => {
    credentials.use(null);
    dialog.close();
    showKey();
    changed();
  });
  byId("open-key").addEventListener("click", () => open());
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  showKey();
  return open;
}
