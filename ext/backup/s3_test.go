//go:build s3

// The driver of S3 takes longer to compile than all other tests take to run, so its test has a
// tag. CI runs it without the race detector, for which all would be compiled once more.
package backup

import (
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"

	"lsmdb/internal/tests/fixture"
)

// The protocol of S3, spoken with a server on this machine.
func TestS3(t *testing.T) {
	backend := s3mem.New()
	fixture.Must(t, backend.CreateBucket("backups"))
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "nothing")
	open := func() (*faulty, store) {
		b, err := blob.OpenBucket(t.Context(), "s3://backups?region=us-east-1&use_path_style=true&endpoint="+server.URL)
		fixture.Must(t, err)
		t.Cleanup(func() { b.Close() })
		return wrap(t, blob.PrefixedBucket(b, "orders/"))
	}
	_, s := open()
	w := newWorld(t, 70)
	w.backedUp(s)
	w.everySeq(s)

	// Interrupted anywhere, and in doubt.
	for n := 0; n < 40; n += 3 {
		f, s := open()
		f.dieAt(n)
		r := start(t, local{w.DB}, s, quick)
		w.commit()
		eventually(t, "the bucket died", func() bool { return f.counted() > n || len(r.done) > 0 })
		r.end()
		f.set(nil)
		if _, err := Verify(t.Context(), s.Bucket); err != nil {
			t.Fatalf("interrupted at %d: %v", n, err)
		}
	}
	_, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	w.restored(s, Latest, w.newest())

	one := start(t, local{w.DB}, s, quick)
	reached(t, s, w.newest().seq)
	two := start(t, local{w.DB}, s, quick)
	fixture.WantErr(t, "the first Run", one.wait(), ErrFenced)
	w.commit()
	reached(t, s, w.newest().seq)
	two.end()
	w.everySeq(s)
	_, err = Prune(t.Context(), s.Bucket, Keep{Points: 1})
	fixture.Must(t, err)
	w.everySeq(s)
}
