package debug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"lsmdb/db"
	"lsmdb/internal/inside"
)

// Answers to what viewers ask beside the stream.

const (
	askedTime   = 10 * time.Second // after which a question is given up
	maxParts    = 64               // that space is divided into
	maxKeyBytes = 65_535
)

// pins lists all of them. Whoever asks does not wait for a disk that hangs.
func (h *handler) pins(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), askedTime)
	defer cancel()
	done, err := h.measure(ctx)
	if err != nil {
		return nil, err
	}
	found := make(chan []db.Pin, 1) // whoever finds them sends them, whether somebody still waits or not
	h.sampler.start(func() {
		defer done()
		found <- h.database.Pins()
	})
	select {
	case pins := <-found:
		return map[string]any{"pins": pins}, nil
	case <-ctx.Done():
		return nil, errors.New("to see what the pins keep, tables are read, and the disk does not answer")
	}
}

// measure waits until nobody else has samples of tables read. Whoever is done calls done.
func (h *handler) measure(ctx context.Context) (done func(), err error) {
	select {
	case h.measuring <- struct{}{}:
		return func() { <-h.measuring }, nil
	case <-ctx.Done():
		return nil, errors.New("the database is being measured for somebody else")
	}
}

// properties are those of a table, or of neighbours together.
type properties struct {
	Number       uint64   `json:"number"`
	Tables       int      `json:"tables"`
	Numbers      []uint64 `json:"numbers"`
	Level        int      `json:"level"`
	Bytes        int64    `json:"bytes"`
	Entries      uint64   `json:"entries"`
	Deletes      uint64   `json:"deletes"`
	RangeDeletes uint64   `json:"range_deletes"`
	Merges       uint64   `json:"merges"`
	Expiring     uint64   `json:"expiring"`
	Shadowed     uint64   `json:"shadowed"` // older versions of keys in the same table
	From         string   `json:"from"`
	To           string   `json:"to"`
	SmallestSeq  uint64   `json:"smallest_seq"`
	LargestSeq   uint64   `json:"largest_seq"`
	Blocks       int      `json:"blocks"` // of data; 0: it was not read yet
	Cached       int      `json:"cached"` // of them
}

// table shows the properties of a table, or of some from it on.
func (h *handler) table(r *http.Request) (any, error) {
	number, err := strconv.ParseUint(r.FormValue("number"), 10, 64)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, errors.New("number must be that of a table")}
	}
	most, err := strconv.Atoi(r.FormValue("count"))
	if err != nil || most < 1 {
		most = 1
	}
	tables, level := find(inside.Look(h.database).Version, number, most)
	if len(tables) == 0 {
		// That happens all the time, and is no mistake that browsers should complain about.
		return map[string]string{"error": fmt.Sprintf("Table %d is not in the tree any more: it was merged into others.", number)}, nil
	}
	b := box{tables: tables}
	from, to := b.bounds()
	p := properties{Number: number, Tables: len(tables), Level: level, SmallestSeq: uint64(tables[0].SmallestSeq),
		From: keyText(from, 1000), To: keyText(to, 1000)}
	for _, t := range tables {
		if len(p.Numbers) < 100 {
			p.Numbers = append(p.Numbers, t.Number)
		}
		p.Bytes += t.SizeBytes
		p.Entries += t.Entries
		p.Deletes += t.Deletes
		p.RangeDeletes += t.RangeDeletes
		p.Merges += t.Merges
		p.Expiring += t.Expiring
		p.Shadowed += t.Shadowed
		p.SmallestSeq, p.LargestSeq = min(p.SmallestSeq, uint64(t.SmallestSeq)), max(p.LargestSeq, uint64(t.LargestSeq))
		if t.Handle != nil {
			cached, blocks := t.Handle.Cached()
			p.Cached, p.Blocks = p.Cached+cached, p.Blocks+blocks
		}
	}
	return p, nil
}

// keyOf is a parameter that is a key, as keyText writes it.
func keyOf(r *http.Request, name string) ([]byte, error) {
	key := parseKey(r.FormValue(name))
	if len(key) > maxKeyBytes {
		return nil, refusal{http.StatusBadRequest, fmt.Errorf("a key has at most %d bytes, this one has %d", maxKeyBytes, len(key))}
	}
	return key, nil
}

// explain says where the database looks for a key, and what it finds.
func (h *handler) explain(r *http.Request) (any, error) {
	key, err := keyOf(r, "key")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askedTime)
	defer cancel()
	e, err := h.database.Explain(ctx, key)
	if err != nil {
		return nil, err
	}
	return map[string]any{"key": keyText(key, 1000), "explanation": e}, nil
}

// part is the space that keys with a prefix take.
type part struct {
	Prefix string   `json:"prefix"`
	Space  db.Space `json:"space"`
}

// space divides keys with a prefix by what follows the prefix, and measures each part.
func (h *handler) space(r *http.Request) (any, error) {
	prefix, err := keyOf(r, "prefix")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askedTime)
	defer cancel()
	done, err := h.measure(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	measure := func(prefix []byte) (db.Space, error) {
		start, end := db.PrefixRange(prefix)
		return h.database.SpaceOf(ctx, start, end)
	}
	whole, err := measure(prefix)
	if err != nil {
		return nil, err
	}
	prefixes, more, err := h.divide(ctx, prefix)
	if err != nil {
		return nil, err
	}
	list := []part{}
	for _, p := range prefixes {
		s, err := measure(p)
		if err != nil {
			return nil, err
		}
		list = append(list, part{keyText(p, maxKeyBytes), s})
	}
	return map[string]any{"prefix": keyText(prefix, 200), "whole": whole, "parts": list, "more": more}, nil
}

// divide finds the longer prefixes that keys with a prefix have: up to the next separator or,
// where that makes too many, with one more byte than all have in common. It seeks from one to
// the next, and reads little. More says that there are others behind the last.
func (h *handler) divide(ctx context.Context, prefix []byte) (prefixes [][]byte, more bool, err error) {
	s, err := inside.Snapshot(ctx, h.database)
	if err != nil {
		return nil, false, err
	}
	snapshot := s.(*db.Snapshot)
	defer snapshot.Close()
	it, err := snapshot.NewIterator(&db.IterOptions{Prefix: prefix, KeysOnly: true, NoCacheFill: true})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.First() {
		return nil, false, it.Err()
	}
	common := bytes.Clone(it.Key())
	if it.Last() {
		common = common[:shared(common, it.Key())]
	}
	for _, cut := range []func(key []byte) []byte{
		func(key []byte) []byte { return upToSeparator(key, len(common)) },
		func(key []byte) []byte { return key[:min(len(key), len(common)+1)] },
	} {
		prefixes, more, err = parts(ctx, it, len(common), cut)
		if err != nil || !more {
			break
		}
	}
	return prefixes, more, err
}

// parts lists what cut makes of the keys, each once, and says whether there are more. A key
// that has nothing but what all have in common is no part: it would be all of them.
func parts(ctx context.Context, it *db.Iterator, common int, cut func(key []byte) []byte) (prefixes [][]byte, more bool, err error) {
	for ok := it.First(); ok; {
		switch {
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case len(it.Key()) == common:
			ok = it.Next()
			continue
		case len(prefixes) == maxParts:
			return prefixes, true, nil
		}
		prefixes = append(prefixes, bytes.Clone(cut(it.Key())))
		_, behind := db.PrefixRange(prefixes[len(prefixes)-1])
		if behind == nil {
			break
		}
		ok = it.SeekGE(behind)
	}
	return prefixes, false, it.Err()
}

// shared is how many bytes two keys have in common at their beginning.
func shared(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// upToSeparator cuts a key behind the first separator after so many bytes.
func upToSeparator(key []byte, known int) []byte {
	if i := bytes.IndexAny(key[known:], "/:.|,;#\x00"); i >= 0 {
		return key[:known+i+1]
	}
	return key
}
