//go:build !race

package base

// Invariants turns expensive self-checks on. They run in every build with the
// race detector.
const Invariants = false
