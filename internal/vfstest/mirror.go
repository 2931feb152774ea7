package vfstest

import (
	"bytes"
	"os"
	"path/filepath"

	"lsmdb/internal/vfs"
)

// mirror is a file of the operating system with the same contents as one on a Disk.
// Windows are opened on it, because only the system can make them; what was written
// through them comes to the Disk before each event of its trace. A nil mirror has
// nothing to do.
type mirror struct {
	file  vfs.LogFile
	owner *diskFile
	from  int64 // the part that the last two windows show: the next is made while one is written to
	last  int64 // where the last one begins
	to    int64
}

// offerWindows gives a new file its mirror, if the system's files offer windows. The
// caller holds Disk.mu whole.
func (t *Trace) offerWindows(file *diskFile) (vfs.File, error) {
	name := filepath.Join(t.windows, filepath.Base(file.name))
	os.Remove(name) // of a namesake before: a file that is open stays
	f, err := vfs.OS.Create(name)
	if err != nil {
		return nil, err
	}
	log, ok := f.(vfs.LogFile)
	if !ok {
		return file, f.Close()
	}
	file.node.mirror = &mirror{file: log, owner: file}
	t.mirrors = append(t.mirrors, file.node.mirror)
	return windowedFile{file}, nil
}

func (m *mirror) write(p []byte, offset int64) {
	if m != nil {
		_, err := m.file.WriteAt(p, offset)
		m.must(err)
	}
}

func (m *mirror) truncate(size int64) {
	if m != nil {
		m.must(m.file.Truncate(size))
	}
}

func (m *mirror) close() { m.must(m.file.Close()) }

func (m *mirror) must(err error) {
	if err != nil {
		panic("vfstest: mirror: " + err.Error())
	}
}

// absorb brings what was written through windows to the Disk and into the trace. The
// caller holds Disk.mu whole.
func (t *Trace) absorb() {
	for _, m := range t.mirrors {
		c := m.owner.node.contents
		c.mu.Lock()
		for at := m.from; at < min(m.to, c.size); at += pageBytes {
			var now, before page
			n := min(pageBytes, c.size-at)
			_, err := m.file.ReadAt(now[:n], at)
			m.must(err)
			c.read(before[:n], at)
			if now == before {
				continue
			}
			first, last := 0, int(n)
			for now[first] == before[first] {
				first++
			}
			for now[last-1] == before[last-1] {
				last--
			}
			changed := bytes.Clone(now[first:last])
			c.write(changed, at+int64(first))
			t.Events = append(t.Events, Event{
				Kind: OpWrite, Name: clean(m.owner.name), file: m.owner.node,
				Offset: at + int64(first), Length: int64(len(changed)), Data: changed,
			})
		}
		c.mu.Unlock()
	}
}

// windowedFile implements vfs.LogFile.
type windowedFile struct{ *diskFile }

// Allocate implements vfs.LogFile.
func (f windowedFile) Allocate(offset, length int64) error {
	return f.change("allocate", offset, int(length), func(c *contents) error {
		if err := f.disk.resize(max(0, offset+length-c.size)); err != nil {
			return err
		}
		c.size = max(c.size, offset+length)
		f.node.mirror.truncate(c.size)
		f.disk.note(Event{Kind: OpAllocate, Name: f.name, file: f.node, Offset: offset, Length: length})
		return nil
	})
}

// Map implements vfs.LogFile.
func (f windowedFile) Map(offset, length int64) (*vfs.Window, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if t := f.disk.trace.Load(); t != nil {
		t.absorb()
	}
	m := f.node.mirror
	m.from, m.last, m.to = m.last, offset, offset+length
	return m.file.Map(offset, length)
}

// StartWriteback implements vfs.LogFile.
func (f windowedFile) StartWriteback(offset, length int64) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.note(Event{Kind: OpWriteback, Name: f.name, Offset: offset, Length: length})
}

// Close implements vfs.File.
func (f windowedFile) Close() error {
	f.disk.mu.Lock()
	if t := f.disk.trace.Load(); t != nil {
		t.absorb()
	}
	f.disk.mu.Unlock()
	return f.diskFile.Close()
}
