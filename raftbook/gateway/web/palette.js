// The theme's colours for what is drawn on a canvas, which knows no CSS variables.

const NAMES = ["text", "text-soft", "text-faint", "line", "line-strong", "surface", "buy", "sell", "buy-bar", "sell-bar", "accent"];

/** {name: "rgb(…)"} as the theme has them now. */
export function palette() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const colours = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}

/** The same colour, `alpha` opaque. */
export function faded(colour, alpha) {
  return colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
}
