package replica

import "bytes"

// overlay is changes in their order that lie over a database and are not in it yet. It answers
// what a key has among them.
type overlay struct {
	keys   map[string]written
	ranges []rangeWritten
	count  int // changes so far, to tell which of two came later
}

// written is the last change of a key.
type written struct {
	at    int
	value []byte // nil: deleted
	until int64  // 0: it stays
}

type rangeWritten struct {
	at         int
	start, end []byte // a nil end is no bound
}

// add notes a change. Its slices are kept.
func (v *overlay) add(o operation) {
	v.count++
	switch o.kind {
	case kindDeleteRange:
		v.ranges = append(v.ranges, rangeWritten{v.count, o.key, o.value})
		return
	case kindDelete:
		o.value = nil
	default:
		if o.value == nil {
			o.value = []byte{}
		}
	}
	if v.keys == nil {
		v.keys = make(map[string]written)
	}
	v.keys[string(o.key)] = written{v.count, o.value, o.until}
}

// get returns the last change of key, if there is one: a nil value means that it was deleted,
// or that its value has ended.
func (v *overlay) get(key []byte, now int64) (value []byte, changed bool) {
	last, changed := v.keys[string(key)]
	for i := len(v.ranges) - 1; i >= 0 && v.ranges[i].at > last.at; i-- {
		if r := &v.ranges[i]; bytes.Compare(key, r.start) >= 0 && (r.end == nil || bytes.Compare(key, r.end) < 0) {
			return nil, true
		}
	}
	if last.until != 0 && last.until <= now {
		return nil, changed
	}
	return last.value, changed
}

func (v *overlay) reset() {
	clear(v.keys)
	v.ranges, v.count = v.ranges[:0], 0
}
