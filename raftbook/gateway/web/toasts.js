// Short messages in a corner, read aloud by screen readers, gone after some seconds unless somebody looks at them.

import { byId, element, icon } from "./dom.js";

const SHOWN_MS = 6_000;
const MOST = 4;

/** `kind` is good, bad, wait or plain. Returns the toast, so that it can be taken away earlier. */
export function toast(kind, title, text = "", shownMs = SHOWN_MS) {
  const close = element("button", { type: "button", "aria-label": "Dismiss" }, icon("close"));
  const shown = element("div", { class: `toast ${kind}` }, element("strong", {}, title), close, element("p", {}, text));
  close.addEventListener("click", () => shown.remove());
  let timer;
  const leaveLater = () => {
    timer = setTimeout(() => shown.remove(), shownMs);
  };
  shown.addEventListener("pointerenter", () => clearTimeout(timer));
  shown.addEventListener("pointerleave", leaveLater);
  leaveLater();
  const stack = byId("toasts");
  stack.append(shown);
  while (stack.children.length > MOST) stack.firstElementChild.remove();
  return shown;
}
