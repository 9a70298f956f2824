// Candles and volume: TradingView's Lightweight Charts over a CandleHistory.

import { CandleHistory, INTERVALS } from "./candle_history.js";
import { byId, element, everyFrame, setText } from "./dom.js";
import { toCoordinate } from "./format.js";
import { faded, palette } from "./palette.js";
import { CandlestickSeries, createChart, HistogramSeries } from "./vendor/lightweight-charts-5.2.1.js";

const CANDLES = 500;

export class PriceChart {
  interval = "1m";
  #chart;
  #candles;
  #volume;
  #history = null;
  #instrument = null;
  #early = [];
  #changed = false;
  /** The start of the last candle that the library has. */
  #drawnTo = 0;
  #asked = 0;
  #api;
  #colours = palette();

  constructor(api) {
    this.#api = api;
    const holder = element("div");
    byId("chart").prepend(holder);
    // The library's own logo would put a style element into the page, which the page's policy forbids; the link that
    // its licence asks for stands in index.html.
    this.#chart = createChart(holder, { autoSize: true, layout: { attributionLogo: false }, timeScale: { timeVisible: true, rightOffset: 4, minBarSpacing: 2 } });
    this.#volume = this.#chart.addSeries(HistogramSeries, { priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#candles = this.#chart.addSeries(CandlestickSeries, {});
    this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.24 } });
    this.#chart.subscribeCrosshairMove(({ time }) => this.#showLegend(time ?? null));
    this.#render = everyFrame(() => this.#draw());
    this.#makeIntervals();
    this.recolour();
  }

  #render;

  /** Shows another instrument, or the same one anew where trades were missed. */
  async show(instrument) {
    this.#instrument = instrument;
    this.#history = null;
    this.#early = [];
    const asked = ++this.#asked;
    const minMove = toCoordinate(instrument.tick, instrument.priceDecimals);
    this.#candles.applyOptions({ priceFormat: { type: "custom", minMove, formatter: (price) => price.toFixed(instrument.priceDecimals) } });
    const empty = byId("chart-empty");
    try {
      const target = `/v1/candles/${encodeURIComponent(instrument.symbol)}?interval=${this.interval}&limit=${CANDLES}`;
      const { document, logIndex } = await this.#api.get(target);
      if (asked !== this.#asked) return;
      this.#history = new CandleHistory(instrument, this.interval, document.candles ?? document, logIndex);
      for (const trade of this.#early) this.#history.add(trade);
      this.#early = [];
      this.#setAll();
    } catch (error) {
      if (asked === this.#asked) setText(empty, `No candles: ${error.message}`);
    }
  }

  add(trade) {
    // What arrives before the candles do is counted once they are there.
    if (this.#history === null) this.#early.push(trade);
    else if (this.#history.add(trade) !== null) {
      this.#changed = true;
      this.#render();
    }
  }

  recolour() {
    this.#colours = palette();
    const { buy, sell, line, surface } = this.#colours;
    this.#chart.applyOptions({
      layout: { background: { color: surface }, textColor: this.#colours["text-soft"], fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 11 },
      grid: { vertLines: { color: faded(line, 0.55) }, horzLines: { color: faded(line, 0.55) } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
      crosshair: { vertLine: { color: this.#colours["text-faint"], labelBackgroundColor: this.#colours["line-strong"] }, horzLine: { color: this.#colours["text-faint"], labelBackgroundColor: this.#colours["line-strong"] } },
    });
    this.#candles.applyOptions({ upColor: buy, wickUpColor: buy, downColor: sell, wickDownColor: sell, borderVisible: false });
    this.#setAll();
  }

  #makeIntervals() {
    for (const name of Object.keys(INTERVALS)) {
      const input = element("input", { type: "radio", name: "interval", value: name, checked: name === this.interval });
      input.addEventListener("change", () => {
        this.interval = name;
        if (this.#instrument !== null) this.show(this.#instrument);
      });
      byId("intervals").append(element("label", {}, input, element("span", {}, name)));
    }
  }

  #setAll() {
    if (this.#history === null) return;
    const { candles } = this.#history;
    this.#candles.setData(candles.map((each) => this.#bar(each)));
    this.#volume.setData(candles.map((each) => this.#volumeBar(each)));
    this.#drawnTo = candles.at(-1)?.start ?? 0;
    this.#showEmpty();
    this.#chart.timeScale().applyOptions({ secondsVisible: false });
    if (candles.length > 0) this.#chart.timeScale().setVisibleLogicalRange({ from: Math.max(-40, candles.length - 90), to: candles.length + 4 });
    this.#showLegend(null);
  }

  #draw() {
    if (!this.#changed || this.#history === null) return;
    this.#changed = false;
    // Trades of one frame may have changed the last candle that was drawn, and begun others behind it.
    const { candles } = this.#history;
    for (const candle of candles.slice(candles.findLastIndex(({ start }) => start < this.#drawnTo) + 1)) {
      this.#candles.update(this.#bar(candle));
      this.#volume.update(this.#volumeBar(candle));
      this.#drawnTo = candle.start;
    }
    this.#showEmpty();
    this.#showLegend(null);
  }

  #showEmpty() {
    const empty = byId("chart-empty");
    empty.hidden = this.#history.candles.length > 0;
    setText(empty, "No trades yet: the first one begins the chart.");
  }

  #bar({ start, open, high, low, close }) {
    const decimals = this.#instrument.priceDecimals;
    const [o, h, l, c] = [open, high, low, close].map((units) => toCoordinate(units, decimals));
    return { time: start, open: o, high: h, low: l, close: c };
  }

  #volumeBar({ start, open, close, volume }) {
    const colour = close >= open ? this.#colours.buy : this.#colours.sell;
    return { time: start, value: toCoordinate(volume, this.#instrument.quantityDecimals), color: faded(colour, 0.35) };
  }

  /** What the candle under the pointer says, or the last one. */
  #showLegend(time) {
    const candle = this.#history?.candles.findLast((each) => time === null || each.start === time) ?? null;
    const legend = byId("chart-legend");
    if (candle === null) {
      legend.replaceChildren();
      return;
    }
    const colour = candle.close >= candle.open ? "buy-text" : "sell-text";
    const parts = [["O", candle.open], ["H", candle.high], ["L", candle.low], ["C", candle.close]].flatMap(([name, units]) => [
      `${name} `,
      element("b", { class: colour }, this.#instrument.showPrice(units)),
      "  ",
    ]);
    legend.replaceChildren(...parts, "Vol ", element("b", {}, this.#instrument.showQuantity(candle.volume)));
  }
}
