package changes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/wal"
)

// log is a Log with the segments of a writer.
type log struct {
	*Log
	t     *testing.T
	files vfs.Directory
	wal   *wal.Writer
	next  base.Seq
	trims int
}

func newLog(t *testing.T, keep int64) *log {
	t.Helper()
	files, err := vfs.NewMem().OpenDirectory("memory")
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, files: files, next: 1}
	path := func(segment uint64) string { return base.WALPath("memory", segment) }
	l.Log = NewLog(files, path, keep, func() { l.trims++ })
	l.Resume(Join(nil, nil, 1))
	return l
}

// begin begins a segment.
func (l *log) begin(number uint64) {
	l.t.Helper()
	if l.wal != nil {
		if err := l.wal.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	var err error
	if l.wal, err = wal.Create(l.files, base.WALPath("memory", number), number, wal.Previous{}); err != nil {
		l.t.Fatal(err)
	}
	l.Begin(number, l.next)
}

// write writes a group of operations and makes it durable.
func (l *log) write(keys ...string) {
	l.t.Helper()
	l.append(l.next, keys...)
	l.next += base.Seq(len(keys))
	l.Durable(l.wal.Durable())
}

func (l *log) append(first base.Seq, keys ...string) {
	l.t.Helper()
	record := base.GroupHeader{First: first, Count: uint32(len(keys))}.AppendTo(nil)
	for _, key := range keys {
		record = base.AppendOp(record, base.KindSet, []byte(key), nil, 0)
	}
	if err := errors.Join(l.wal.Append(record), l.wal.Sync()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) load() {
	l.Load(manifest.Loaded{Seq: l.next, First: []byte("a"), Last: []byte("b")})
	l.next++
}

func (l *log) follow(after uint64) *Loop {
	l.t.Helper()
	o, err := l.Follow(after, view.Opened{})
	if err != nil {
		l.t.Fatal(err)
	}
	return o
}

// step takes a step that must not wait.
func step(o *Loop) string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type outcome struct {
		g   Group
		err error
	}
	if o.log.waiting.Load() != 0 {
		panic("somebody waits")
	}
	done := make(chan outcome, 1)
	go func() {
		g, err := o.Next(ctx)
		done <- outcome{g, err}
	}()
	for {
		select {
		case r := <-done:
			if r.err != nil {
				return r.err.Error()
			}
			text := fmt.Sprintf("%d+%d", r.g.First, r.g.Count)
			if r.g.Load != nil {
				text += " load"
			}
			return text
		default:
			if o.log.waiting.Load() > 0 {
				cancel()
				<-done
				return "waits"
			}
		}
	}
}

func (l *log) want(o *Loop, steps ...string) {
	l.t.Helper()
	for _, want := range steps {
		if got := step(o); got != want && !strings.Contains(got, want) {
			l.t.Errorf("got %q, want %q", got, want)
		}
	}
}

func (l *log) wantTrim(want ...uint64) {
	l.t.Helper()
	if got := l.Trim(); !slices.Equal(got, want) {
		l.t.Errorf("trimmed %d, want %d", got, want)
	}
}

// TestJoin puts segments and loads together; what lies before a hole goes.
func TestJoin(t *testing.T) {
	load := func(seq base.Seq) manifest.Loaded { return manifest.Loaded{Seq: seq} }
	for _, c := range []struct {
		segments []base.Seq
		loads    []manifest.Loaded
		next     base.Seq
		want     string
	}{
		{nil, nil, 1, "1"},
		{[]base.Seq{1, 5}, nil, 9, "1s 5s 9"},
		{[]base.Seq{1, 6}, []manifest.Loaded{load(5)}, 9, "1s 5l 6s 9"},
		{[]base.Seq{1}, []manifest.Loaded{load(7), load(8)}, 9, "1s 7l 8l 9"},
		{nil, []manifest.Loaded{load(7), load(8)}, 9, "7l 8l 9"},
		{nil, []manifest.Loaded{load(6), load(8)}, 9, "8l 9"},
		{[]base.Seq{6}, []manifest.Loaded{load(2), load(5)}, 9, "5l 6s 9"},
		{[]base.Seq{6}, []manifest.Loaded{load(3)}, 9, "6s 9"},
	} {
		var segments []Part
		for i, first := range c.segments {
			segments = append(segments, Segment(uint64(i+1), first, 1))
		}
		text := ""
		for _, p := range Join(segments, c.loads, c.next) {
			text += fmt.Sprintf(" %d", p.First)
			if p.Segment != 0 {
				text += "s"
			}
			if p.Load != nil {
				text += "l"
			}
		}
		if text != " "+c.want {
			t.Errorf("%v and %v: %q, want %q", c.segments, c.loads, text[1:], c.want)
		}
	}
}

// TestLoop goes through groups, segments and loads as they come.
func TestLoop(t *testing.T) {
	l := newLog(t, 1<<30)
	o := l.follow(0)
	defer o.Close()
	l.want(o, "waits")
	l.load() // before anything is written
	l.want(o, "1+1 load", "waits")
	l.begin(2)
	l.want(o, "waits")
	l.write("a", "b")
	l.append(l.next) // a mark
	l.want(o, "2+2", "waits")
	l.write("c")
	l.write("d")
	l.want(o, "4+1", "5+1", "waits")
	l.begin(3)
	l.Durable(l.wal.Durable()) // its header
	beyond := l.follow(7)      // all of the loads
	defer beyond.Close()
	l.want(o, "waits")
	l.want(beyond, "waits")
	l.load()
	l.load()
	l.want(o, "6+1 load", "7+1 load", "waits")
	l.write("between")
	l.want(o, "8+1", "waits")
	l.want(beyond, "8+1", "waits")
	l.begin(4)
	l.begin(5) // behind one that stayed empty
	l.write("e")
	l.want(o, "9+1", "waits")
	middle := l.follow(2)
	defer middle.Close()
	l.want(middle, "3+1", "4+1", "5+1", "6+1 load", "7+1 load", "8+1", "9+1", "waits")
	l.append(l.next, "f") // durable, but nobody was told: perhaps a read does not see it yet
	l.want(o, "waits")
	l.Durable(l.wal.Durable())
	l.want(o, "10+1", "waits")
	l.Close()
	l.want(o, base.ErrClosed.Error())
	if _, err := l.Follow(0, view.Opened{}); !errors.Is(err, base.ErrClosed) {
		t.Errorf("Follow: %v", err)
	}
}

// TestTrim keeps as much as is asked for, and for Loops what they need.
func TestTrim(t *testing.T) {
	rotate := func(l *log, segments int) {
		for range segments {
			l.begin(l.wal.Segment() + 1)
			l.write("key", "another")
		}
	}
	l := newLog(t, 0)
	l.begin(2)
	rotate(l, 5) // 3 to 7, of which each begins with an odd number
	l.wantTrim()
	for number := range uint64(4) {
		if !l.Flush(number + 2) {
			t.Errorf("%d is not known", number+2)
		}
	}
	if l.Flush(99) {
		t.Error("an unknown segment is kept")
	}
	o, slow := l.follow(4), l.follow(2)
	if h := l.Holders(); h[0].Bytes != 0 || h[1].Bytes == 0 || h[1].Seq != 2 {
		t.Errorf("holders: %+v", h)
	}
	l.wantTrim(2, 3)
	l.want(slow, "3+2")
	l.wantTrim(4)
	slow.Close()
	l.want(o, "5+2", "7+2")
	l.wantTrim(5)
	l.want(l.follow(5), "the oldest are behind 6", "the oldest are behind 6")
	l.want(l.follow(6), "7+2", "9+2", "waits")
}

// TestTrimWithin a bound: the newest stay, whole ones, whether anybody follows or not. A negative
// one keeps nothing, whoever follows.
func TestTrimWithin(t *testing.T) {
	one := int64(0)
	for _, c := range []struct {
		keep func() int64
		want []uint64
	}{
		{func() int64 { return 1 << 30 }, nil},
		{func() int64 { return 2*one + 1 }, []uint64{2, 3}},
		{func() int64 { return 2 * one }, []uint64{2, 3}},
		{func() int64 { return 2*one - 1 }, []uint64{2, 3, 4}},
		{func() int64 { return one - 1 }, []uint64{2, 3, 4, 5}},
		{func() int64 { return -1 }, []uint64{2, 3, 4, 5}},
	} {
		l := newLog(t, c.keep())
		for number := range uint64(5) {
			l.begin(number + 2)
			l.write("some key")
		}
		one = (*l.parts.Load())[0].Bytes
		o := l.follow(0)
		for number := range uint64(4) {
			l.Flush(number + 2)
		}
		l.wantTrim(c.want...)
		if s := l.Stats(); s.Segments != 4-len(c.want) || s.Oldest != uint64(len(c.want)) || s.Bytes != one*int64(s.Segments) || s.Loops != 1 {
			t.Errorf("%+v", s)
		}
		o.Close()
		l.wantTrim()
	}
}

// TestTrimForLoops: what is kept for Loops alone is bounded, too.
func TestTrimForLoops(t *testing.T) {
	l := newLog(t, 0)
	l.parts.Store(nil)
	l.Resume(Join([]Part{Segment(2, 1, LoopBytes/2), Segment(3, 5, LoopBytes/4), Segment(4, 9, LoopBytes/2), Segment(5, 10, LoopBytes/4)}, nil, 12))
	o := l.follow(0)
	l.wantTrim(2)
	if s := l.Stats(); s.Bytes != LoopBytes || s.Oldest != 4 {
		t.Errorf("%+v", s)
	}
	l.want(o, "the oldest are behind 4")
	l.wantTrim() // though nobody can read that any more
	o.Close()
	l.wantTrim(3, 4, 5)
}

// TestHoles: numbers that are missing are never passed over, wherever they are.
func TestHoles(t *testing.T) {
	for what, harm := range map[string]func(l *log){
		"in a segment":      func(l *log) { l.next++; l.write("x") },
		"between two":       func(l *log) { l.next++; l.begin(3); l.write("x") },
		"a segment is gone": func(l *log) { l.begin(3); l.write("x"); l.begin(4); l.remove(3) },
		"its header":        func(l *log) { l.begin(3); l.write("x"); l.begin(4); l.remove(3); l.create(3) },
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			l := newLog(t, 1<<30)
			l.begin(2)
			l.write("a", "b")
			harm(l)
			l.begin(9)
			l.write("y")
			o := l.follow(0)
			defer o.Close()
			l.want(o, "1+2")
			_, err := o.Next(t.Context())
			trimmed, is := errors.AsType[*base.TrimmedError](err)
			if !is || !errors.Is(err, base.ErrCorrupt) || trimmed.Oldest <= 2 {
				t.Fatalf("%v", err)
			}
			again := l.follow(trimmed.Oldest)
			defer again.Close()
			for number := base.Seq(trimmed.Oldest) + 1; number < l.next; number++ {
				l.want(again, fmt.Sprintf("%d+1", number))
			}
			l.want(again, "waits")
		})
	}
}

func (l *log) remove(number uint64) {
	if err := l.files.Remove(base.WALPath("memory", number)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) create(number uint64) {
	f, err := l.files.Create(filepath.Join("memory", base.WALName(number)))
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		l.t.Fatal(err)
	}
}
