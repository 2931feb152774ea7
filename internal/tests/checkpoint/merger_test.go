package checkpoint

import (
	"path/filepath"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestCopyKnowsTheMerger: a database with operands is never opened with another operator, nor
// is a copy of it, also where it was made by somebody who has none.
func TestCopyKnowsTheMerger(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	for _, merger := range []*db.Merger{db.SumInt64, nil} {
		d, err := db.Open(source, &db.Options{Merger: merger})
		fixture.Must(t, err)
		fixture.Must(t, d.Put([]byte("k"), []byte("v")))
		c, err := d.NewCheckpoint(t.Context())
		fixture.Must(t, err)
		copied := filepath.Join(dir, "copy with", db.SumInt64.Name)
		if merger == nil {
			copied = filepath.Join(dir, "copy without")
		}
		fixture.Must(t, c.Link(copied))
		fixture.Must(t, c.Close())
		fixture.Must(t, d.Close())
		_, err = db.Open(copied, &db.Options{Merger: db.MaxBytes})
		fixture.WantErr(t, "another operator for "+copied, err, db.ErrIncompatible)
	}
}
