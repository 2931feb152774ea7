package output

import (
	"errors"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// TestBorderAtTheLastKey: range deletes reach behind the last entry, whose key is a border,
// too. No cut may come between that entry and what lies under its key.
func TestBorderAtTheLastKey(t *testing.T) {
	tables := NewTables(newDirectory(newMem(t)), 1, func(sizeBytes int64, _ []byte) bool { return sizeBytes > 0 })
	tables.Ranges(ranges.Of([]byte("a"), []byte("z"), 3), [][]byte{[]byte("c"), []byte("k"), []byte("p")})
	for _, key := range []string{"b", "k"} {
		if err := tables.Add(base.MakeInternalKey([]byte(key), 9, base.KindSet), nil); err != nil {
			t.Fatal(err)
		}
	}
	done, err := tables.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for i, meta := range done[1:] {
		if !done[i].EndsBefore(meta.Smallest.UserKey()) {
			t.Errorf("%s and %s overlap", done[i], meta)
		}
	}
	if len(done) < 2 {
		t.Errorf("%d tables", len(done))
	}
}

// TestEmptyOperandIsNotNil: onto an empty operand is merged as onto any other, not as onto
// nothing.
func TestEmptyOperandIsNotNil(t *testing.T) {
	r := NewRetention(Scope{
		Readers: Readers{Nows: []int64{1}},
		Merger: &base.Merger{Name: "test", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
			if older == nil {
				dst = append(dst, "onto nothing"...)
			}
			return append(append(dst, older...), newer...), nil
		}},
		Failed: func(err error) { t.Error(err) },
	})
	var got []string
	write := func(key base.InternalKey, value []byte) error {
		got = append(got, key.String()+" = "+string(value))
		return nil
	}
	newer := r.Take(base.MakeInternalKey([]byte("k"), 2, base.KindMerge), nil, write)
	older := r.Take(base.MakeInternalKey([]byte("k"), 1, base.KindMerge), nil, write)
	if err := errors.Join(newer, older, r.End(write)); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != `"k"#2,merge = ` {
		t.Errorf("%q", got)
	}
}
