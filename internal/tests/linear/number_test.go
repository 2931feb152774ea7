package linear

import (
	"encoding/binary"
	"fmt"
	"slices"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// number stands for a value: 0 for none, a small one for a value that was put. Operands are
// numbers as well. What is merged is the sequence of their numbers, told by its length and
// its polynomial hash: so merging is associative, but neither commutative nor idempotent.
type number uint64

const (
	lengthShift = 56
	hashMask    = 1<<lengthShift - 1
	hashBase    = 1_000_003
	onNothing   = number(1<<lengthShift | 0xbeef) // what an operand is merged onto where there is nothing
)

// put is the number of a value that is put.
func put(n uint32) number { return 1<<lengthShift | number(n) }

// merged is what newer makes of n.
func (n number) merged(newer number) number {
	if n == 0 {
		n = onNothing
	}
	hash := uint64(n) & hashMask
	for range newer >> lengthShift {
		hash *= hashBase
	}
	return (n>>lengthShift+newer>>lengthShift)<<lengthShift | number((hash+uint64(newer)&hashMask)&hashMask)
}

func (n number) String() string {
	if n>>lengthShift == 1 {
		return fmt.Sprint(uint64(n & hashMask))
	}
	return fmt.Sprintf("%dx%x", n>>lengthShift, uint64(n&hashMask))
}

// linearValue encodes a number, in sizes that fill a memtable quickly.
func linearValue(n number) []byte {
	v := make([]byte, 8+int(n%9973)*7919%1500)
	for i := range v {
		v[i] = byte(n)
	}
	binary.LittleEndian.PutUint64(v, uint64(n))
	return v
}

func linearNumber(value []byte) (number, error) {
	if len(value) < 8 {
		return 0, fmt.Errorf("a value of %d bytes that nobody wrote", len(value))
	}
	n := number(binary.LittleEndian.Uint64(value))
	if !slices.Equal(value, linearValue(n)) {
		return 0, fmt.Errorf("value %v has other bytes than were written", n)
	}
	return n, nil
}

// linearMerge merges linearValues.
func linearMerge(dst, _, older, newer []byte) ([]byte, error) {
	var below number
	var err error
	if older != nil {
		below, err = linearNumber(older)
	}
	operand, operandErr := linearNumber(newer)
	if err != nil || operandErr != nil {
		return nil, fmt.Errorf("merge: %w, %w", err, operandErr)
	}
	return append(dst, linearValue(below.merged(operand))...), nil
}

// change is one operation of a commit: it puts a value, or deletes with value 0.
func (w keyValue) operation() fixture.Operation {
	o := fixture.Operation{Key: string(linearKey(w.key)), Delete: w.value == 0}
	switch {
	case w.to > 0:
		o.Delete, o.Range, o.Value = false, true, string(linearKey(w.to))
	case w.value != 0:
		o.Merge, o.Value = w.merge, string(linearValue(w.value))
	}
	return o
}

// onto makes the change.
func (w keyValue) onto(found *image) {
	switch {
	case w.to > 0:
		clear(found[w.key:w.to])
	case w.merge:
		found[w.key] = found[w.key].merged(w.value)
	default:
		found[w.key] = w.value
	}
}

// vary makes of a change now and then a merge, or a range delete of some keys of a group.
func (c *linearClient) vary(w *keyValue, high int) {
	switch n := c.rng.IntN(16); {
	case n < 4 && w.value != 0:
		w.merge = true
	case n == 4:
		w.value, w.to = 0, w.key+1+c.rng.IntN(high-w.key)
	}
}

func linearOptions(o db.Options) db.Options {
	o.Merger = &db.Merger{Name: "linear", Merge: linearMerge}
	return o
}

// wrongVocabulary are bugs of what is neither a put nor a delete.
var wrongVocabulary = []plant{
	{"an operand is merged twice", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		w := keyValue{key: 0, value: p.epoch.run.number(), merge: true}
		p.writeAs([]keyValue{w, w}[:2-p.unless(1)], []keyValue{w}, db.NoSync, db.NoSync)
		p.get(p.db(), 0)
	}},
	{"an operand overtakes another", onClose, false, func(p *planter) {
		v, w := keyValue{key: 0, value: p.epoch.run.number(), merge: true}, keyValue{key: 0, value: p.epoch.run.number(), merge: true}
		p.writeAs([]keyValue{w, v, w}[1-p.unless(1):][:2], []keyValue{w, v}, db.NoSync, db.NoSync)
		p.get(p.db(), 0)
	}},
	{"an operand replaces what it is merged onto", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		w := keyValue{key: 0, value: p.epoch.run.number(), merge: true}
		stored := w
		stored.merge = p.unless(1) == 1
		p.writeAs([]keyValue{stored}, []keyValue{w}, db.NoSync, db.NoSync)
		p.get(p.db(), 0)
	}},
	{"a range delete misses a key", onClose, false, func(p *planter) {
		p.write(p.both(), db.NoSync)
		p.writeAs([]keyValue{{key: 0, to: 1 + p.unless(1)}}, []keyValue{{key: 0, to: 2}}, db.NoSync, db.NoSync)
		p.scan(p.db(), nil)
	}},
}
