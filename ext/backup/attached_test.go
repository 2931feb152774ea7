package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"lsmdb/db/attach"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// Another process backs the database up through the socket.
func TestAttached(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorldOn(t, 60, vfs.OS, filepath.Join(t.TempDir(), "db"))
	w.commit()
	_, err := OnceAttached(t.Context(), w.dir, s.Bucket, nil)
	fixture.WantErr(t, "nobody serves", err, fs.ErrNotExist)
	server, err := attach.Serve(w.DB)
	fixture.Must(t, err)
	defer server.Close()
	r, err := OnceAttached(t.Context(), w.dir, s.Bucket, nil)
	fixture.Must(t, err)
	if r.Seq != w.newest().seq {
		t.Errorf("%+v", r)
	}
	done := make(chan error, 1)
	go func() { done <- RunAttached(t.Context(), w.dir, s.Bucket, &quick) }()
	for range 4 {
		w.commit()
		w.load()
		w.commit()
		reached(t, s, w.newest().seq)
	}
	fixture.Must(t, w.Close())
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("Run ended with %v", err)
	}
	if w.someRight(s) < 5 {
		t.Error("next to nothing can be restored")
	}
	w.restored(s, Latest, w.newest())
	if left, _ := os.ReadDir(filepath.Dir(w.dir)); len(left) != 1 {
		t.Errorf("%v lie beside the database", left)
	}
}
