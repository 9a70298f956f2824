// Dark or light: as the system has it, until somebody switches.

import { byId } from "./dom.js";

const STORED_AS = "raftbook.theme";

/** `changed()` is called whenever the colours are others. */
export function startTheme(changed) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem(STORED_AS);
    if (chosen === null) root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", chosen);
    root.setAttribute("data-shown", chosen ?? (system.matches ? "dark" : "light"));
    changed();
  };
  system.addEventListener("change", apply);
  const toggle = () => {
    const next = root.getAttribute("data-shown") === "dark" ? "light" : "dark";
    // To switch back to what the system has is to follow it again.
    if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(STORED_AS);
    else localStorage.setItem(STORED_AS, next);
    apply();
  };
  byId("switch-theme").addEventListener("click", toggle);
  apply();
  return toggle;
}
