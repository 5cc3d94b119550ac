// What branch and bound counts on the device; `fused/branch.rs` has the same words.

// The ring: first open box, boxes open, boxes in the round at hand (all that are open, or none), halves that it has appended.
const HEAD: u32 = 0u;
const N_OPEN: u32 = 1u;
const N_RUNNING: u32 = 2u;
const N_NEXT: u32 = 3u;
const N_DOUBTFUL: u32 = 4u;
// The smallest score of a decided box, by its bits.
const LEAST: u32 = 5u;
// Boxes bounded, and neurons undecided in them, low and high half.
const BOUNDED: u32 = 6u;
const UNDECIDED: u32 = 8u;
const N_ROUNDS: u32 = 10u;
// Boxes that the ring and the doubtful list hold; pool: the doubtful boxes, the rule.
const CAPACITY: u32 = 11u;
const MOST_DOUBTFUL: u32 = 12u;
const DOUBTFUL_START: u32 = 13u;
const RULE: u32 = 14u;
const N_DISJUNCTS: u32 = 15u;
// How many boxes of each depth were decided.
const DEPTHS: u32 = 16u;
const N_DEPTHS: u32 = 256u;
