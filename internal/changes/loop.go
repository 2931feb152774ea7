package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/wal"
)

// Loop goes through the history, and waits where it ends. It is used by one goroutine; only
// the Log looks at it from others.
type Loop struct {
	log      *Log
	position atomic.Uint64 // number of the last operation that was returned
	view.Opened

	segment uint64   // that is being read; 0: none
	file    vfs.File // of it
	reader  *wal.Reader
	limit   int64    // so much of it may be read
	next    base.Seq // the number that its next record must have
}

// Group is one step of a Loop: operations with consecutive numbers, one or more whole
// batches, or a load.
type Group struct {
	First base.Seq
	Count uint32
	Ops   []byte           // encoded; valid until the next step
	Load  *manifest.Loaded // nil: it is none
}

// Follow returns a Loop that begins behind a number, which need not be reached yet. The
// caller closes it.
func (l *Log) Follow(after uint64, opened view.Opened) (*Loop, error) {
	loop := &Loop{log: l, Opened: opened}
	loop.position.Store(min(after, uint64(base.MaxSeq)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, base.ErrClosed
	}
	l.loops = append(l.loops, loop)
	return loop, nil
}

// Close ends the Loop. What was kept for it can go.
func (o *Loop) Close() {
	o.closeFile()
	l := o.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loops = slices.DeleteFunc(l.loops, func(other *Loop) bool { return other == o })
	l.trim()
}

func (o *Loop) closeFile() {
	if o.segment != 0 {
		_ = o.file.Close() // it was only read
		o.segment, o.file, o.reader = 0, nil, nil
	}
}

// Next returns what comes next, and waits for it until ctx ends. Errors: the context's,
// base.ErrClosed, *base.TrimmedError, *base.CorruptionError, what the file system says. A
// segment in the middle that is damaged is both corrupt and trimmed.
func (o *Loop) Next(ctx context.Context) (g Group, err error) {
	l := o.log
	for {
		select {
		case <-l.closed:
			return g, base.ErrClosed
		case <-ctx.Done():
			return g, ctx.Err()
		default:
		}
		wanted := base.Seq(o.position.Load()) + 1
		parts, i, err := l.find(wanted)
		if err != nil {
			return g, err
		}
		var durable int64
		if parts != nil {
			p := (*parts)[i]
			if p.Load != nil && p.First == wanted {
				o.closeFile()
				o.position.Store(uint64(wanted))
				return Group{First: wanted, Count: 1, Load: p.Load}, nil
			}
			if p.Segment != 0 {
				durable = p.durable.Load()
				if l.parts.Load() != parts { // what is durable may lie behind a load
					continue
				}
				found, err := o.read(p, durable, &g)
				switch {
				case err != nil:
					return g, o.fail(p, err)
				case found:
					return g, nil
				case p.Ended:
					next := (*parts)[i+1].First
					return g, o.fail(p, base.Corruptf(l.path(p.Segment), -1, "ends before sequence number %d, though what follows it begins with %d", wanted, next))
				}
			}
		}
		if err := o.wait(ctx, parts, i, durable); err != nil {
			return g, err
		}
	}
}

// wait waits until there is more than parts, of which some part was read up to durable.
func (o *Loop) wait(ctx context.Context, parts *[]Part, i int, durable int64) error {
	l := o.log
	l.waiting.Add(1) // before the look below: so either that finds what comes now, or it wakes us
	defer l.waiting.Add(-1)
	l.mu.Lock()
	news := l.news
	l.mu.Unlock()
	if now := l.parts.Load(); now != parts || parts != nil && (*parts)[i].Segment != 0 && (*parts)[i].durable.Load() != durable {
		return nil
	}
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.closed:
		return base.ErrClosed
	}
}

// read reads what a segment has behind the position, up to durable.
func (o *Loop) read(p Part, durable int64, g *Group) (found bool, err error) {
	if durable == 0 {
		return false, nil
	}
	if o.segment != p.Segment {
		if err := o.open(p, durable); err != nil {
			return false, err
		}
	}
	o.next = max(o.next, p.First) // loads came before its first record
	if o.limit != durable {
		o.limit = durable
		o.reader.Extend(durable)
	}
	for {
		payload, offset, err := o.reader.Next()
		if err == io.EOF {
			if end := o.reader.End().Offset; !p.Ended && end != durable {
				err = base.Corruptf(o.log.path(p.Segment), end, "ends here, but is durable up to %d", durable)
				return false, err
			}
			return false, nil
		}
		if err == nil {
			found, err = o.take(payload, g)
			if err != nil {
				err = base.DamageAt(o.log.path(p.Segment), offset, err)
			}
		}
		if found || err != nil {
			return found, err
		}
	}
}

// open goes over to a segment. The file may be longer than what is durable, and is cut to that at
// any moment.
func (o *Loop) open(p Part, durable int64) error {
	o.closeFile()
	path := o.log.path(p.Segment)
	file, err := o.log.files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = base.Corruptf(path, -1, "missing")
	}
	if err != nil {
		return err
	}
	reader, err := wal.OpenPart(file, path, p.Segment, durable)
	if err == nil && reader.Empty() {
		err = base.Corruptf(path, 0, "there is no header")
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	o.segment, o.file, o.reader, o.limit, o.next = p.Segment, file, reader, durable, p.First
	if o.log.keep == 0 { // what lies before may have been kept for this Loop
		o.log.trim()
	}
	return nil
}

// take makes a group of a record, unless all of it was returned before.
func (o *Loop) take(payload []byte, g *Group) (found bool, err error) {
	h, ops, err := base.DecodeGroup(payload)
	if err != nil {
		return false, err
	}
	if h.First != o.next {
		return false, fmt.Errorf("the commit starts at sequence number %d, %d was expected", h.First, o.next)
	}
	o.next += base.Seq(h.Count)
	position := base.Seq(o.position.Load())
	if o.next <= position+1 {
		return false, nil
	}
	for h.First <= position {
		if _, ops, err = base.DecodeOp(ops); err != nil {
			return false, err
		}
		h.First++
		h.Count--
	}
	*g = Group{First: h.First, Count: h.Count, Ops: ops}
	o.position.Store(uint64(o.next) - 1)
	return true, nil
}

// fail says why a segment cannot be read. One that is not there any more was given back
// meanwhile. If it is damaged, it and all before it are given up: who begins behind it can go
// on. Nothing lies behind the newest.
func (o *Loop) fail(p Part, err error) error {
	select {
	case <-o.log.closed:
		return base.ErrClosed
	default:
	}
	wanted := base.Seq(o.position.Load()) + 1
	if _, _, trimmed := o.log.find(wanted); trimmed != nil {
		return trimmed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = base.Corruptf(o.log.path(p.Segment), -1, "cut short: %v", err)
	}
	if errors.Is(err, base.ErrCorrupt) && p.Ended {
		o.log.drop(p.Segment)
		if _, _, trimmed := o.log.find(wanted); trimmed != nil {
			return fmt.Errorf("%w: %w", trimmed, err)
		}
	}
	return err
}
