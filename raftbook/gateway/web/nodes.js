// The nodes of the cluster as this page knows them, and which one it talks to.

export class NodeList {
  #nodes;
  #current;

  /** `origin` is where the page itself came from; more nodes are learned from GET /v1/cluster. */
  constructor(origin) {
    this.#current = { id: null, url: origin, failures: 0 };
    this.#nodes = [this.#current];
  }

  get all() {
    return this.#nodes;
  }

  get current() {
    return this.#current;
  }

  byId(id) {
    return this.#nodes.find((node) => node.id === id) ?? null;
  }

  /** Notes that the node at `url` calls itself `id`. */
  identify(url, id) {
    const known = this.#nodes.find((node) => node.url === url);
    if (known !== undefined) known.id = id;
  }

  /**
   * Takes over the nodes of an answer to GET /v1/cluster. A node that is known keeps its URL, since the page may have
   * been opened under another name of the same node. Every node serves as the first one does: with TLS, or without.
   */
  learn(members) {
    const scheme = new URL(this.#nodes[0].url).protocol;
    this.#nodes = members.map(({ id, api_address: address }) => {
      const url = `${scheme}//${address}`;
      const known = this.#nodes.find((node) => node.id === id || (node.id === null && node.url === url));
      if (known === undefined) return { id, url, failures: 0 };
      known.id = id;
      return known;
    });
    if (!this.#nodes.includes(this.#current)) this.#nodes.unshift(this.#current);
  }

  use(node) {
    this.#current = node;
  }

  succeeded(node) {
    node.failures = 0;
  }

  /** Goes on at the node that failed least; among equals, the next in turn. */
  moveOn() {
    this.#current.failures += 1;
    const from = this.#nodes.indexOf(this.#current);
    const inTurn = [...this.#nodes.slice(from + 1), ...this.#nodes.slice(0, from + 1)];
    this.#current = inTurn.reduce((best, node) => (node.failures < best.failures ? node : best));
    return this.#current;
  }
}

export function streamUrl(node) {
  return `${node.url.replace(/^http/, "ws")}/v1/stream`;
}

export function nameOf(node) {
  return node.id ?? new URL(node.url).host;
}
