// API keys in the browser. The secret stays in this tab (sessionStorage) and is used to sign; a `trade` or `admin` key is
// never sent. What is signed is defined in raftbook/security/signing.py.

const STORED_AS = "raftbook.key";
const KEY = /^rb_(read|trade|admin)_([a-z0-9]{8,32})_([A-Za-z0-9_-]{43})$/;
/** What stands before the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410, 7). */
const PKCS8_PREFIX = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/** The parts of a key's text, or null where it is none. */
export function parseKey(text) {
  const match = KEY.exec(text.trim());
  if (match === null) return null;
  const [whole, role, keyId, secret] = match;
  return { text: whole, role, keyId, secret };
}

export class Credentials {
  #storage;
  #key = null;
  #signer = null;

  /** `storage` is sessionStorage, or something like it. */
  constructor(storage) {
    this.#storage = storage;
    const stored = storage.getItem(STORED_AS);
    this.#key = stored === null ? null : parseKey(stored);
  }

  get key() {
    return this.#key;
  }

  /** Signs with this key from now on; null signs nothing. */
  use(key) {
    this.#key = key;
    this.#signer = null;
    if (key === null) this.#storage.removeItem(STORED_AS);
    else this.#storage.setItem(STORED_AS, key.text);
  }

  /** The headers that a request to the node `nodeId` needs; `target` is path?query as it is sent. */
  async headers(nodeId, method, target, body = "") {
    if (this.#key === null) return {};
    if (this.#key.role === "read") return { Authorization: `Bearer ${this.#key.text}` };
    const { key_id, timestamp, nonce, signature } = await this.#sign(nodeId, method, target, body);
    return {
      "Raftbook-Key": key_id,
      "Raftbook-Timestamp": timestamp,
      "Raftbook-Nonce": nonce,
      "Raftbook-Signature": signature,
    };
  }

  /** The first message on a WebSocket to the node `nodeId`, or null where no key is used. */
  async streamMessage(nodeId) {
    if (this.#key === null) return null;
    if (this.#key.role === "read") return { op: "authenticate", token: this.#key.text };
    const { timestamp, ...rest } = await this.#sign(nodeId, "GET", "/v1/stream", "");
    return { op: "authenticate", ...rest, timestamp: BigInt(timestamp) };
  }

  async #sign(nodeId, method, target, body) {
    this.#signer ??= importSeed(this.#key.secret);
    const signer = await this.#signer;
    const timestamp = `${Date.now()}000000`;
    const nonce = toBase64Url(crypto.getRandomValues(new Uint8Array(18)));
    const digest = toHex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(body)));
    const text = ["raftbook-v1", nodeId, method, target, timestamp, nonce, digest].join("\n");
    const signature = await crypto.subtle.sign("Ed25519", signer, new TextEncoder().encode(text));
    return { key_id: this.#key.keyId, timestamp, nonce, signature: toBase64Url(new Uint8Array(signature)) };
  }
}

function importSeed(secret) {
  const seed = Uint8Array.from(atob(`${secret.replace(/-/g, "+").replace(/_/g, "/")}=`), (each) => each.charCodeAt(0));
  return crypto.subtle.importKey("pkcs8", Uint8Array.from([...PKCS8_PREFIX, ...seed]), "Ed25519", false, ["sign"]);
}

function toBase64Url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function toHex(buffer) {
  return [...new Uint8Array(buffer)].map((each) => each.toString(16).padStart(2, "0")).join("");
}
