package transactions

import (
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestRefusedWrites: whatever write was refused, Commit fails with its error and stores
// nothing, as Apply does with a batch.
func TestRefusedWrites(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	defer d.Close()
	long := make([]byte, db.MaxKeyBytes+1)
	for what, c := range map[string]struct {
		do   func(tx *db.Tx) error
		want error
	}{
		"a merge without operator": {func(tx *db.Tx) error { return tx.Merge([]byte("k"), nil) }, db.ErrNoMerger},
		"a long bound":             {func(tx *db.Tx) error { return tx.DeleteRange(nil, long) }, db.ErrKeyTooLarge},
		"a long prefix":            {func(tx *db.Tx) error { return tx.In(d.Keyspace(long)).Delete(nil) }, db.ErrKeyTooLarge},
	} {
		tx := begin(t, d)
		fixture.WantErr(t, what, c.do(tx), c.want)
		fixture.Must(t, tx.Put([]byte("other"), nil))
		fixture.WantErr(t, "Commit after "+what, tx.Commit(t.Context()), c.want)
		if got := get(t, d, "other"); got != "-" {
			t.Errorf("after %s the rest is stored", what)
		}
	}
}
