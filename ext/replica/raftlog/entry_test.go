package raftlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// kyiv is a zone that is not that of the machine, which comes back as its offset only.
var kyiv = time.FixedZone("", 2*60*60)

// TestEntryComesBack: everything of an entry comes back as it was, nil and empty apart.
func TestEntryComesBack(t *testing.T) {
	parts := [][]byte{nil, {}, {0}, []byte("data"), bytes.Repeat([]byte{0xff}, 1000)}
	times := []time.Time{{}, time.Unix(1700000000, 123456789), time.Unix(1700000000, 0).UTC(), time.Date(1, 2, 3, 4, 5, 6, 7, kyiv), time.Now().Round(0)}
	terms := []uint64{0, 1, 127, 128, maxIndex}
	for _, data := range parts {
		for _, extensions := range parts {
			for _, at := range times {
				for i, term := range terms {
					want := raft.Log{Index: term ^ 77, Term: term, Type: raft.LogType(i * 51), Data: data, Extensions: extensions, AppendedAt: at}
					p, err := appendEntry([]byte("before"), &want)
					fixture.Must(t, err)
					got := raft.Log{Index: 1, Term: 1, Type: 1, Data: []byte("old"), Extensions: []byte("old"), AppendedAt: time.Now()}
					fixture.Must(t, decodeEntry(p[len("before"):], want.Index, &got))
					if !got.AppendedAt.Equal(want.AppendedAt) {
						t.Fatalf("%v, want %v", got.AppendedAt, want.AppendedAt)
					}
					_, gotOffset := got.AppendedAt.Zone()
					if _, wantOffset := want.AppendedAt.Zone(); gotOffset != wantOffset {
						t.Fatalf("%v, want the zone of %v", got.AppendedAt, want.AppendedAt)
					}
					got.AppendedAt = want.AppendedAt
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("%+v, want %+v", got, want)
					}
				}
			}
		}
	}
}

// TestEveryFieldComesBack: a raft.Log has no field that the encoding does not know.
func TestEveryFieldComesBack(t *testing.T) {
	var want raft.Log
	fields := reflect.ValueOf(&want).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Interface().(type) {
		case uint64, raft.LogType:
			f.SetUint(uint64(i + 3))
		case []byte:
			f.SetBytes([]byte{byte(i)})
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 5)))
		default:
			t.Fatalf("%s is a field of a new kind", fields.Type().Field(i).Name)
		}
	}
	p, err := appendEntry(nil, &want)
	fixture.Must(t, err)
	var got raft.Log
	fixture.Must(t, decodeEntry(p, want.Index, &got))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestPartsAreApart: whoever appends to the data or the extensions changes neither of them.
func TestPartsAreApart(t *testing.T) {
	p, err := appendEntry(nil, &raft.Log{Data: []byte("data"), Extensions: []byte("more")})
	fixture.Must(t, err)
	var l raft.Log
	whole := append(p, "not its own"...)
	fixture.Must(t, decodeEntry(whole[:len(p)], 1, &l))
	_ = append(l.Extensions, "xxxx"...)
	_ = append(l.Data, "xxxx"...)
	if string(l.Data) != "data" || string(l.Extensions) != "more" || !bytes.HasSuffix(whole, []byte("not its own")) {
		t.Errorf("%q, %q, %q", l.Data, l.Extensions, whole)
	}
}

// TestGoldenEntries: the format of entries stays as it is. Databases have them.
func TestGoldenEntries(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	for text, l := range map[string]raft.Log{
		"01000000":           {},
		"010105ac0264617461": {Term: 300, Type: raft.LogConfiguration, Data: []byte("data")},
		"01070003" + "0f" + "010000000ee1136af200000007ffff" + "02" + "6578" + "64": {Term: 3, Extensions: []byte("ex"), Data: []byte("d"), AppendedAt: at},
	} {
		want, err := hex.DecodeString(text)
		fixture.Must(t, err)
		got, err := appendEntry(nil, &l)
		fixture.Must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%x, want %x: %+v", got, want, l)
		}
		var back raft.Log
		if err := decodeEntry(want, 0, &back); err != nil || !reflect.DeepEqual(back, l) {
			t.Errorf("%x: %+v, %v, want %+v", want, back, err, l)
		}
	}
}

// TestDamagedEntries: each beginning of an entry is told as damaged unless it is one, what a newer
// version has written as such, and l stays as it was.
func TestDamagedEntries(t *testing.T) {
	whole, err := appendEntry(nil, &raft.Log{Term: 300, Extensions: []byte("extensions"), AppendedAt: time.Unix(1, 2)})
	fixture.Must(t, err)
	refused := func(p []byte, want error) {
		t.Helper()
		l := raft.Log{Index: 4, Data: []byte("old")}
		if err := decodeEntry(p, 5, &l); !errors.Is(err, want) || l.Index != 4 || string(l.Data) != "old" {
			t.Errorf("%x: %v, %+v", p, err, l)
		}
	}
	for n := range whole {
		refused(whole[:n], db.ErrCorrupt)
	}
	refused(append(bytes.Clone(whole), 0), db.ErrCorrupt) // data where there is none
	refused([]byte{2, 0, 0, 0}, db.ErrIncompatible)
	refused([]byte{1, 8, 0, 0}, db.ErrIncompatible)
	refused([]byte{1, 2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, db.ErrCorrupt)
	refused([]byte{1, 4, 0, 0, 0xff, 1}, db.ErrCorrupt)
	refused([]byte{1, 4, 0, 0, 1, 9}, db.ErrCorrupt)
}

// TestZoneThatCannotBeStored: an AppendedAt that has no encoding is refused.
func TestZoneThatCannotBeStored(t *testing.T) {
	far := time.FixedZone("", 40000*60)
	if _, err := appendEntry(nil, &raft.Log{AppendedAt: time.Unix(1, 0).In(far)}); err == nil {
		t.Error("it was not refused")
	}
}

// FuzzEntry: whatever the bytes are, they are refused, or are an entry that comes back.
func FuzzEntry(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		p, err := appendEntry(nil, &raft.Log{Term: rng.Uint64() >> rng.IntN(64), Type: raft.LogType(rng.IntN(6)), Data: make([]byte, rng.IntN(20)), Extensions: make([]byte, rng.IntN(4)), AppendedAt: time.Unix(rng.Int64N(1<<32), 0)})
		fixture.Must(f, err)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var l, again raft.Log
		if err := decodeEntry(p, 7, &l); err != nil {
			if !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrIncompatible) {
				t.Fatal(err)
			}
			return
		}
		back, err := appendEntry(nil, &l)
		if err != nil {
			return // a zone that only a damaged entry has
		}
		fixture.Must(t, decodeEntry(back, 7, &again))
		if !l.AppendedAt.Equal(again.AppendedAt) {
			t.Fatalf("%v, then %v", l.AppendedAt, again.AppendedAt)
		}
		again.AppendedAt = l.AppendedAt
		if !reflect.DeepEqual(l, again) {
			t.Fatalf("%+v, then %+v", l, again)
		}
	})
}
