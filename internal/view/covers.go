package view

import (
	"bytes"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
)

// covers is what an Iterator knows of the range deletes in its runs. Where there are none,
// it has no sources, and nobody asks it anything.
//
// It keeps a window of keys for all of which the same range delete is the newest, so that
// most keys are compared with its ends and nothing else.
type covers struct {
	sources []source // newest first
	window  ranges.Window
	known   bool // window is
	run     int  // where its newest range delete comes from
	hid     bool // the last answer
	passed  int  // entries that it has hidden
}

// source is a run that has range deletes.
type source struct {
	run    int
	seq    base.Seq              // the newest that counts
	lists  []ranges.List         // of a memtable
	tables []*manifest.TableMeta // that have some, by ascending key
}

// worthLeaping entries in a window cost as much as to seek its end.
const worthLeaping = 8

// reset leaves no source, and keeps the memory.
func (c *covers) reset() {
	clear(c.sources)
	*c = covers{sources: c.sources[:0]}
}

// hide reports whether the newest range delete that covers key is newer than seq.
func (c *covers) hide(key []byte, seq base.Seq) (bool, error) {
	w := &c.window
	if !c.known || bytes.Compare(key, w.From) < 0 || w.Until != nil && bytes.Compare(key, w.Until) >= 0 {
		if err := c.find(key); err != nil {
			return false, err
		}
	}
	c.hid = seq < w.Newest
	return c.hid, nil
}

// find makes the window that of key.
func (c *covers) find(key []byte) error {
	c.window, c.known, c.passed = ranges.Window{}, false, 0
	for i := range c.sources {
		s := &c.sources[i]
		if s.tables != nil {
			w, err := manifest.Window(s.tables, key, s.seq)
			if err != nil {
				return err
			}
			c.narrow(w, s.run)
		}
		for _, l := range s.lists {
			c.narrow(l.Window(key, s.seq), s.run)
		}
	}
	c.known = true
	return nil
}

// narrow makes the window what it has in common with that of a run.
func (c *covers) narrow(w ranges.Window, run int) {
	if bytes.Compare(w.From, c.window.From) > 0 {
		c.window.From = w.From
	}
	if w.Until != nil && (c.window.Until == nil || bytes.Compare(w.Until, c.window.Until) < 0) {
		c.window.Until = w.Until
	}
	if w.Newest > c.window.Newest {
		c.window.Newest, c.run = w.Newest, run
	}
}

// leaps reports whether the run that an entry was found in, which was hidden, should be
// moved to the end of the window: all that it has in there is older than the range
// delete if that comes from a newer run.
func (c *covers) leaps(run int) bool {
	if !c.hid || c.run >= run {
		return false
	}
	c.passed++
	return c.passed >= worthLeaping
}

// leap has the run that was just found in go on at a bound of the window; nil: behind all keys.
func (in *inside) leap(bound []byte) bool {
	if bound == nil {
		return in.entries.Leap(nil)
	}
	in.search = base.AppendSearchKey(in.search[:0], bound, base.MaxSeq)
	return in.entries.Leap(in.search)
}
