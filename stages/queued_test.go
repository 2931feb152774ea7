package stages

import (
	"fmt"
	"strings"
	"testing"
)

// TestQueuedAreRecycledOnce: the sender's commit is recycled when it can be seen, once, in small
// groups and in crowds. Until that, nobody may count it among those that can be seen.
func TestQueuedAreRecycledOnce(t *testing.T) {
	for _, n := range []int{1, 3, crowd, 60} {
		r := newRig(t)
		w := r.newWriter()
		commits, recycled := make([]*Commit, n), make([]int, n)
		for i := range commits {
			c := set(fmt.Sprintf("key%02d", i), "value")
			c.Queued, c.Sync = true, false
			c.Recycle = func() {
				recycled[i]++
				if seen := int64(w.published.Visible()); seen < int64(i+1) || w.stored.Load() > seen {
					t.Errorf("%d of %d is recycled when %d can be seen and %d are counted", i, n, seen, w.stored.Load())
				}
				c.Reset() // and somebody uses it again at once
				c.encoded = append(c.encoded, 99)
			}
			commits[i] = c
		}
		must(t, runWriter(w, commits...))
		for i, times := range recycled {
			if times != 1 {
				t.Errorf("%d of %d was recycled %d times", i, n, times)
			}
		}
		if got := recovered(t, r.mem); len(got) != n || got["key00"] != "value" {
			t.Errorf("recovered: %v", got)
		}
		if stored := w.stored.Load(); stored != int64(n) {
			t.Errorf("%d of %d are counted", stored, n)
		}
	}
}

// TestQueuedThatCannotBeRead: nobody waits for the answer to what is Queued. So it is a failure
// where it cannot be stored, and it is not used again.
func TestQueuedThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	before, changed := set("a", "1"), set("key", "value", "key2", "value")
	changed.encoded[0] = 99
	changed.Queued = true
	changed.Recycle = func() { t.Error("it is used again") }
	if err := runWriter(w, before, changed); err == nil || !strings.Contains(err.Error(), "are not stored") {
		t.Errorf("the Writer ends with %v", err)
	}
}
