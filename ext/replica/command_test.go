package replica

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"lsmdb/db"
)

func TestCommand(t *testing.T) {
	long := bytes.Repeat([]byte("long"), 100)
	until := time.Unix(1_900_000_000, 42)
	c := NewCommand().Expect([]byte("a"), nil).Expect([]byte("b"), []byte{}).Expect([]byte("c"), long).
		Put([]byte("k"), long).PutUntil([]byte("u"), nil, until).PutUntil([]byte("z"), nil, time.Time{}).
		Delete(nil).DeleteRange([]byte("s"), []byte("t")).DeleteRange(nil, nil).DeleteRange(nil, []byte{})
	d, err := decode(c.Encode())
	if err != nil {
		t.Fatal(err)
	}
	values := [][]byte{nil, {}, long, []byte("x")}
	for i, e := range d.expectations {
		for j, v := range values {
			if e.holds(v) != (i == j) {
				t.Errorf("expectation %d of %q: %v", i, v, e.holds(v))
			}
		}
	}
	var kinds []byte
	for _, o := range d.operations {
		kinds = append(kinds, o.kind)
	}
	if string(kinds) != "pupdrrr" || d.operations[1].until != until.UnixNano() || !bytes.Equal(d.operations[0].value, long) {
		t.Errorf("operations %q: %+v", kinds, d.operations)
	}
	if d.operations[5].value != nil || d.operations[6].value == nil {
		t.Error("a range without an end and one that ends before everything are not told apart")
	}
	if since := time.Since(time.Unix(0, d.now)); since < 0 || since > time.Minute {
		t.Errorf("the command carries a time of %v ago", since)
	}
	if len(NewCommand().Expect(nil, make([]byte, 1<<20)).Encode()) > 100 {
		t.Error("a long value is sent, not its digest")
	}
	for at, want := range map[time.Time]int64{
		time.Unix(-1, 0): 0, time.Unix(5, 1): 5e9 + 1, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC): math.MaxInt64,
	} {
		if got := nanoseconds(at); got != want {
			t.Errorf("%v is %d", at, got)
		}
	}
}

// TestOverlay compares with changes that are carried out one by one.
func TestOverlay(t *testing.T) {
	var v overlay
	for _, step := range strings.Fields("pa pb dc ra-c pb rb-z pc re- pf ra-b") {
		op := operation{kind: step[0], key: []byte{step[1]}}
		switch {
		case step[0] == 'p':
			op.value = []byte(step)
		case len(step) == 4:
			op.kind, op.value = kindDeleteRange, []byte{step[3]}
		case len(step) == 3:
			op.kind = kindDeleteRange
		}
		v.add(op)
	}
	for k, want := range map[string]string{"a": "", "b": "", "c": "pc", "d": "", "e": "", "f": "pf", "zz": "", "Z": "none"} {
		value, changed := v.get([]byte(k), 0)
		if !changed {
			value = []byte("none")
		}
		if string(value) != want {
			t.Errorf("%s has %q instead of %q", k, value, want)
		}
	}
	v.reset()
	if _, changed := v.get([]byte("c"), 0); changed {
		t.Error("something is left")
	}
}

// FuzzDecode sees that no bytes make a panic, that what is accepted lies within the limits and
// comes back as it was.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(NewCommand().Encode())
	f.Add(NewCommand().Expect([]byte("a"), nil).Expect([]byte("b"), []byte("c")).Expect([]byte("c"), make([]byte, 100)).
		Put([]byte("k"), []byte("v")).PutUntil([]byte("k"), nil, time.Unix(1, 0)).Delete(nil).DeleteRange(nil, nil).DeleteRange([]byte("a"), []byte("b")).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decode(data)
		if err != nil {
			return
		}
		c := NewCommand()
		for _, o := range d.operations {
			if len(o.key) > maxKeyBytes || len(o.value) > db.MaxValueBytes {
				t.Fatalf("accepted beyond the limits: %d, %d", len(o.key), len(o.value))
			}
			c.add(o)
		}
		again, err := decode(c.encode(time.Unix(0, d.now)))
		if err != nil || again.now != d.now || !slices.EqualFunc(again.operations, d.operations, func(a, b operation) bool {
			return a.kind == b.kind && a.until == b.until && bytes.Equal(a.key, b.key) && bytes.Equal(a.value, b.value) && (a.value == nil) == (b.value == nil)
		}) {
			t.Fatalf("%+v comes back as %+v, %v", d, again, err)
		}
	})
}
