// Reads over HTTP: from the node that the page talks to, and where that one does not answer, from the others.

const TIMEOUT_MS = 3_000;

/** What a node refused: `code` is stable, `message` says what to do, `key` is the one that it was asked with, or null. */
export class Refused extends Error {
  constructor(status, problem, key) {
    super(problem.detail ?? problem.title ?? `the node answered ${status}`);
    this.key = key;
    this.status = status;
    this.code = problem.code ?? "unknown";
  }
}

export class Api {
  #nodes;
  #credentials;

  constructor(nodes, credentials) {
    this.#nodes = nodes;
    this.#credentials = credentials;
  }

  /** {document, node, logIndex} of a GET. Raises Refused, or the last node's TypeError where none answers. */
  async get(target) {
    const { current, all } = this.#nodes;
    let failure = null;
    for (const node of [current, ...all.filter((other) => other !== current)]) {
      try {
        return await this.getFrom(node, target);
      } catch (error) {
        // A refusal is an answer; of a node that is on its way out, or not there yet, another one knows better.
        if (error instanceof Refused && error.status !== 503) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** The same from one node and no other. */
  async getFrom(node, target) {
    const signedFor = this.#credentials.key === null ? null : await this.idOf(node);
    const { key } = this.#credentials;
    const response = await fetch(node.url + target, {
      headers: await this.#credentials.headers(signedFor, "GET", target),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    });
    if (!response.ok) throw new Refused(response.status, await problemOf(response), key);
    const logIndex = Number(response.headers.get("Raftbook-Log-Index"));
    return { document: await response.json(), node, logIndex };
  }

  /** What the node calls itself; every answer says so, also one that needs no key. */
  async idOf(node) {
    if (node.id === null) {
      const response = await fetch(`${node.url}/healthz`, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
      node.id = response.headers.get("Raftbook-Node");
    }
    return node.id;
  }
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return {}; // Something between the page and the node answered in its place; the status is all that there is.
  }
}
