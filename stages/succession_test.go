package stages

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// cacheAll reads every block of some tables.
func cacheAll(t *testing.T, tables ...*manifest.TableMeta) {
	t.Helper()
	for _, meta := range tables {
		table, err := meta.Handle.Table()
		must(t, err)
		for _, key := range []string{"k0", "k1", "z"} {
			_, _, _, _, err := table.Find(base.AppendSearchKey(nil, []byte(key), base.MaxSeq), base.Hash([]byte(key)), true)
			must(t, err)
		}
	}
}

// TestMergedTablesAreCachedBeforeTheyAreListed: when the edit of a merge comes to the Keeper,
// its outputs are cached, since its inputs are. Nothing of it stays if the edit is refused.
func TestMergedTablesAreCachedBeforeTheyAreListed(t *testing.T) {
	for name, answer := range map[string]error{"applied": nil, "refused": vfs.Shortage(syscall.ENOSPC)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				c := r.newLoop(4)
				cache := r.env.Cache
				cacheAll(t, r.published.State().Version.Levels[0]...)
				before := cache.Metrics()
				ended := started(context.Background(), c.run)
				p := <-c.keeper.ch
				output := p.Edit.Added[0].Meta
				during := cache.Metrics()
				if before.Blocks != 4 || during.Blocks != 5 || during.Misses != before.Misses || output.Handle == nil {
					t.Fatalf("%+v after %+v", during, before)
				}
				if answer == nil {
					next, err := c.newest.Apply(p.Edit)
					must(t, err)
					r.published.Advance(next)
				}
				p.reply <- verdict{err: answer}
				synctest.Wait()
				stop(c)
				must(t, <-ended)
				want := before.Blocks
				if answer == nil {
					want++
				}
				if m := cache.Metrics(); m.Blocks != want {
					t.Errorf("%d blocks are cached, want %d", m.Blocks, want)
				}
				if answer != nil {
					return
				}
				cacheAll(t, output)
				if m := cache.Metrics(); m.Misses != before.Misses {
					t.Error("the output has to be read again")
				}
			})
		})
	}
}
