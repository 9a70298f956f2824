// Whether an update is the next one. A feed numbers its updates without gaps, also across nodes: what does not follow on
// what was seen last means that something is missing, and only a snapshot helps.

/** True where the update of a book follows `last`; merged updates name the first number that they hold. */
export function follows(last, update) {
  return last !== null && (update.first_sequence ?? update.sequence) === last + 1;
}
