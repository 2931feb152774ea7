package corruption

import (
	"bytes"
	"fmt"
	"slices"

	"lsmdb/internal/tests/fixture"
)

// largeBytes is the size of a file of which not every small piece is changed: that of a log
// or a MANIFEST that holds little.
const largeBytes = 32 << 10

// blocks zeroes, swaps and repeats pieces of files, as a file system or a disk does that
// writes to the wrong place or not at all.
func (v *victim) blocks(mutants chan<- mutant) {
	for _, name := range v.names() {
		data := v.Files[name]
		paired := 64 // there are too many pairs of smaller pieces
		switch {
		case len(data) >= 4096 && *corruptBits < 8:
			paired = 4096
		case len(data) >= largeBytes:
			paired = 512
		}
		for _, unit := range []int{64, 512, 4096} {
			if unit == 64 && len(data) >= largeBytes && *corruptBits < 8 {
				continue
			}
			send := func(kind, what string, changed []byte) {
				if !bytes.Equal(changed, data) {
					mutants <- mutant{kind: kind, file: name, what: what, make: func(f fixture.Files) fixture.Files { return f.With(name, changed) }}
				}
			}
			for i := 0; i < min(len(data), v.used(name)+unit); i += unit {
				block := data[i:min(i+unit, len(data))]
				where := fmt.Sprintf("%d bytes at %d", len(block), i)
				send("block zeroed", where, slices.Concat(data[:i], make([]byte, len(block)), data[i+len(block):]))
				send("block dropped", where, slices.Concat(data[:i], data[i+len(block):]))
				send("block twice", where, slices.Concat(data[:i], block, data[i:]))
				for j := 0; j+unit <= min(len(data), v.used(name)+unit) && len(block) == unit && unit >= paired; j += unit {
					where := fmt.Sprintf("%d bytes at %d and %d", unit, i, j)
					changed := bytes.Clone(data)
					copy(changed[j:], block)
					send("block over another", where, changed)
					if j < i {
						continue
					}
					changed = bytes.Clone(changed)
					copy(changed[i:], data[j:j+unit])
					send("blocks swapped", where, changed)
				}
			}
		}
	}
}

// wholeFiles removes files, exchanges them, and puts older ones in their place.
func (v *victim) wholeFiles(mutants chan<- mutant) {
	names := v.names()
	for i, one := range names {
		mutants <- mutant{kind: "missing", file: one, make: func(f fixture.Files) fixture.Files { return f.With(one, nil) }}
		for j, other := range names {
			if j == i {
				continue
			}
			mutants <- mutant{kind: "in place of another", file: other, what: "is " + one, make: func(f fixture.Files) fixture.Files { return f.With(other, f[one]) }}
			if j > i {
				mutants <- mutant{kind: "swapped", what: one + " and " + other, make: func(f fixture.Files) fixture.Files {
					return f.With(one, f[other]).With(other, f[one])
				}}
				mutants <- mutant{kind: "missing", what: one + " and " + other, make: func(f fixture.Files) fixture.Files { return f.With(one, nil).With(other, nil) }}
			}
		}
	}
	for n, old := range v.stale {
		for name, data := range old {
			if !bytes.Equal(data, v.Files[name]) && name != "LOCK" {
				mutants <- mutant{kind: "stale", file: name, what: fmt.Sprintf("of instant %d", n), make: func(f fixture.Files) fixture.Files { return f.With(name, data) }}
			}
		}
	}
}
