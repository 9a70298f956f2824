// One command on its way to the exchange: when a copy of it may be sent, and what can be said of it in the end. A node may
// die with a command in its hands; then nobody can say whether it was taken. The rules are those of the Python client
// (raftbook/client/delivery.py). Nothing here sends, waits or reads a clock.

/** So long after its submission a command may be executed; every copy of it says so, by this machine's clock. */
export const LIFETIME_MS = 5_000;

/** Twice is the same as once. Any other might be executed late, behind what was done next, and undo it. */
const REPEATABLE = new Set(["new", "cancel"]);
/** Nothing was taken, and the same command may be taken a moment later, or by another node. */
const TRY_AGAIN_CODES = new Set(["busy", "rate_limited", "draining", "not_ready", "not_caught_up", "no_quorum"]);
/** It may have been taken: its report is held no longer, the node failed over it, or nobody knows. */
const IN_DOUBT_CODES = new Set(["not_held", "internal_error", "outcome_unknown"]);

/** What a node refused before it became a command of the log, or what became of nothing within the time. */
export class NotTaken extends Error {
  constructor(code, detail, field = null) {
    super(detail);
    this.code = code;
    this.field = field;
  }
}

export class Delivery {
  /** As every copy of it is sent. */
  command;
  /** How often it was sent. */
  sent = 0;
  /** A copy is at the node of the present connection, which has not answered yet. */
  isUnderWay = false;
  /** What became of a copy before is not known. */
  #isInDoubt = false;
  #refusal = null;
  #refusedForRoom = 0;
  #expiresAt;

  /** `nowMs` is the time since the epoch. */
  constructor(command, nowMs) {
    this.#expiresAt = nowMs + LIFETIME_MS;
    this.command = { ...command, not_after: BigInt(Math.round(this.#expiresAt)) * 1_000_000n };
  }

  get mayBeRepeated() {
    return REPEATABLE.has(this.command.op);
  }

  isExpired(nowMs) {
    return nowMs >= this.#expiresAt;
  }

  /** May a copy be sent now? Where not, and none is under way, `failure` tells what to say of it. */
  maySend(nowMs) {
    return !this.isUnderWay && !this.isExpired(nowMs) && (this.mayBeRepeated || !this.#isInDoubt);
  }

  transmitted() {
    this.sent += 1;
    this.isUnderWay = true;
  }

  /** The answer to the copy that is under way does not come any more, or leaves open what becomes of it. */
  lost() {
    this.#isInDoubt ||= this.isUnderWay;
    this.isUnderWay = false;
  }

  /**
   * A node's error about the copy under way. Returns what to do: `again` after a pause, `elsewhere` at another one of the
   * `nodeCount` nodes, or `end` it with `failure`.
   */
  refused(error, nodeCount) {
    this.#refusal = error;
    if (IN_DOUBT_CODES.has(error.code)) {
      this.lost();
      return this.mayBeRepeated ? "again" : "end";
    }
    this.isUnderWay = false;
    if (error.code === "storage_full") {
      this.#refusedForRoom += 1;
      return this.#refusedForRoom < nodeCount ? "elsewhere" : "end";
    }
    return TRY_AGAIN_CODES.has(error.code) ? "again" : "end";
  }

  /** Why it ends without a report: `outcome_unknown` unless it is certain that no copy of it was taken. */
  failure() {
    const said = this.#refusal === null ? null : (this.#refusal.detail ?? this.#refusal.title);
    if (this.#isInDoubt || this.isUnderWay) {
      const cause = said ?? "the node that had it gave no answer";
      return new NotTaken("outcome_unknown", `${cause}: it may have been executed, or not`);
    }
    if (this.#refusal !== null) return new NotTaken(this.#refusal.code, said, this.#refusal.field);
    return new NotTaken("not_sent", `no node could be reached within ${LIFETIME_MS / 1_000} s; it is not sent any more`);
  }
}
