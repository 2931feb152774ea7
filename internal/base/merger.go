package base

// Merger is how merge operands become values. Merge returns dst with what newer makes of
// older appended; older is nil where there is no value. It must be associative, as
// operands are merged onto each other in any grouping, if always in their order, and may
// be called from any number of goroutines. It keeps none of its arguments.
type Merger struct {
	Name  string // recorded in the database, which opens with no other one
	Merge func(dst, key, older, newer []byte) ([]byte, error)
}
