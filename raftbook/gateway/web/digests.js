// Whether the nodes that answered have equal digests: equal digests at one log index mean equal events from the first on.

/**
 * `digests` is [{id, digest}], all at `index`, null where a node does not hold it any more or yet.
 * Returns {state: "agree"|"differ"|"unknown", index, count, odd}: how many were compared; who differs from most.
 */
export function compareDigests(index, digests) {
  const held = digests.filter(({ digest }) => digest !== null);
  if (held.length < 2) return { state: "unknown", index, count: held.length, odd: [] };
  const counts = new Map();
  for (const { digest } of held) counts.set(digest, (counts.get(digest) ?? 0) + 1);
  if (counts.size === 1) return { state: "agree", index, count: held.length, odd: [] };
  const [common, most] = [...counts].reduce((best, each) => (each[1] > best[1] ? each : best));
  // Without a majority nobody can say which of them is the odd one.
  const odd = most * 2 > held.length ? held.filter(({ digest }) => digest !== common) : held;
  return { state: "differ", index, count: held.length, odd: odd.map(({ id }) => id) };
}
