package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// anyEdit returns an edit that can be encoded, whether or not it could be applied.
func anyEdit(rng *rand.Rand) *Edit {
	e := &Edit{}
	for _, scalar := range []*uint64{&e.DatabaseID, &e.NextFile, &e.OldestWAL, (*uint64)(&e.LastSeq)} {
		if rng.IntN(2) == 0 {
			*scalar = 1 + rng.Uint64()>>(9+rng.IntN(50))
		}
	}
	for range rng.IntN(4) {
		e.Removed = append(e.Removed, RemovedTable{rng.IntN(NumLevels), 1 + rng.Uint64N(MaxFileNumber-1)})
	}
	for range rng.IntN(4) {
		from := 1 + base.Seq(rng.Uint64N(uint64(base.MaxSeq)))
		meta := newMeta(1+rng.Uint64N(MaxFileNumber-1), strings.Repeat("a", rng.IntN(300)), "b\x00"+strings.Repeat("c", rng.IntN(300)), from, min(base.MaxSeq, from+base.Seq(rng.IntN(1000))))
		meta.SizeBytes = 1 + rng.Int64N(math.MaxInt64)
		if rng.IntN(2) == 0 {
			extend(rng, meta)
		}
		e.Added = append(e.Added, AddedTable{rng.IntN(NumLevels), meta})
	}
	slices.SortStableFunc(e.Added, func(a, b AddedTable) int { // as they are encoded
		return slices.Index([]bool{false, true}, a.Meta.extended()) - slices.Index([]bool{false, true}, b.Meta.extended())
	})
	if rng.IntN(2) == 0 {
		e.Now = 1 + rng.Int64()>>rng.IntN(60)
	}
	if rng.IntN(2) == 0 {
		e.Merger = strings.Repeat("m", 1+rng.IntN(300))
	}
	for range rng.IntN(3) {
		e.Loaded = append(e.Loaded, Loaded{1 + base.Seq(rng.Uint64N(uint64(base.MaxSeq))), []byte(strings.Repeat("a", rng.IntN(300))), []byte("b")})
	}
	return e
}

// extend gives a table something that tag 6 cannot describe.
func extend(rng *rand.Rand, meta *TableMeta) {
	switch rng.IntN(4) {
	case 0:
		excluding(meta)
	case 1:
		meta.Merges = 1 + rng.Uint64N(8)
	case 2:
		meta.Expiring, meta.EarliestExpiry, meta.LatestExpiry = 2, -rng.Int64(), rng.Int64()
		if 2*meta.Expiring >= meta.Entries {
			meta.HalfExpiry = meta.LatestExpiry / 2
		}
	case 3:
		meta.Placeholder, meta.SmallestSeq = 1, meta.LargestSeq
		meta.Renumber(meta.LargestSeq)
	}
}

// excluding makes the table end with a range delete, before its last key.
func excluding(meta *TableMeta) *TableMeta {
	meta.RangeDeletes, meta.Largest = 3, base.MakeInternalKey(meta.Largest.UserKey(), base.MaxSeq, base.KindRangeDelete)
	return meta
}

func TestEditRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		e := anyEdit(rand.New(rand.NewPCG(seed, 2)))
		encoded := e.AppendTo([]byte("before"))[len("before"):]
		source := bytes.Clone(encoded)
		decoded, err := DecodeEdit(source)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, e)
		}
		clear(source) // the edit must not share it
		if !reflect.DeepEqual(e, decoded) {
			t.Fatalf("seed %d: decoded\n%s\nwant\n%s", seed, decoded, e)
		}
		for length := range encoded {
			if short, err := DecodeEdit(encoded[:length]); err == nil && len(short.AppendTo(nil)) != length {
				t.Fatalf("seed %d: %d of %d bytes decoded to %s", seed, length, len(encoded), short)
			}
		}
	}
}

// field builds one encoded field from numbers and strings.
func field(tag uint64, parts ...any) []byte {
	return appendField(nil, tag, join(parts...))
}

// join encodes ints as uvarints, uint64s as eight bytes, keys with their length and
// byte slices as they are.
func join(parts ...any) (p []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			p = binary.AppendUvarint(p, uint64(part))
		case uint64:
			p = binary.LittleEndian.AppendUint64(p, part)
		case base.InternalKey:
			p = append(binary.AppendUvarint(p, uint64(len(part))), part...)
		case []byte:
			p = append(p, part...)
		}
	}
	return p
}

func TestDecodeEditRefuses(t *testing.T) {
	key := func(user string) base.InternalKey { return base.MakeInternalKey([]byte(user), 5, base.KindSet) }
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	unknownKind := base.MakeInternalKey([]byte("b"), 5, base.KindSetExpiring+1)
	end := base.MakeInternalKey([]byte("b"), base.MaxSeq, base.KindRangeDelete)
	extended := func(largest base.InternalKey, entries, rangeDeletes, merges, expiring, earliest, latest, placeholder int) []byte {
		return field(7, 1, 9, 100, uint64(1), key("a"), largest, 5, 5, entries, 0, 0,
			rangeDeletes, merges, expiring, uint64(earliest), uint64(latest), placeholder)
	}
	cases := []struct {
		want    string
		encoded []byte
	}{
		{"tag is malformed", []byte{0x80}},
		{"tag is malformed", []byte{0x81, 0x00, 0x01, 0x07}},
		{"length of the field is malformed", []byte{2, 0xff}},
		{"exceeds what remains", []byte{2, 5, 1}},
		{"exceeds what remains", join([]byte{2}, huge)},
		{"unknown edit field with tag 11", field(11, 1)},
		{"unknown edit field with tag 0", field(0, 1)},
		{"unknown edit field with tag 18446744073709551615", field(math.MaxUint64)},
		{"tag 2 follows one with tag 2", join(field(2, 9), field(2, 9))},
		{"tag 1 follows one with tag 4", join(field(4, 9), field(1, 9))},
		{"tag 5 follows one with tag 6", join(field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0), field(5, 1, 9))},
		{"2 bytes too many", field(3, 9, 9, 9)},
		{"is malformed", field(3)},
		{"is malformed", field(3, []byte{0x89, 0x00})},
		{"database id 0 is out of range", field(1, 0)},
		{"next file number 0 is out of range", field(2, 0)},
		{"next file number 18446744073709551615", field(2, huge)},
		{"last sequence number 72057594037927936", field(3, binary.AppendUvarint(nil, 1<<56))},
		{"oldest WAL number 0", field(4, 0)},
		{"oldest WAL number 4611686018427387904", field(4, binary.AppendUvarint(nil, MaxFileNumber))},
		{"level 7 is out of range", field(5, 7, 1)},
		{"level 18446744073709551615", field(5, huge, 1)},
		{"removed table 0", field(5, 1, 0)},
		{"removed table 18446744073709551615", field(5, 1, huge)},
		{"too many", field(5, 1, 9, 9)},
		{"level 7 is out of range", field(6, 7, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0)},
		{"file number 0 is out of range", field(6, 1, 0, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0)},
		{"file number 18446744073709551615", field(6, 1, huge, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0)},
		{"size of 0 bytes", field(6, 1, 9, 0, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0)},
		{"size of -1 bytes", field(6, 1, 9, huge, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0)},
		{"is after the largest", field(6, 1, 9, 100, uint64(1), key("b"), key("a"), 5, 5, 2, 0, 0)},
		{"shorter than its trailer", field(6, 1, 9, 100, uint64(1), base.InternalKey("short"), key("a"), 5, 5, 2, 0, 0)},
		{"smallest key of 18446744073709551615 bytes", field(6, 1, 9, 100, uint64(1), huge, key("a"), 5, 5, 2, 0, 0)},
		{"unknown operation kind (kind 6)", field(6, 1, 9, 100, uint64(1), key("a"), unknownKind, 5, 5, 2, 0, 0)},
		{"sequence numbers from 6 to 5", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 6, 5, 2, 0, 0)},
		{"outside the sequence numbers", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 1, 4, 2, 0, 0)},
		{"0 entries", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 0, 0, 0)},
		{"3 deletes", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 3, 0)},
		{"2 shadowed", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 2)},
		{"shadowed entries is malformed", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0)},
		{"1 bytes too many", field(6, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0, 0)},
		{"without need", extended(key("b"), 2, 0, 0, 0, 0, 0, 0)},
		{"latest expiry of 8 bytes exceeds", field(7, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0, 0, 1, 0, uint64(0))},
		{"placeholder is malformed", field(7, 1, 9, 100, uint64(1), key("a"), key("b"), 5, 5, 2, 0, 0, 0, 1, 0, uint64(0), uint64(0))},
		{"half expiry of 8 bytes exceeds what remains (1)", field(7, append(extended(key("b"), 2, 0, 1, 0, 0, 0, 0)[2:], 0))},
		{"half expiry is there without need", field(7, append(extended(key("b"), 2, 0, 0, 2, 4, 6, 0)[2:], make([]byte, 8)...))},
		{"half of 2 entries ends at 3, 2 of them from 4 to 6", field(7, append(extended(key("b"), 2, 0, 0, 2, 4, 6, 0)[2:], 3, 0, 0, 0, 0, 0, 0, 0))},
		{"1 bytes too many", field(7, append(extended(key("b"), 2, 0, 0, 2, 4, 6, 0)[2:], 5, 0, 0, 0, 0, 0, 0, 0, 0))},
		{"tag 6 follows one with tag 7", join(extended(key("b"), 2, 0, 1, 0, 0, 0, 0), field(6))},
		{"3 merges", extended(key("b"), 2, 0, 3, 0, 0, 0, 0)},
		{"2 merges, 1 expiring", extended(key("b"), 2, 0, 2, 1, 0, 0, 0)},
		{"1 expiring, from 4 to 5", extended(key("b"), 2, 0, 0, 1, 4, 5, 0)},
		{"2 expiring, from 5 to 4", extended(key("b"), 2, 0, 0, 2, 5, 4, 0)},
		{"0 expiring, from 4 to 4", extended(key("b"), 2, 0, 1, 0, 4, 4, 0)},
		{"in place of 2", extended(key("b"), 2, 0, 0, 0, 0, 0, 2)},
		{"0 entries and 1 range deletes", extended(end, 0, 1, 0, 0, 0, 0, 0)},
		{"2 entries and 0 range deletes", extended(end, 2, 0, 1, 0, 0, 0, 0)},
		{"2 entries and 1 range deletes", extended(base.MakeInternalKey([]byte("b"), 5, base.KindRangeDelete), 2, 1, 0, 0, 0, 0, 0)},
		{"is after the largest", extended(base.MakeInternalKey([]byte("a"), base.MaxSeq, base.KindRangeDelete), 2, 1, 0, 0, 0, 0, 0)},
		{"shorter than its trailer", extended(base.MakeInternalKey(nil, base.MaxSeq, base.KindRangeDelete), 2, 1, 0, 0, 0, 0, 0)},
		{"now 0", field(8, 0)},
		{"now 9223372036854775808", field(8, binary.AppendUvarint(nil, 1<<63))},
		{"tag 8 follows one with tag 8", join(field(8, 1), field(8, 1))},
		{"0 bytes for a merge operator", field(9)},
		{"65536 bytes for a merge operator", field(9, make([]byte, MaxMergerBytes+1))},
		{"tag 9 follows one with tag 9", join(field(9, 1), field(9, 1))},
		{"number of a load 0", field(10, 0, 0, 0)},
		{"number of a load 72057594037927936", field(10, binary.AppendUvarint(nil, uint64(base.MaxSeq)+1))},
		{"first key of a load of 2 bytes exceeds", field(10, 5, []byte{2, 'a'})},
		{"length of the last key of a load is malformed", field(10, 5, []byte{1, 'a'})},
		{`load 5 has keys from "b" to "a"`, field(10, 5, []byte{1, 'b', 1, 'a'})},
		{"load 5 has keys from", field(10, 5, []byte{1, 'a'}, base.AppendField(nil, bytes.Repeat([]byte{'b'}, base.MaxKeyBytes+1)))},
		{"1 bytes too many", field(10, 5, []byte{1, 'a', 1, 'b', 0})},
	}
	for _, c := range cases {
		e, err := DecodeEdit(c.encoded)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%x: got %v, %v; want an error with %q", c.encoded, e, err, c.want)
			continue
		}
		if future := strings.Contains(c.want, "unknown"); errors.Is(err, base.ErrIncompatible) != future {
			t.Errorf("%x: %v: is incompatible: %v", c.encoded, err, !future)
		}
	}
}

func TestMetaOf(t *testing.T) {
	want := newMeta(12, "a", "b", 3, 9)
	got := MetaOf(12, sstable.Properties{Summary: sstable.Summary{
		SizeBytes: want.SizeBytes, Identity: want.Identity, Entries: want.Entries, Deletes: want.Deletes, Shadowed: want.Shadowed,
		Smallest: want.Smallest, Largest: want.Largest, SmallestSeq: want.SmallestSeq, LargestSeq: want.LargestSeq,
	}})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// String describes the edit on one line for each table, the scalars first.
func (e *Edit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "database %016x, next file %d, last sequence %d, oldest WAL %d", e.DatabaseID, e.NextFile, e.LastSeq, e.OldestWAL)
	if e.Now != 0 {
		fmt.Fprintf(&b, ", now %d", e.Now)
	}
	if e.Merger != "" {
		fmt.Fprintf(&b, ", merge operator %q", e.Merger)
	}
	for _, l := range e.Loaded {
		fmt.Fprintf(&b, ", load %d from %q to %q", l.Seq, l.First, l.Last)
	}
	for _, r := range e.Removed {
		fmt.Fprintf(&b, "\nremove from level %d table %d", r.Level, r.Number)
	}
	for _, a := range e.Added {
		fmt.Fprintf(&b, "\nadd to level %d %s", a.Level, a.Meta)
	}
	return b.String()
}

func TestEditString(t *testing.T) {
	e := &Edit{NextFile: 7, LastSeq: 8, OldestWAL: 9, DatabaseID: 10, Removed: []RemovedTable{{1, 2}}, Added: []AddedTable{{3, newMeta(4, "a", "b", 5, 6)}}}
	const want = `database 000000000000000a, next file 7, last sequence 8, oldest WAL 9
remove from level 1 table 2
add to level 3 table 4: 1004 bytes, identity 78dde6e5fd29f054, "a"#6,set to "b"#5,set, sequence 5 to 6, 10 entries, 2 deletes, 1 shadowed`
	if got := e.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	e = &Edit{Now: 11, Merger: "sum", Added: []AddedTable{{3, newMeta(4, "a", "b", 5, 6)}}}
	e.Added[0].Meta.Merges = 2
	if got := e.String(); !strings.Contains(got, `, now 11, merge operator "sum"`) || !strings.HasSuffix(got, "0 range deletes, 2 merges, 0 expiring from 0 to 0, placeholder 0") {
		t.Error(got)
	}
}

// TestStateApply checks the scalars; each case starts from the same state.
func TestStateApply(t *testing.T) {
	start := State{DatabaseID: 5, NextFile: 20, LastSeq: 100, OldestWAL: 10, Now: 1000, Merger: "sum"}
	added := []AddedTable{{1, newMeta(30, "a", "b", 90, 150)}}
	cases := []struct {
		edit Edit
		want string // the scalars, or part of an error
	}{
		{Edit{}, "5 20 100 10"},
		{Edit{DatabaseID: 5, NextFile: 20, LastSeq: 100, OldestWAL: 10}, "5 20 100 10"},
		{Edit{NextFile: 21, LastSeq: 101, OldestWAL: 11}, "5 21 101 11"},
		{Edit{OldestWAL: 25}, "5 26 100 25"},
		{Edit{Added: added}, "5 31 150 10"},
		{Edit{Added: added, NextFile: 40, LastSeq: 160}, "5 40 160 10"},
		{Edit{NextFile: 19}, "next file number goes back from 20 to 19"},
		{Edit{LastSeq: 99}, "last sequence number goes back from 100 to 99"},
		{Edit{OldestWAL: 9}, "oldest WAL goes back from 10 to 9"},
		{Edit{DatabaseID: 6}, "database 0000000000000005 turns into 0000000000000006"},
		{Edit{NextFile: MaxFileNumber + 1}, "out of range"},
		{Edit{OldestWAL: MaxFileNumber}, "out of range"},
		{Edit{LastSeq: base.MaxSeq + 1}, "out of range"},
		{Edit{Removed: []RemovedTable{{1, 1}}}, "where it is not"},
		{Edit{Now: 1000, Merger: "sum"}, "5 20 100 10 1000 sum"},
		{Edit{Now: 1001}, "5 20 100 10 1001 sum"},
		{Edit{Now: 999}, "now goes back from 1000 to 999"},
		{Edit{Now: -1}, "now goes back from 1000 to -1"},
		{Edit{Merger: "max"}, `merge operator "sum" turns into "max"`},
		{Edit{Loaded: []Loaded{{Seq: 100}}}, "5 20 100 10"},
		{Edit{Loaded: []Loaded{{Seq: 101}}, LastSeq: 101}, "5 20 101 10"},
		{Edit{Loaded: []Loaded{{Seq: 101}}}, "load 101 does not follow the loads before it, or is beyond the last sequence number 100"},
		{Edit{Loaded: []Loaded{{Seq: 90}, {Seq: 90}}}, "load 90 does not follow"},
	}
	for _, c := range cases {
		got, err := start.Apply(&c.edit)
		text := fmt.Sprintln(got.DatabaseID, got.NextFile, got.LastSeq, got.OldestWAL, got.Now, got.Merger)
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("apply %s\ngave %s, want %s", &c.edit, text, c.want)
		}
	}
}

// TestSnapshotRebuilds takes a state to pieces and back, as a new MANIFEST does.
func TestSnapshotRebuilds(t *testing.T) {
	state := State{DatabaseID: 77, Version: &Version{}, NextFile: 3, Now: 12, Merger: "sum", LastSeq: 2, Loaded: []Loaded{{1, []byte("a"), []byte("b")}, {2, []byte("c"), []byte("c")}}}
	rng := rand.New(rand.NewPCG(4, 4))
	m, number, seq := model{}, uint64(0), base.Seq(0)
	for range 100 {
		e := randomEdit(rng, m, &number, &seq)
		next, err := state.Apply(e)
		if err != nil {
			continue
		}
		m, _ = m.apply(e)
		state = next
	}
	rebuilt, err := State{}.Apply(state.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(m) == 0 || !reflect.DeepEqual(rebuilt, state) {
		t.Errorf("rebuilt %s\nwant %s", rebuilt.Snapshot(), state.Snapshot())
	}
	if empty, err := (State{}).Apply(State{}.Snapshot()); err != nil || len(empty.Version.Levels[0]) != 0 {
		t.Errorf("the zero state became %+v, %v", empty, err)
	}
}

// FuzzDecodeEdit: whatever decodes has exactly one encoding, and applying it does
// not panic.
func FuzzDecodeEdit(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x06\x1e\x01\x09\x64identity\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00"))
	f.Add([]byte("\x05\x0b\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x02\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"))
	for seed := range uint64(16) {
		f.Add(anyEdit(rand.New(rand.NewPCG(seed, 3))).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := DecodeEdit(p)
		if err != nil {
			return
		}
		if again := e.AppendTo(nil); !bytes.Equal(again, p) {
			t.Fatalf("%x decodes to %s and encodes to %x", p, e, again)
		}
		if state, err := (State{}).Apply(e); err == nil {
			if _, err := (State{}).Apply(state.Snapshot()); err != nil {
				t.Fatalf("snapshot of an accepted edit: %v", err)
			}
		}
	})
}
