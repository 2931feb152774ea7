package vfstest

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestShortages asks of each what it makes fail, by paths and in an open directory.
func TestShortages(t *testing.T) {
	all := []OpKind{OpCreate, OpOpen, OpRead, OpWrite, OpSync, OpTruncate, OpClose, OpRemove, OpRename, OpList, OpStat,
		OpSyncDir, OpOpenDir, OpLock, OpCheck, OpMkdir, OpAllocate, OpMap}
	for errno, want := range map[syscall.Errno][2]string{
		syscall.EMFILE: {"create open list syncdir opendir lock", "create open opendir lock"},
		syscall.ENFILE: {"create open list syncdir opendir lock", "create open opendir lock"},
		syscall.ENOMEM: {"create open remove rename list stat opendir lock check mkdir map", ""},
		syscall.EAGAIN: {"create open opendir lock map", ""},
		syscall.EINTR:  {"create open opendir lock allocate map", ""},
		syscall.EDQUOT: {"create write truncate rename lock mkdir allocate", ""},
	} {
		s := NewShortage(errno)
		failing := func(inDirectory bool) string {
			var names []string
			for _, kind := range all {
				op := Op{Kind: kind, Name: "/db/f", InDirectory: inDirectory}
				err := s.Inject(op)
				if err == nil {
					continue
				}
				names = append(names, kind.String())
				var whole *fs.PathError
				if !errors.As(err, &whole) || whole.Path != op.Name || whole.Err != errno {
					t.Errorf("%v: %#v", errno, err)
				}
			}
			return strings.Join(names, " ")
		}
		if got := failing(false); got != "" {
			t.Errorf("%v: before it began: %s", errno, got)
		}
		s.Begin()
		byPath, inDirectory := failing(false), failing(true)
		if want[1] == "" {
			want[1] = want[0]
		}
		if byPath != want[0] || inDirectory != want[1] {
			t.Errorf("%v: %q by path, %q in a directory; want %q", errno, byPath, inDirectory, want)
		}
		s.End()
		if met := s.Met(); failing(false) != "" || met != len(strings.Fields(byPath+" "+inDirectory)) {
			t.Errorf("%v: goes on after the end, or met %d", errno, met)
		}
	}
}

func TestShortageStrikes(t *testing.T) {
	s := NewShortage(syscall.ENOMEM, OpMkdir)
	f := NewFault(NewDisk(), s.Inject)
	s.Strike(2, 3)
	var failed []int
	for i := range 8 {
		if err := f.MkdirAll("/d"); err != nil {
			wantErr(t, "mkdir", err, syscall.ENOMEM)
			failed = append(failed, i)
		}
		must(t, second(f.List("/"))) // is not concerned
	}
	if !slices.Equal(failed, []int{1, 2, 3}) || s.Met() != 3 {
		t.Errorf("failed: %v", failed)
	}
}
