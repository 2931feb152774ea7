package vfstest

import (
	"bytes"
	"hash/maphash"
	"maps"
	"math/bits"
	"path"
	"slices"
)

// Legal follows a trace and knows at each place what a power failure may leave. Certain
// are contents as of the last sync of the file, and names as of the last SyncDir of
// their directory. Each operation since is kept or lost on its own, whatever the
// others are; only a rename is one. A write may be kept in part: any of its sectors,
// the size without the bytes, or garbage in their place. StartWriteback makes nothing
// certain.
//
// The Disks of its states share their contents with it: use those, like Legal itself,
// from one goroutine, and drop them before the next Trace.
type Legal struct {
	// Ignore, if it is not nil, names events that shall count for nothing: a sync that
	// was never made, or that did not work.
	Ignore func(*Event) bool

	trace   *Trace
	at      int // events that happened
	files   map[*diskNode]*legalFile
	durable map[string]*diskNode
	pending []treeChange
	names   map[string]uint64 // hashes of names
}

// legalFile is a file as far as the trace has come.
type legalFile struct {
	certain  *image
	pending  []*Event          // since then; writes, allocations and changes of size
	variants map[string]*image // what pending makes of certain, by what is kept
	latest   int               // place in the trace of the last one
}

// image is one state of a file's contents. Nobody changes it.
type image struct {
	*contents
	hash uint64
}

// seed makes equal states equal within a process.
var seed = maphash.MakeSeed()

func newImage(c *contents) *image {
	c.durable, c.durableSize, c.lowSize, c.cloned = c.pages, c.size, c.size, true
	c.changed = nil
	m := &image{contents: c, hash: mix(uint64(c.size) + 1)}
	for i, p := range c.pages {
		if p != nil && *p != zeros {
			m.hash += mix(maphash.Bytes(seed, p[:]) + uint64(i))
		}
	}
	return m
}

// mix spreads the bits of a number, so that sums of them tell sets apart.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	hi, lo = bits.Mul64(hi^lo, 0xa0761d6478bd642f)
	return hi ^ lo
}

// Legal returns a follower at the beginning of the trace.
func (t *Trace) Legal() *Legal {
	l := &Legal{trace: t, files: make(map[*diskNode]*legalFile), durable: maps.Clone(t.base), names: make(map[string]uint64)}
	for node, c := range t.first {
		l.files[node] = &legalFile{certain: newImage(c.copy())}
	}
	return l
}

// copy returns contents that can be changed while c stays.
func (c *contents) copy() *contents {
	return &contents{pages: maps.Clone(c.pages), durable: c.pages, size: c.size, cloned: true}
}

// Step lets the next event happen and returns it; nil behind the last one.
func (l *Legal) Step() *Event {
	if l.at == len(l.trace.Events) {
		return nil
	}
	e := &l.trace.Events[l.at]
	l.at++
	if l.Ignore != nil && l.Ignore(e) {
		return e
	}
	switch e.Kind {
	case OpSyncDir:
		l.pending = syncDir(l.durable, l.pending, e.Name)
	case OpMoveDirectory:
		l.durable, l.pending = moved(l.durable, e.Name, e.NewName), movedChanges(l.pending, e.Name, e.NewName)
	case OpSync:
		f := l.file(e.file)
		*f = legalFile{certain: f.variant(slices.Repeat([]bool{true}, len(f.pending)), nil)}
	case OpWrite, OpAllocate, OpTruncate:
		f := l.file(e.file)
		f.pending, f.latest = append(f.pending, e), l.at
	default:
		if e.tree != nil {
			l.pending = append(l.pending, e.tree)
		}
	}
	return e
}

// file finds a file by its node, or begins one that is empty.
func (l *Legal) file(node *diskNode) *legalFile {
	f := l.files[node]
	if f == nil {
		f = &legalFile{certain: newImage(&contents{pages: make(map[int64]*page)})}
		l.files[node] = f
	}
	return f
}

// variant returns the contents if of the pending operations those are kept, one of
// them perhaps in part.
func (f *legalFile) variant(kept []bool, torn *tear) *image {
	key := make([]byte, 0, len(kept)+24)
	for len(kept) > 0 && !kept[len(kept)-1] {
		kept = kept[:len(kept)-1]
	}
	if len(kept) == 0 {
		return f.certain
	}
	for _, k := range kept {
		key = append(key, '0')
		if k {
			key[len(key)-1] = '1'
		}
	}
	if torn != nil {
		if i := slices.Index(f.pending, torn.event); i >= 0 && i < len(kept) && kept[i] {
			key = torn.appendTo(key, i)
		}
	}
	if m := f.variants[string(key)]; m != nil {
		return m
	}
	c := f.certain.copy()
	for i, k := range kept {
		if k {
			f.pending[i].apply(c, torn)
		}
	}
	m := newImage(c)
	if f.variants == nil {
		f.variants = make(map[string]*image)
	}
	f.variants[string(key)] = m
	return m
}

// apply does what the event did, or what is left of it.
func (e *Event) apply(c *contents, torn *tear) {
	switch {
	case e.Kind == OpTruncate:
		c.truncate(e.Offset)
	case torn != nil && torn.event == e:
		torn.apply(c)
	case e.Kind == OpAllocate:
		c.size = max(c.size, e.Offset+e.Length)
	default:
		e.write(c, 0, e.Length)
	}
}

// write writes a part of what the event wrote.
func (e *Event) write(c *contents, start, end int64) {
	if e.Data != nil {
		c.write(e.Data[start:end], e.Offset+start)
		return
	}
	for at := start; at < end; at += pageBytes {
		c.write(zeros[:min(pageBytes, end-at)], e.Offset+at)
	}
}

// State is what a power failure may leave.
type State struct {
	Hash    uint64 // of all names and contents: equal states have equal hashes
	entries map[string]*diskNode
	images  map[string]*image
}

// Disk returns the state as a file system, on which everything is durable.
func (s *State) Disk() *Disk {
	d := NewDisk()
	copies := make(map[*diskNode]*diskNode, len(s.entries))
	for name, node := range s.entries {
		fresh := copies[node]
		if fresh == nil {
			fresh = &diskNode{isDir: node.isDir}
			if m := s.images[name]; m != nil {
				fresh.contents = m.contents
				d.usedBytes.Add(m.size)
			} else {
				fresh.contents = newNode(true).contents
			}
			copies[node] = fresh
		}
		fresh.uses++
		d.entries[name] = fresh
	}
	d.durable = maps.Clone(d.entries)
	return d
}

// choice says what of the pending operations is kept: of the tree's changes, and of
// the files'.
type choice struct {
	tree []bool
	data map[*legalFile][]bool
	torn *tear
}

// state builds what a choice leaves.
func (l *Legal) state(c *choice) *State {
	s := &State{entries: maps.Clone(l.durable), images: make(map[string]*image)}
	for i, kept := range c.tree {
		if kept {
			l.pending[i].applyTo(s.entries)
		}
	}
	for name, node := range s.entries {
		if !reachable(s.entries, name) {
			delete(s.entries, name) // lost with its directory
			continue
		}
		h := l.nameHash(name)
		if !node.isDir {
			f := l.file(node)
			m := f.variant(c.data[f], c.torn)
			s.images[name] = m
			h ^= bits.RotateLeft64(m.hash, 17)
		}
		s.Hash += mix(h)
	}
	return s
}

// reachable reports whether all directories above a name are there.
func reachable(entries map[string]*diskNode, name string) bool {
	for name != "/" {
		name = path.Dir(name)
		if above := entries[name]; above == nil || !above.isDir {
			return false
		}
	}
	return true
}

func (l *Legal) nameHash(name string) uint64 {
	h, ok := l.names[name]
	if !ok {
		h = maphash.String(seed, name)
		l.names[name] = h
	}
	return h
}

// Equal reports whether two Disks hold the same names and contents, as they are now.
func (d *Disk) Equal(other *Disk) bool {
	return maps.EqualFunc(d.entries, other.entries, func(a, b *diskNode) bool {
		if a.isDir != b.isDir || a.size != b.size {
			return false
		}
		for i := int64(0); i < a.size; i += pageBytes {
			if pa, pb := orZeros(a.pages[i/pageBytes]), orZeros(b.pages[i/pageBytes]); !bytes.Equal(pa[:], pb[:]) {
				return false
			}
		}
		return true
	})
}
