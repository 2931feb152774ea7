package stages

import (
	"errors"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

func TestOperationsHaveALimit(t *testing.T) {
	c := NewCommit()
	c.encoded = make([]byte, base.MaxBatchBytes-20, base.MaxBatchBytes) // as if so much had been added; never touched
	must(t, c.Add(base.KindSet, []byte("k"), nil, 0))
	for _, err := range []error{c.Add(base.KindSet, []byte("k"), make([]byte, 20), 0), c.Add(base.KindDelete, make([]byte, 20), nil, 0)} {
		if !errors.Is(err, base.ErrBatchTooLarge) {
			t.Error(err)
		}
	}
	if c.Len() != 1 {
		t.Errorf("%d operations", c.Len())
	}
}

// Whatever happens to operations on their way: what could not be read back is not logged,
// who sent it hears of it, and others of the group are stored.
func TestWhatWasChangedOnItsWayIsNotLogged(t *testing.T) {
	for name, change := range map[string]func(*Operations){
		"cut":      func(o *Operations) { o.encoded = o.encoded[:len(o.encoded)-1] },
		"one more": func(o *Operations) { o.encoded = base.AppendOp(o.encoded, base.KindDelete, []byte("x"), nil, 0) },
		"one less": func(o *Operations) { o.encoded = base.AppendOp(nil, base.KindDelete, []byte("x"), nil, 0) },
		"another's value": func(o *Operations) {
			o.encoded = base.AppendOp(nil, base.KindSet, []byte("key"), make([]byte, 1<<20), 0)
		},
		"of another kind":  func(o *Operations) { o.encoded[0] = 99 },
		"a longer key":     func(o *Operations) { o.encoded[1]++ },
		"nothing but zero": func(o *Operations) { clear(o.encoded) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			w := r.newWriter()
			before, changed, after := set("a", "1"), set("key", "value", "key2", "value"), set("b", "2")
			change(&changed.Operations)
			must(t, runWriter(w, before, changed, after))
			must(t, before.Wait())
			must(t, after.Wait())
			if err := changed.Wait(); err == nil || !strings.Contains(err.Error(), "are not stored") {
				t.Errorf("the answer is %v", err)
			}
			if got := recovered(t, r.mem); len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
				t.Errorf("recovered: %v", got)
			}
		})
	}
}
