// The one WebSocket of the page: feeds and order entry. It moves to another node when its own is gone, resumes each feed
// behind the last sequence number that was seen, and sends again what was not answered, under the same client_order_id.

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
/** How long the node waits for the execution before it answers `pending`. */
const WAIT_S = 4;

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
/** Nothing was taken, and the same command may be taken a moment later, or by another node. */
const TRY_AGAIN_CODES = new Set(["busy", "rate_limited", "draining", "not_ready", "not_caught_up", "no_quorum", "outcome_unknown"]);

/** What a node refused before it became a command of the log, or what became of nothing within the time. */
export class NotTaken extends Error {
  constructor(code, detail, field = null) {
    super(detail);
    this.code = code;
    this.field = field;
  }
}

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
   * A command must be one that does no harm when it arrives twice: a new order has its client_order_id.
   */
  submit(command) {
    return new Promise((resolve, reject) => {
      const request = { id: this.#nextRequestId++, command, resolve, reject, startedAt: performance.now(), sent: 0 };
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
      try {
        const nodeId = this.#credentials.key === null ? node.id : await this.#idOf(node);
        const introduction = await this.#credentials.streamMessage(nodeId);
        if (socket !== this.#socket) return;
        clearTimeout(overdue);
        this.#heardAt = performance.now();
        if (introduction === null) this.#ready();
        else this.#send(introduction);
      } catch (error) {
        if (socket === this.#socket) this.#lost(`could not be told who this is (${error.message})`);
      }
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

  #ready() {
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
  }

  #checkLiveness() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    // Only a ping that was sent and not answered counts: a hidden page's timers may stand still for a minute.
    const silentSince = Math.max(this.#heardAt, this.#pingSentAt ?? Number.POSITIVE_INFINITY);
    if (performance.now() - silentSince > SILENCE_LIMIT_MS) this.#lost("does not answer");
    else if (this.#pingSentAt === null) this.#ping();
    this.#giveUpOverdue();
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
    else if (feed === undefined) console.warn(`${nameOf(this.#nodes.current)} says ${message.code}: ${message.detail}`);
    else if (message.code === "sequence_ahead") {
      feed.model.reset();
      this.#ask(feed);
    } else feed.failed(message.code, message.detail);
  }

  // --- Commands ------------------------------------------------------------------------------------------------------

  #transmit(request) {
    if (this.state.value.phase !== "live" || this.#socket?.readyState !== WebSocket.OPEN) return;
    request.sent += 1;
    this.#send({ ...request.command, request_id: request.id, wait: "committed", wait_s: WAIT_S });
  }

  #answer({ request_id: id, report, error }) {
    const request = this.#requests.get(id);
    if (request === undefined) return;
    if (report !== undefined && report.status !== "pending") {
      this.#requests.delete(id);
      const elapsedMs = performance.now() - request.startedAt;
      request.resolve({ report, node: this.#nodes.current, elapsedMs, sent: request.sent });
    } else if (report !== undefined || TRY_AGAIN_CODES.has(error.code)) {
      // To submit it again is to ask what became of it: the exchange knows it by its client_order_id.
      const pause = report === undefined ? (error.retry_after_s ?? 0.25) * 1_000 : PENDING_PAUSE_MS;
      setTimeout(() => this.#requests.has(id) && this.#transmit(request), pause);
    } else {
      this.#requests.delete(id);
      request.reject(new NotTaken(error.code, error.detail ?? error.title, error.field));
    }
  }

  #giveUpOverdue() {
    const now = performance.now();
    for (const [id, request] of this.#requests) {
      if (now - request.startedAt < ANSWER_LIMIT_MS) continue;
      this.#requests.delete(id);
      const seconds = ANSWER_LIMIT_MS / 1_000;
      request.reject(new NotTaken("outcome_unknown", `no node gave a definite answer within ${seconds} s`));
    }
  }
}

function feedKey({ channel, symbol, account }) {
  return `${channel}:${channel === "orders" ? account : symbol}`;
}
