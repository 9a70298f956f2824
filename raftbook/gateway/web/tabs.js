// The phone's views, one at a time. On a wide screen all panels are there, and this changes nothing that is seen.

import { byId } from "./dom.js";

export function startTabs() {
  const buttons = [...byId("bottom-tabs").children];
  const show = (name) => {
    document.body.dataset.tab = name;
    for (const button of buttons) {
      if (button.dataset.tab === name) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.tab));
  show("chart");
  return { show };
}
