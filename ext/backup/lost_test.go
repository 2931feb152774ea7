package backup

import (
	"strings"
	"testing"
	"time"

	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// A piece of the log that is lost is named by Verify, and by each Restore that needs it. What
// lies before it can still be had.
func TestLostPieces(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 80)
	w.backedUp(s)
	v, err := s.view(t.Context())
	fixture.Must(t, err)
	lost := 0
	for _, e := range v.logs {
		for i, first := range e.pieces {
			name := logName(e.number, first)
			data, err := s.read(t.Context(), name)
			fixture.Must(t, err)
			fixture.Must(t, f.inner.Delete(t.Context(), name))
			if i+1 < len(e.pieces) {
				lost++
				_, err = Verify(t.Context(), s.Bucket)
				mustName(t, "Verify", err, name)
				next := e.pieces[i+1]
				at, err := restoreOn(t.Context(), vfs.NewMem(), s, "/new", Seq(next))
				if err == nil && at.Seq != w.at(next).seq || err == nil && at.Objects > 0 && at.Point < pointName(first, "") {
					t.Errorf("%s lost: restored %+v", name, at)
				} else if err != nil {
					mustName(t, "Restore", err, name)
				}
			}
			if before := w.at(first - 1); before.seq == first-1 {
				w.restored(s, Seq(before.seq), before)
			}
			fixture.Must(t, f.inner.WriteAll(t.Context(), name, data, nil))
		}
	}
	if lost < 2 {
		t.Errorf("only %d pieces", lost)
	}
	w.everySeq(s)
}

// mustName fails unless an error is ErrDamaged and names an object.
func mustName(t *testing.T, who string, err error, name string) {
	t.Helper()
	if fixture.WantErr(t, who+" without "+name, err, ErrDamaged); err != nil && !strings.Contains(err.Error(), name) {
		t.Errorf("%s without %s: %v", who, name, err)
	}
}

// A table that is not what was uploaded is named by the Restore that fetches it.
func TestRestoreNames(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 82)
	w.commit()
	at, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	p, err := s.readPoint(t.Context(), at.Point)
	fixture.Must(t, err)
	name := p.Tables[0].Object
	data, err := s.read(t.Context(), name)
	fixture.Must(t, err)
	data[len(data)/2] ^= 1
	fixture.Must(t, f.inner.WriteAll(t.Context(), name, data, nil))
	_, err = restoreOn(t.Context(), vfs.NewMem(), s, "/new", Latest)
	mustName(t, "Restore", err, name)
}

// Prune keeps a piece of the log that begins in front of the oldest point and ends behind it.
func TestPruneAcross(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 81)
	w.commit()
	r := start(t, local{w.DB}, s, Options{LogInterval: time.Hour, graceTime: time.Minute})
	reached(t, s, w.newest().seq)
	w.commit()
	at, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	w.commit()
	r.end() // one piece
	left, err := Prune(t.Context(), s.Bucket, Keep{Points: 1})
	fixture.Must(t, err)
	if left.Point != at.Point || left.Removed == 0 {
		t.Errorf("%+v, the newest point is %s", left, at.Point)
	}
	w.everySeq(s)
	if w.newest().seq == at.Seq {
		t.Error("nothing was behind the point")
	}
}
