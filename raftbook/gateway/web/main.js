// The page, put together: which instrument and account, what is followed, and who hears of what.

import { Api, Refused } from "./api.js";
import { LocalBook } from "./book.js";
import { CandleHistory } from "./candle_history.js";
import { PriceChart } from "./chart.js";
import { ClusterView } from "./cluster.js";
import { Commands } from "./commands.js";
import { DepthChart } from "./depth_chart.js";
import { byId, element, everyFrame, setText } from "./dom.js";
import { formatUnits, grouped, parseUnits } from "./format.js";
import { Instrument } from "./instrument.js";
import { startKeyDialog } from "./key_dialog.js";
import { Ladder } from "./ladder.js";
import { NodeList, nameOf } from "./nodes.js";
import { Ticket } from "./order_entry.js";
import { OwnOrders } from "./own_orders.js";
import { OwnOrdersView } from "./own_orders_view.js";
import { inWords } from "./reasons.js";
import { startShortcuts } from "./shortcuts.js";
import { Credentials } from "./signing.js";
import { Stream } from "./stream.js";
import { startTabs } from "./tabs.js";
import { startTheme } from "./theme.js";
import { toast } from "./toasts.js";
import { auctionText, showConnection, TopBar } from "./top_bar.js";
import { TradesView } from "./trades.js";
import { TradeTape } from "./trade_tape.js";

const BOOK_INTERVAL_MS = 100;
const INSTRUMENTS_INTERVAL_MS = 15_000;
const ACCOUNT = /^[A-Za-z0-9._:-]{1,36}$/;
const ACCOUNTS_KEPT = 8;

const nodes = new NodeList(location.origin);
const credentials = new Credentials(sessionStorage);
const api = new Api(nodes, credentials);
const stream = new Stream(nodes, credentials, (node) => api.idOf(node));

const instruments = new Map();
let instrument = null;
let account = null;
let book = null;
let tape = null;
let day = null;
let own = null;
let bookFeed = null;
let tradesFeed = null;
let ordersFeed = null;

const topBar = new TopBar();
const chart = new PriceChart(api);
const depthChart = new DepthChart();
const tradesView = new TradesView();
const ladder = new Ladder((picked) => {
  ticket.take(picked);
  startedTabs.show("trade");
});
const ticket = new Ticket((command) => commands.enter(command));
const commands = new Commands(stream, () => account, (kind, title, text) => ticket.report(kind, title, text));
const ordersView = new OwnOrdersView(
  {
    cancel: (order) => commands.cancel(order),
    replace: (order, change) => commands.replace(order, change, instruments.get(order.symbol)),
    cancelAll: confirmCancelAll,
  },
  (symbol) => instruments.get(symbol),
);
const startedTabs = startTabs();

// --- Instruments -------------------------------------------------------------------------------------------------------

async function loadInstruments() {
  const { document } = await api.get("/v1/instruments");
  const select = byId("instrument");
  const before = [...instruments.keys()].join(" ");
  for (const each of document) if (!instruments.has(each.symbol)) instruments.set(each.symbol, new Instrument(each));
  if ([...instruments.keys()].join(" ") !== before) {
    select.replaceChildren(...[...instruments.keys()].map((symbol) => element("option", { value: symbol }, symbol)));
    if (instrument !== null) select.value = instrument.symbol;
  }
  if (instruments.size === 0) {
    select.replaceChildren(element("option", {}, "No instruments"));
    showBanner("setup", "There is no instrument yet. Add one: raftbook instrument add ACME,price_decimals=2,tick_size=0.01");
  } else if (instrument === null) {
    showBanner("setup", null);
    const asked = decodeURIComponent(location.hash.slice(1));
    showInstrument(instruments.get(asked) ?? instruments.values().next().value);
  }
}

async function keepInstruments() {
  for (;;) {
    try {
      await loadInstruments();
    } catch (error) {
      showProblem(error);
    }
    const pause = instruments.size === 0 ? 1_000 : INSTRUMENTS_INTERVAL_MS;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function showInstrument(chosen) {
  instrument = chosen;
  byId("instrument").value = chosen.symbol;
  history.replaceState(null, "", `#${encodeURIComponent(chosen.symbol)}`);
  if (bookFeed !== null) stream.unsubscribe(bookFeed);
  if (tradesFeed !== null) stream.unsubscribe(tradesFeed);
  followBook();
  followTrades();
  topBar.showStatus(chosen.status);
  ticket.show(chosen, book);
  ordersChanged();
}

function followBook() {
  book = new LocalBook(instrument);
  ladder.show(book, instrument);
  depthChart.show(book, instrument);
  const { symbol } = instrument;
  bookFeed = stream.subscribe({ channel: "book", symbol, interval_ms: BOOK_INTERVAL_MS }, book, bookChanged, feedFailed);
}

const renderBest = everyFrame(() => ticket.renderBest());

function bookChanged() {
  ladder.render();
  depthChart.render();
  renderBest();
  if (book.status !== null && book.status !== instrument.status) {
    instrument.status = book.status;
    topBar.showStatus(book.status);
  }
  showBanner("auction", auctionText(instrument, book));
}

function followTrades() {
  const followed = instrument;
  let previous = null;
  day = null;
  const candlesShown = chart.show(followed);
  const dayShown = loadDay(followed);
  tape = new TradeTape(followed, (trade) => {
    chart.add(trade);
    dayShown.then(() => day?.instrument === followed && day.history.add(trade));
  });
  const followedTape = tape;
  tradesView.show(tape, followed);
  topBar.showDay(followed, null);
  const showQuote = everyFrame(() => {
    if (followedTape !== tape) return;
    const { trades } = tape;
    const direction = trades.length < 2 ? 0 : Number(trades.at(-1).price - trades.at(-2).price > 0n) - Number(trades.at(-1).price < trades.at(-2).price);
    if (day?.instrument === followed) topBar.showDay(followed, day.history.last);
    if (tape.last !== null) {
      topBar.showTrade(tape.last.price, direction);
      ladder.showLastTrade(tape.last.price, direction);
    }
  });
  candlesShown.then(showQuote);
  dayShown.then(showQuote);
  tradesFeed = stream.subscribe(
    { channel: "trades", symbol: followed.symbol },
    tape,
    (message) => {
      // A snapshot after the first one means that trades may be missing between: the candles are asked for anew.
      if (message.type === "snapshot" && previous !== null && message.sequence !== previous) {
        chart.show(followed);
        loadDay(followed).then(showQuote);
      }
      previous = message.sequence;
      tradesView.render();
      showQuote();
    },
    feedFailed,
  );
}

/** The candle of today, gone on with from the trades. */
async function loadDay(followed) {
  try {
    const { document, logIndex } = await api.get(`/v1/candles/${encodeURIComponent(followed.symbol)}?interval=1d&limit=1`);
    if (instrument === followed) day = { instrument: followed, history: new CandleHistory(followed, "1d", document.candles ?? document, logIndex) };
  } catch (error) {
    showProblem(error);
  }
}

// --- Own orders --------------------------------------------------------------------------------------------------------

function showAccount(chosen) {
  if (!ACCOUNT.test(chosen)) {
    toast("bad", "No such account", "Write 1 to 36 of A-Z a-z 0-9 . _ : -");
    byId("account").value = account;
    return;
  }
  if (chosen === account) return;
  account = chosen;
  byId("account").value = chosen;
  rememberAccount(chosen);
  if (ordersFeed !== null) stream.unsubscribe(ordersFeed);
  own = new OwnOrders(chosen, { addDecimals, onFill: tellFill, onEnd: tellEnd });
  ordersView.show(own);
  ordersFeed = stream.subscribe({ channel: "orders", account: chosen }, own, ordersChanged, feedFailed);
  ordersChanged();
}

function ordersChanged() {
  ordersView.render();
  if (own === null || instrument === null) return;
  const quantities = { buy: new Map(), sell: new Map() };
  for (const order of own.restingIn(instrument.symbol)) {
    const price = parseUnits(order.price, instrument.priceDecimals);
    const leaves = parseUnits(order.leaves_quantity, instrument.quantityDecimals);
    const side = quantities[order.side];
    side.set(price, (side.get(price) ?? 0n) + leaves);
  }
  ladder.showOwn(quantities);
}

function addDecimals(symbol, one, other, sign) {
  const decimals = instruments.get(symbol)?.quantityDecimals ?? (one.split(".")[1] ?? "").length;
  return formatUnits(parseUnits(one, decimals) + sign * parseUnits(other, decimals), decimals);
}

function tellFill(fill) {
  if (fill.atEntry) return;
  const verb = fill.side === "buy" ? "Bought" : "Sold";
  toast("good", `${verb} ${grouped(fill.quantity)} ${fill.symbol}`, `at ${grouped(fill.price)}`);
}

function tellEnd(order) {
  if (order.reason === "requested" || order.reason === "mass_cancel" || order.reason === "ioc" || order.reason === "fok") return;
  const verb = order.status === "expired" ? "Expired" : "Canceled";
  toast("wait", `${verb}: order ${order.order_id}`, `${order.symbol}: ${inWords(order.reason)}.`);
}

function confirmCancelAll() {
  const count = own?.orders.size ?? 0;
  if (count === 0) return;
  const dialog = byId("confirm-dialog");
  setText(byId("confirm-text"), `${count === 1 ? "One open order" : `${count} open orders`} of account ${account}, in all instruments.`);
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.returnValue === "yes" && commands.cancelAll(null), { once: true });
}

function rememberAccount(name) {
  const known = [name, ...recentAccounts().filter((other) => other !== name)].slice(0, ACCOUNTS_KEPT);
  localStorage.setItem("raftbook.accounts", known.join(" "));
  byId("accounts").replaceChildren(...known.map((each) => element("option", { value: each })));
}

function recentAccounts() {
  return (localStorage.getItem("raftbook.accounts") ?? "").split(" ").filter((name) => ACCOUNT.test(name));
}

// --- Banner and connection ---------------------------------------------------------------------------------------------

const banners = { connection: null, setup: null, auction: null };

/** The most urgent of the banners is shown. */
function showBanner(kind, text) {
  banners[kind] = text;
  const [shown] = Object.entries(banners).filter(([, each]) => each !== null);
  const banner = byId("banner");
  banner.hidden = shown === undefined;
  if (shown === undefined) return;
  banner.dataset.kind = shown[0];
  setText(banner, shown[1]);
}

let away = null;

stream.state.subscribe((state) => {
  showBanner("connection", showConnection(state, nodes, stream.underWay));
  if (state.phase === "moving" && away === null) {
    away = { node: state.previous, reason: state.reason, at: performance.now() };
  } else if (state.phase === "live" && away !== null) {
    const seconds = ((performance.now() - away.at) / 1_000).toFixed(1);
    const where = away.node === state.node ? `Back at ${nameOf(state.node)}` : `Moved to ${nameOf(state.node)}`;
    toast("plain", where, `${nameOf(away.node)} ${away.reason}. Every feed goes on where it was, ${seconds} s later.`);
    away = null;
  } else if (state.phase === "locked") {
    openKeyDialog(state.reason);
  }
});

function feedFailed(code, detail) {
  toast("bad", inWords(code), detail);
}

function showProblem(error) {
  if (!(error instanceof Refused) || (error.status !== 401 && error.status !== 403)) return;
  // What was asked with another key is asked again with this one.
  if (error.key === credentials.key) openKeyDialog(error.message);
}

const openKeyDialog = startKeyDialog(credentials, () => {
  stream.reconnect();
  loadInstruments().catch(showProblem);
  if (instrument !== null) chart.show(instrument);
});

const toggleTheme = startTheme(() => {
  chart.recolour();
  depthChart.recolour();
});

byId("instrument").addEventListener("change", ({ target }) => showInstrument(instruments.get(target.value)));
byId("account").addEventListener("change", ({ target }) => showAccount(target.value.trim()));
byId("account").addEventListener("keydown", (event) => event.key === "Enter" && event.target.blur());
byId("connection").addEventListener("click", () => {
  startedTabs.show("cluster");
  byId("cluster-title").scrollIntoView({ block: "nearest" });
});
byId("open-help").addEventListener("click", () => byId("help-dialog").showModal());

startShortcuts({
  buy: () => toTicket("buy"),
  sell: () => toTicket("sell"),
  price: () => ticket.focusFirst(),
  quantity: () => ticket.focus("quantity"),
  ladder: () => ladder.focus(),
  cancelAll: confirmCancelAll,
  instrument: () => byId("instrument").focus(),
  account: () => byId("account").select(),
  key: () => openKeyDialog(),
  theme: toggleTheme,
  help: () => byId("help-dialog").showModal(),
});

function toTicket(side) {
  startedTabs.show("trade");
  ticket.side(side);
  ticket.focusFirst();
}

const clusterView = new ClusterView(api, nodes, stream, (cluster, error) => {
  if (cluster === null) showProblem(error);
});

showAccount(recentAccounts()[0] ?? "default");
stream.start();
clusterView.start();
keepInstruments();
