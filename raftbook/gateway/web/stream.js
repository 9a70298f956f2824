// The one WebSocket of the page: feeds and order entry. It moves to another node when its own is gone, resumes each feed
// behind the last sequence number that was seen, and sends again what was not answered and may be sent twice (delivery.js).

import { Delivery } from "./delivery.js";
import { toJson } from "./format.js";
import { nameOf, streamUrl } from "./nodes.js";
import { Observable } from "./observable.js";

const CONNECT_TIMEOUT_MS = 3_000;
const PING_INTERVAL_MS = 2_000;
/** A node that is connected, but says nothing for so long and answers no ping, hangs or cannot be reached. */
const SILENCE_LIMIT_MS = 5_000;
const LONGEST_PAUSE_MS = 2_000;
/** Then the page tells that it does not know what became of an order. */
const ANSWER_LIMIT_MS = 30_000;
const PENDING_PAUSE_MS = 300;
/** How long the node waits for the execution before it answers `pending`; the second where nobody may ask by a copy. */
const WAIT_S = 4;
const ONLY_WAIT_S = 6;
const RATE_LIMITED_PAUSE_S = 1;

const FELL_BEHIND = 4008;
const NOT_AUTHENTICATED = 4001;
const AUTHENTICATION_CODES = new Set([
  "unauthenticated",
  "unauthorized",
  "signature_invalid",
  "timestamp_outside_window",
  "replayed",
  "key_revoked",
]);
/**
 * `state.value` is {phase, node, previous, reason, latencyMs}; phase is
 *   connecting   before the first connection
 *   live         connected, and every feed asked for
 *   moving       on the way to another node, or back to this one
 *   locked       the node wants a key, or another one than it was given
 */
export class Stream {
  state = new Observable({ phase: "connecting", node: null, previous: null, reason: null, latencyMs: null });
  #nodes;
  #idOf;
  #credentials;
  #socket = null;
  #feeds = new Map();
  #requests = new Map();
  #nextRequestId = 1;
  #attempts = 0;
  #heardAt = 0;
  #pingSentAt = null;
  #retryTimer = null;

  /** `idOf(node)` asks a node for its id, which a signature needs. */
  constructor(nodes, credentials, idOf) {
    this.#nodes = nodes;
    this.#credentials = credentials;
    this.#idOf = idOf;
  }

  start() {
    setInterval(() => this.#checkLiveness(), PING_INTERVAL_MS / 2);
    // A laptop that wakes up, or a phone that has a network again, need not wait for the next try.
    addEventListener("online", () => this.reconnect());
    this.#connect();
  }

  /** Connects anew at once, to the current node: the key is another one, or the network is back. */
  reconnect() {
    this.#drop();
    this.#attempts = 0;
    this.#connect();
  }

  /** Goes on at `node`, or at the next one where none is named; `reason` is shown. */
  move(reason, node = null) {
    const previous = this.#nodes.current;
    this.#drop();
    if (node === null) this.#nodes.moveOn();
    else this.#nodes.use(node);
    this.#attempts = 0;
    this.#setState({ phase: "moving", previous, reason });
    this.#connect();
  }

  /**
   * Follows a feed until `unsubscribe`. `subscription` is {channel, symbol or account, interval_ms}; `model` has
   * apply(message), which returns false for what does not follow, `position` and reset(). `changed()` is called after each
   * message that was applied, `failed(code, detail)` where the node refuses the subscription.
   */
  subscribe(subscription, model, changed, failed = () => {}) {
    const key = feedKey(subscription);
    const feed = { key, subscription, model, changed, failed };
    this.#feeds.set(key, feed);
    this.#ask(feed);
    return feed;
  }

  unsubscribe(feed) {
    if (this.#feeds.get(feed.key) !== feed) return;
    this.#feeds.delete(feed.key);
    const { channel, symbol, account } = feed.subscription;
    this.#send({ op: "unsubscribe", channel, symbol, account });
  }

  /**
   * Submits a command; {report, node, elapsedMs, sent}, where `sent` counts how often it was sent. Raises NotTaken.
   * A new order must have its client_order_id, by which the exchange knows a second copy of it.
   */
  submit(command) {
    return new Promise((resolve, reject) => {
      const delivery = new Delivery(command, Date.now());
      const request = { id: this.#nextRequestId++, delivery, resolve, reject, startedAt: performance.now() };
      this.#requests.set(request.id, request);
      this.#transmit(request);
    });
  }

  get underWay() {
    return this.#requests.size;
  }

  // --- Connections ---------------------------------------------------------------------------------------------------

  async #connect() {
    clearTimeout(this.#retryTimer);
    const node = this.#nodes.current;
    const socket = new WebSocket(streamUrl(node));
    this.#socket = socket;
    const overdue = setTimeout(() => socket === this.#socket && this.#lost("did not answer in time"), CONNECT_TIMEOUT_MS);
    socket.onopen = async () => {
      await this.#introduce(socket, node);
      if (socket === this.#socket) clearTimeout(overdue);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#heardAt = performance.now();
      this.#receive(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(overdue);
      if (socket === this.#socket) this.#closed(code, reason);
    };
  }

  async #introduce(socket, node) {
    try {
      const nodeId = this.#credentials.key === null ? node.id : await this.#idOf(node);
      const introduction = await this.#credentials.streamMessage(nodeId);
      if (socket !== this.#socket) return;
      this.#heardAt = performance.now();
      if (introduction === null) this.#ready();
      else this.#send(introduction);
    } catch (error) {
      if (socket === this.#socket) this.#lost(`could not be told who this is (${error.message})`);
    }
  }

  #ready() {
    this.#giveUpOverdue();
    const node = this.#nodes.current;
    this.#nodes.succeeded(node);
    this.#attempts = 0;
    this.#setState({ phase: "live", node });
    for (const feed of this.#feeds.values()) this.#ask(feed);
    for (const request of this.#requests.values()) this.#transmit(request);
    this.#ping();
  }

  #closed(code, reason) {
    if (code === NOT_AUTHENTICATED) {
      this.#lock(reason || "this node wants an API key");
    } else if (code === FELL_BEHIND) {
      // This page was too slow, and not the node: it goes on at the same one, from where it was.
      this.#lost("this page fell behind", { stay: true });
    } else {
      this.#lost(code === 1001 || code === 1012 ? "is shutting down" : "does not answer");
    }
  }

  #lost(reason, { stay = false } = {}) {
    const previous = this.#nodes.current;
    this.#drop();
    if (!stay) this.#nodes.moveOn();
    this.#attempts += 1;
    // Every node is tried at once; only when none of them answered is there a pause.
    const rounds = Math.floor(this.#attempts / this.#nodes.all.length);
    const pause = rounds === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, 150 * 2 ** rounds) * (0.5 + Math.random() / 2);
    const phase = this.state.value.phase === "connecting" && rounds === 0 ? "connecting" : "moving";
    const moving = this.state.value.phase === "moving";
    this.#setState({
      phase,
      previous: moving ? this.state.value.previous : previous,
      reason: moving ? this.state.value.reason : reason,
      unreachable: rounds > 0,
      latencyMs: null,
    });
    this.#retryTimer = setTimeout(() => this.#connect(), pause);
  }

  #lock(reason) {
    this.#drop();
    this.#setState({ phase: "locked", reason, latencyMs: null });
  }

  #drop() {
    clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#pingSentAt = null;
    socket?.close();
    for (const request of [...this.#requests.values()]) {
      if (!request.delivery.isUnderWay) continue;
      request.delivery.lost();
      if (!request.delivery.mayBeRepeated) this.#giveUp(request);
    }
  }

  #checkLiveness() {
    this.#giveUpOverdue();
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    // Only a ping that was sent and not answered counts: a hidden page's timers may stand still for a minute.
    const silentSince = Math.max(this.#heardAt, this.#pingSentAt ?? Number.POSITIVE_INFINITY);
    if (performance.now() - silentSince > SILENCE_LIMIT_MS) this.#lost("does not answer");
    else if (this.#pingSentAt === null) this.#ping();
  }

  #ping() {
    this.#pingSentAt = performance.now();
    this.#send({ op: "ping", request_id: "ping" });
  }

  #setState(change) {
    const unreachable = change.unreachable ?? false;
    this.state.set({ ...this.state.value, ...change, unreachable });
  }

  // --- Messages ------------------------------------------------------------------------------------------------------

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(toJson(message));
  }

  #receive(message) {
    if (message.channel !== undefined) this.#feed(message);
    else if (message.report !== undefined || message.error !== undefined) this.#answer(message);
    else if (message.type === "pong") this.#ponged();
    else if (message.type === "authenticated") this.#ready();
    else if (message.type === "server_shutdown") this.#lost("is shutting down");
    else if (message.type === "error") this.#refused(message);
  }

  #ponged() {
    if (this.#pingSentAt === null) return;
    const latencyMs = performance.now() - this.#pingSentAt;
    this.#pingSentAt = null;
    if (this.state.value.phase === "live") this.#setState({ latencyMs });
  }

  #ask(feed) {
    if (this.state.value.phase !== "live") return;
    const from_sequence = feed.model.position ?? undefined;
    this.#send({ op: "subscribe", ...feed.subscription, from_sequence, request_id: feed.key });
  }

  #feed(message) {
    const feed = this.#feeds.get(feedKey(message));
    if (feed === undefined || message.type === "unsubscribed") return;
    if (feed.model.apply(message)) {
      feed.changed(message);
    } else if (feed.model.position !== null) {
      // Something is missing: only a snapshot helps. What still comes before it is passed over.
      feed.model.reset();
      this.#ask(feed);
    }
  }

  #refused(message) {
    const feed = this.#feeds.get(message.request_id);
    if (AUTHENTICATION_CODES.has(message.code)) this.#lock(message.detail);
    else if (message.code === "rate_limited") this.#askLater(feed, message.retry_after_s ?? RATE_LIMITED_PAUSE_S);
    else if (feed === undefined) console.warn(`${nameOf(this.#nodes.current)} says ${message.code}: ${message.detail}`);
    else if (message.code === "sequence_ahead") {
      feed.model.reset();
      this.#ask(feed);
    } else feed.failed(message.code, message.detail);
  }

  /** Asks for the feed again, or says again who this is where that was refused; a new connection does both by itself. */
  #askLater(feed, pauseS) {
    const socket = this.#socket;
    setTimeout(() => {
      if (socket === null || socket !== this.#socket) return;
      if (feed === undefined) {
        if (this.state.value.phase !== "live") this.#introduce(socket, this.#nodes.current);
      } else if (this.#feeds.get(feed.key) === feed) this.#ask(feed);
    }, pauseS * 1_000);
  }

  // --- Commands ------------------------------------------------------------------------------------------------------

  #transmit(request) {
    if (this.state.value.phase !== "live" || this.#socket?.readyState !== WebSocket.OPEN) return;
    const { delivery } = request;
    if (delivery.isUnderWay) return;
    if (!delivery.maySend(Date.now())) {
      this.#giveUp(request);
      return;
    }
    delivery.transmitted();
    const wait_s = delivery.mayBeRepeated ? WAIT_S : ONLY_WAIT_S;
    this.#send({ ...delivery.command, request_id: request.id, wait: "committed", wait_s });
  }

  #answer({ request_id: id, report, error }) {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    const { delivery } = request;
    if (report === undefined) {
      const next = delivery.refused(error, this.#nodes.all.length);
      if (next === "again") this.#transmitLater(request, (error.retry_after_s ?? 0.25) * 1_000);
      else if (next === "elsewhere") this.move("has no room on its disk");
      else this.#giveUp(request);
    } else if (report.status === "pending") {
      // To submit it again is to ask what became of it: the exchange knows an order by its client_order_id.
      delivery.lost();
      this.#transmitLater(request, PENDING_PAUSE_MS);
    } else {
      this.#requests.delete(id);
      const elapsedMs = performance.now() - request.startedAt;
      request.resolve({ report, node: this.#nodes.current, elapsedMs, sent: delivery.sent });
    }
  }

  #transmitLater(request, pauseMs) {
    setTimeout(() => this.#requests.has(request.id) && this.#transmit(request), pauseMs);
  }

  #giveUp(request) {
    this.#requests.delete(request.id);
    request.reject(request.delivery.failure());
  }

  /** What is too old to be sent is given up; what is at a node a while later, since that one still may answer. */
  #giveUpOverdue() {
    for (const request of [...this.#requests.values()]) {
      const isAnswerDue = request.delivery.isUnderWay && performance.now() - request.startedAt < ANSWER_LIMIT_MS;
      if (request.delivery.isExpired(Date.now()) && !isAnswerDue) this.#giveUp(request);
    }
  }
}

function feedKey({ channel, symbol, account }) {
  return `${channel}:${channel === "orders" ? account : symbol}`;
}
