// The cluster, every second: who leads, how far each node is, whether their digests agree, and which one this page uses.

import { compareDigests } from "./digests.js";
import { byId, element, setClass, setText } from "./dom.js";
import { grouped } from "./format.js";
import { nameOf } from "./nodes.js";

const INTERVAL_MS = 1_000;
/** So often in a row a node may say that it has no majority before the page looks for one that has. */
const PATIENCE = 3;
const DIGITS_SHOWN = 7;
/** So long the last comparison of digests is shown where a new one did not come about. */
const STANDS_MS = 10_000;
/** Part of a row, its label on a phone, and the class of its cell. */
const COLUMNS = [
  ["role", null, "of-role"],
  ["term", "Term", "number"],
  ["committed", "Commit", "number"],
  ["applied", "Applied", "number"],
  ["lag", "Lag", "number"],
  ["digest", "Digest", "of-digest"],
];

export class ClusterView {
  #api;
  #nodes;
  #stream;
  #body = byId("node-rows");
  #rows = new Map();
  #withoutQuorum = 0;
  #comparedAt = Number.NEGATIVE_INFINITY;
  #onAnswer;

  /** `onAnswer(cluster)` is called with each answer to GET /v1/cluster, and with null where no node gave one. */
  constructor(api, nodes, stream, onAnswer) {
    this.#api = api;
    this.#nodes = nodes;
    this.#stream = stream;
    this.#onAnswer = onAnswer;
    stream.state.subscribe(() => this.#markCurrent());
  }

  async start() {
    for (;;) {
      const began = performance.now();
      await this.#poll();
      await new Promise((resolve) => setTimeout(resolve, Math.max(100, INTERVAL_MS - (performance.now() - began))));
    }
  }

  async #poll() {
    let answer;
    try {
      answer = await this.#api.get("/v1/cluster");
    } catch (error) {
      this.#showNobody(error);
      this.#onAnswer(null, error);
      return;
    }
    const cluster = answer.document;
    this.#nodes.learn(cluster.nodes);
    this.#show(cluster);
    this.#onAnswer(cluster, null);
    await this.#findMajority(cluster, answer.node);
    await this.#compare(cluster);
  }

  #show(cluster) {
    const ids = new Set(cluster.nodes.map(({ id }) => id));
    for (const [id, row] of this.#rows) if (!ids.has(id)) (row.remove(), this.#rows.delete(id));
    for (const member of cluster.nodes) {
      const row = this.#rows.get(member.id) ?? this.#addRow(member);
      row.toggleAttribute("data-down", !member.reachable);
      const role = member.reachable ? (member.role ?? "unknown") : "unreachable";
      const { parts } = row;
      setText(parts.role, role);
      setClass(parts.role, `role ${role === "leader" ? "leader" : role === "unreachable" ? "down" : ""}`);
      for (const [name, value] of [["term", member.term], ["committed", member.commit_index], ["applied", member.applied_index], ["lag", member.lag]]) {
        setText(parts[name], value === null ? "–" : grouped(value));
      }
    }
    this.#markCurrent();
  }

  #addRow({ id, api_address: address }) {
    const row = element("tr", { "data-node": id });
    const url = this.#nodes.byId(id)?.url ?? "";
    row.append(
      element("td", { class: "of-node" }, element("b", {}, id), element("a", { class: "node-address", href: `${url}/`, title: `Open the page of ${id}` }, address)),
    );
    row.parts = {};
    for (const [name, label, className] of COLUMNS) {
      row.parts[name] = element("span", { class: name });
      row.append(element("td", { class: className, "data-label": label }, row.parts[name]));
    }
    row.use = element("button", { type: "button", class: "quiet use-node", title: `Let this page talk to ${id}` }, "Use");
    row.use.addEventListener("click", () => {
      const node = this.#nodes.byId(id);
      if (node !== null) this.#stream.move("left by hand", node);
    });
    row.here = element("span", { class: "here" }, "This page");
    row.append(element("td", { class: "number of-page" }, row.use, row.here));
    this.#rows.set(id, row);
    const after = [...this.#body.children].find((other) => other.dataset.node > id);
    this.#body.insertBefore(row, after ?? null);
    return row;
  }

  #markCurrent() {
    const { id } = this.#nodes.current;
    const live = this.#stream.state.value.phase === "live";
    for (const [each, row] of this.#rows) {
      row.here.hidden = each !== id || !live;
      row.use.hidden = !row.here.hidden || row.hasAttribute("data-down");
    }
  }

  #showNobody() {
    for (const row of this.#rows.values()) {
      row.setAttribute("data-down", "");
      setText(row.parts.role, "unreachable");
      setClass(row.parts.role, "role down");
    }
    this.#showAgreement({ state: "unknown" }, "No node answers");
  }

  /** A node that is cut off from the others answers, but nothing happens there: another one may have the majority. */
  async #findMajority(cluster, asked) {
    if (cluster.quorum || asked !== this.#nodes.current) {
      this.#withoutQuorum = 0;
      return;
    }
    this.#withoutQuorum += 1;
    if (this.#withoutQuorum < PATIENCE) return;
    this.#withoutQuorum = 0;
    for (const node of this.#nodes.all.filter((other) => other !== this.#nodes.current)) {
      const answer = await this.#api.getFrom(node, "/v1/cluster").catch(() => null);
      if (answer?.document.quorum) {
        this.#stream.move(`${nameOf(asked)} is cut off from the others`, node);
        return;
      }
    }
  }

  /** Asks every node for its own digest at one index that all have applied: the page's own check, and no node's word. */
  async #compare(cluster) {
    const up = cluster.nodes.filter((member) => member.reachable && member.applied_index !== null);
    const index = Math.min(...up.map((member) => member.applied_index));
    const digests = await Promise.all(
      up.map(async ({ id }) => {
        const node = this.#nodes.byId(id);
        const answer = await this.#api.getFrom(node, `/v1/node?digest_at=${index}`).catch(() => null);
        return { id, digest: answer?.document.digest_at.digest ?? null };
      }),
    );
    const result = compareDigests(index, digests);
    // Where too few nodes answered in time, what was found a moment ago still stands.
    const total = cluster.nodes.length;
    if (result.state === "unknown" && up.length > 1 && performance.now() - this.#comparedAt < STANDS_MS) return;
    this.#comparedAt = performance.now();
    for (const [id, { parts }] of this.#rows) {
      const digest = digests.find((each) => each.id === id)?.digest ?? null;
      setText(parts.digest, digest === null ? "–" : digest.slice(0, DIGITS_SHOWN));
      parts.digest.title = digest === null ? "" : `${digest} at log index ${index}`;
    }
    const who = `${result.count} of ${total} digests`;
    if (result.state === "agree") this.#showAgreement(result, `${who} agree at ${grouped(index)}`);
    else if (result.state === "differ") this.#showAgreement(result, `Digests differ at ${grouped(index)}: ${result.odd.join(", ")}`);
    else this.#showAgreement(result, total === 1 ? "One node" : `${up.length} of ${total} nodes answer`);
  }

  #showAgreement({ state }, text) {
    byId("agreement").dataset.state = state;
    setText(byId("agreement-text"), text);
  }
}
