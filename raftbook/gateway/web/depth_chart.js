// How much is bid and asked up to each price, as two stepped areas around the middle.

import { byId, everyFrame, setText } from "./dom.js";
import { shareOf, toCoordinate } from "./format.js";
import { faded, palette } from "./palette.js";

const AXIS_HEIGHT_PX = 22;
const LABEL_GAP_PX = 92;
/** No label's middle is nearer to the chart's edge. */
const EDGE_PX = 26;
/** Levels a side at the most: what is further out tells nothing about trading now. */
const MOST_LEVELS = 400;
/** Of each side's quantity, in the range that is drawn. */
const SHOWN_PERCENT = 95n;
/** The range reaches so far from the middle at the least. */
const LEAST_TICKS = 10n;

export class DepthChart {
  #book = null;
  #instrument = null;
  #canvas = byId("depth");
  #colours = palette();
  #pointer = null;

  constructor() {
    this.render = everyFrame(() => this.#render());
    new ResizeObserver(() => this.render()).observe(this.#canvas);
    this.#canvas.addEventListener("pointermove", (event) => {
      this.#pointer = event.offsetX;
      this.render();
    });
    this.#canvas.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.render();
    });
  }

  show(book, instrument) {
    this.#book = book;
    this.#instrument = instrument;
    this.render();
  }

  recolour() {
    this.#colours = palette();
    this.render();
  }

  #render() {
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (this.#book === null || width === 0 || height === 0) return;
    const scale = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * scale) || this.#canvas.height !== Math.round(height * scale)) {
      this.#canvas.width = Math.round(width * scale);
      this.#canvas.height = Math.round(height * scale);
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const drawing = layOut(this.#book, this.#instrument, width, height - AXIS_HEIGHT_PX);
    const empty = byId("depth-empty");
    empty.hidden = drawing !== null;
    if (drawing === null) {
      setText(empty, this.#book.position === null ? "Loading the book …" : "The book is empty: the first order is yours.");
      setText(byId("depth-legend"), "");
      return;
    }
    const bottom = height - AXIS_HEIGHT_PX;
    drawArea(context, drawing.bids, 0, bottom, this.#colours.buy);
    drawArea(context, drawing.asks, width, bottom, this.#colours.sell);
    this.#drawAxis(context, drawing, width, bottom);
    this.#drawPointer(context, drawing, bottom);
  }

  #drawAxis(context, { low, high, xOf }, width, bottom) {
    context.strokeStyle = this.#colours.line;
    context.beginPath();
    context.moveTo(0, bottom + 0.5);
    context.lineTo(width, bottom + 0.5);
    context.stroke();
    context.fillStyle = this.#colours["text-faint"];
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    const count = BigInt(Math.max(1, Math.floor(width / LABEL_GAP_PX)));
    const { tick } = this.#instrument;
    for (let index = 0n; index < count; index += 1n) {
      const between = low + ((high - low) * (2n * index + 1n)) / (2n * count);
      const price = between - (between % tick);
      const x = Math.min(Math.max(xOf(price), EDGE_PX), width - EDGE_PX);
      context.fillText(this.#instrument.showPrice(price), x, bottom + AXIS_HEIGHT_PX / 2 + 1);
    }
  }

  #drawPointer(context, { bids, asks, best }, bottom) {
    const legend = byId("depth-legend");
    if (this.#pointer === null) {
      setText(legend, best);
      return;
    }
    const points = this.#pointer < (bids[0]?.x ?? asks[0].x) || asks.length === 0 ? bids : asks;
    const outward = points === bids ? (point) => point.x >= this.#pointer : (point) => point.x <= this.#pointer;
    const point = points.filter(outward).at(-1) ?? points[0];
    context.strokeStyle = this.#colours["text-faint"];
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(Math.round(point.x) + 0.5, 0);
    context.lineTo(Math.round(point.x) + 0.5, bottom);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = points === bids ? this.#colours.buy : this.#colours.sell;
    context.beginPath();
    context.arc(point.x, point.y, 3.5, 0, 2 * Math.PI);
    context.fill();
    const verb = points === bids ? "bid at" : "asked up to";
    const preposition = points === bids ? "or more" : "";
    setText(
      legend,
      `${this.#instrument.showQuantity(point.total)} ${verb} ${this.#instrument.showPrice(point.price)} ${preposition}`.trim(),
    );
  }
}

/** Points of both areas in pixels, the middle of the spread in the middle of the chart; null where there are none. */
function layOut(book, instrument, width, height) {
  const bids = accumulate(book.bids);
  const asks = accumulate(book.asks);
  if (bids.length === 0 && asks.length === 0) return null;
  const middle =
    bids.length === 0 ? asks[0].price : asks.length === 0 ? bids[0].price : (bids[0].price + asks[0].price) / 2n;
  const reach = [bids, asks].map((levels) => reachOf(levels, middle)).concat(instrument.tick * LEAST_TICKS).reduce(larger);
  const low = middle - reach < 0n ? 0n : middle - reach;
  const high = middle + reach;
  const seenBids = bids.filter((level) => level.price >= low);
  const seenAsks = asks.filter((level) => level.price <= high);
  const most = larger(seenBids.at(-1)?.total ?? 0n, seenAsks.at(-1)?.total ?? 0n);
  const decimals = instrument.priceDecimals;
  const left = toCoordinate(low, decimals);
  const span = toCoordinate(high - low, decimals) || 1;
  const xOf = (price) => ((toCoordinate(price, decimals) - left) / span) * width;
  const place = (level) => ({ ...level, x: xOf(level.price), y: height * (1 - 0.9 * shareOf(level.total, most)) });
  const best = bids.length > 0 && asks.length > 0 ? `Middle ${instrument.showPrice(middle)}` : "";
  return {
    bids: seenBids.map(place),
    asks: seenAsks.map(place),
    low,
    high,
    xOf,
    best,
  };
}

/** How far from the middle most of a side's quantity is: what lies further out would press all others together. */
function reachOf(levels, middle) {
  if (levels.length === 0) return 0n;
  const enough = (levels.at(-1).total * SHOWN_PERCENT) / 100n;
  const { price } = levels.find((level) => level.total >= enough);
  return price > middle ? price - middle : middle - price;
}

function larger(one, other) {
  return one > other ? one : other;
}

function accumulate(side) {
  let total = 0n;
  return side.prices.slice(0, MOST_LEVELS).map((price) => {
    total += side.quantities.get(price);
    return { price, total };
  });
}

/** A stepped area from the best price outwards, on to the chart's edge at `outer`. */
function drawArea(context, points, outer, bottom, colour) {
  if (points.length === 0) return;
  const line = new Path2D();
  line.moveTo(points[0].x, bottom);
  let y = bottom;
  for (const point of points) {
    line.lineTo(point.x, y);
    line.lineTo(point.x, point.y);
    y = point.y;
  }
  line.lineTo(outer, y);
  const area = new Path2D(line);
  area.lineTo(outer, bottom);
  area.closePath();
  const fill = context.createLinearGradient(0, 0, 0, bottom);
  fill.addColorStop(0, faded(colour, 0.3));
  fill.addColorStop(1, faded(colour, 0.06));
  context.fillStyle = fill;
  context.fill(area);
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.stroke(line);
  context.lineWidth = 1;
}
