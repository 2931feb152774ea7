package vfs

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
)

// recorder notes what is asked of it.
type recorder struct {
	File
	asked []string
	err   error
}

func (r *recorder) StartWriteback(offset, length int64) {
	r.asked = append(r.asked, fmt.Sprintf("start %d+%d", offset>>20, length>>20))
}

func (r *recorder) AwaitWriteback(offset, length int64) error {
	r.asked = append(r.asked, fmt.Sprintf("await %d+%d", offset>>20, length>>20))
	return r.err
}

// TestWriteback: whole mebibytes are begun once, and those that are some way back awaited
// once; an error is passed on.
func TestWriteback(t *testing.T) {
	const mebibyte = 1 << 20
	r := &recorder{}
	w := NewWriteback(r, 2*mebibyte)
	for _, end := range []int64{100, mebibyte - 1, mebibyte, mebibyte + 5, 2 * mebibyte, 3*mebibyte + 7, 3*mebibyte + 9, 6 * mebibyte} {
		if err := w.Wrote(end); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"start 0+1", "start 1+1", "start 2+1", "await 0+1", "start 3+3", "await 1+3"}
	if !reflect.DeepEqual(r.asked, want) {
		t.Errorf("%q, want %q", r.asked, want)
	}
	r.err = errors.New("the disk is broken")
	if err := w.Wrote(7 * mebibyte); err != r.err {
		t.Errorf("an error of the disk is %v", err)
	}
	plain := NewWriteback(struct{ File }{}, mebibyte)
	if err := plain.Wrote(10 * mebibyte); err != nil {
		t.Errorf("a file that offers nothing: %v", err)
	}
}
