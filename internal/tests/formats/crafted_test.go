package formats

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// What follows makes files that no version of lsmdb writes, with checksums that hold,
// as somebody could who knows the formats.

// entry is an entry of a crafted table. Nothing says that entries are in order.
type entry struct {
	user    string
	trailer base.Trailer
	value   string
}

// sealBlock appends payload, compression, type and checksum.
func sealBlock(table, payload []byte, kind sstable.BlockType, compression sstable.Compression, identity uint64) []byte {
	place := binary.LittleEndian.AppendUint64(nil, identity)
	place = binary.LittleEndian.AppendUint64(place, uint64(len(table)))
	block := append(append([]byte(nil), payload...), byte(compression), byte(kind))
	sum := base.Checksum(base.Checksum(0, place), block)
	return append(table, binary.LittleEndian.AppendUint32(block, sum)...)
}

// blockPayload encodes entries, each a restart point.
func blockPayload(entries []entry) []byte {
	var p []byte
	var restarts []uint32
	for _, e := range entries {
		restarts = append(restarts, uint32(len(p)))
		p = binary.AppendUvarint(append(p, 0), uint64(len(e.user)))
		p = binary.AppendUvarint(p, uint64(len(e.value)))
		p = append(base.AppendInternalKey(p, []byte(e.user), e.trailer), e.value...)
	}
	for _, at := range append(restarts, uint32(len(restarts))) {
		p = binary.LittleEndian.AppendUint32(p, at)
	}
	return p
}

// craftTable makes a table of some data blocks. separators has the last key that the
// index claims for each.
func craftTable(identity uint64, blocks [][]entry, separators []string) (table []byte, p sstable.Properties) {
	var index []entry
	for i, entries := range blocks {
		start := len(table)
		table = sealBlock(table, blockPayload(entries), sstable.BlockData, sstable.CompressionNone, identity)
		length := binary.AppendUvarint(nil, uint64(len(table)-start))
		index = append(index, entry{user: separators[i], value: string(length)})
		for _, e := range entries {
			p.Entries++
			if e.trailer.Kind() == base.KindDelete {
				p.Deletes++
			}
		}
	}
	p.Smallest = base.MakeInternalKey(nil, 1000, base.KindSet)
	p.Largest = base.MakeInternalKey([]byte("~~~"), 1, base.KindSet)
	p.SmallestSeq, p.LargestSeq, p.DataBlocks, p.Identity = 1, 1000, uint64(len(blocks)), identity
	start := len(table)
	table = sealBlock(table, blockPayload(index), sstable.BlockIndex, sstable.CompressionNone, identity)
	p.IndexBytes = int64(len(table) - start)
	start = len(table)
	var properties []byte
	for i, content := range []any{
		p.Entries, p.Deletes, uint64(0), []byte(p.Smallest), []byte(p.Largest), uint64(p.SmallestSeq), uint64(p.LargestSeq),
		uint64(0), uint64(0), p.DataBlocks, uint64(p.IndexBytes), uint64(0),
	} {
		encoded, ok := content.([]byte)
		if !ok {
			encoded = binary.LittleEndian.AppendUint64(nil, content.(uint64))
		}
		properties = binary.AppendUvarint(binary.AppendUvarint(properties, uint64(i+1)), uint64(len(encoded)))
		properties = append(properties, encoded...)
	}
	table = sealBlock(table, properties, sstable.BlockProperties, sstable.CompressionNone, identity)
	footer := binary.LittleEndian.AppendUint64(nil, uint64(len(table)-start))
	footer = binary.LittleEndian.AppendUint64(footer, identity)
	table = append(append(table, footer...), make([]byte, 8)...)
	table = newerTable(append(table, "lsmdbsst"...), 1)
	p.SizeBytes = int64(len(table))
	return table, p
}

// craftDatabase makes a database of one table in a level.
func craftDatabase(t testing.TB, fsys vfs.FS, level int, blocks [][]entry, separators []string) {
	t.Helper()
	const id, number = 77, 5
	table, p := craftTable(sstable.Identity(id, number), blocks, separators)
	fixture.Must(t, fsys.MkdirAll(fixture.Dir))
	writeFile(t, fsys, base.TableName(number), table)
	state := manifest.State{DatabaseID: id, Version: &manifest.Version{}, NextFile: 9, LastSeq: 1000}
	state, err := state.Apply(&manifest.Edit{Added: []manifest.AddedTable{{Level: level, Meta: manifest.MetaOf(number, p)}}})
	fixture.Must(t, err)
	log, err := manifest.CreateLog(fsys, fixture.Dir, 1, state)
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(log.Close(), manifest.WriteCurrent(fsys, fixture.Dir, manifest.Current{Manifest: 1})))
}

func writeFile(t testing.TB, fsys vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fsys.Create(filepath.Join(fixture.Dir, name))
	fixture.Must(t, err)
	_, err = f.WriteAt(data, 0)
	fixture.Must(t, errors.Join(err, f.Sync(), f.Close()))
}

// promptly fails the test if a call does not come back.
func promptly(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not come back", what)
	}
}

// maxCraftedSteps is more than any walk over a crafted database can take.
const maxCraftedSteps = 100_000

// scanBoth walks everything forward and backward, and returns the first error.
func scanBoth(t testing.TB, d *db.DB) error {
	it, err := d.NewIterator(nil)
	if err != nil {
		return err
	}
	steps := 0
	for range it.All() {
		if steps++; steps > maxCraftedSteps {
			t.Error("the walk forward does not end")
			break
		}
	}
	err = it.Err()
	for range it.Backward() {
		if steps++; steps > 2*maxCraftedSteps {
			t.Error("the walk backward does not end")
			break
		}
	}
	return errors.Join(err, it.Close())
}

// TestCraftedNumbers has files that verify and whose numbers are the largest there
// are. Writes fail; nothing panics and nothing wraps around.
func TestCraftedNumbers(t *testing.T) {
	for _, state := range []manifest.State{
		{DatabaseID: 1, NextFile: 9, LastSeq: base.MaxSeq},
		{DatabaseID: 1, NextFile: 9, LastSeq: base.MaxSeq - 1},
		{DatabaseID: 1, NextFile: manifest.MaxFileNumber},
		{DatabaseID: 1, NextFile: manifest.MaxFileNumber - 1},
		{DatabaseID: 1, NextFile: manifest.MaxFileNumber - 3, LastSeq: base.MaxSeq - 3},
	} {
		state.Version = &manifest.Version{}
		fsys := vfstest.NewDisk()
		fixture.Must(t, fsys.MkdirAll(fixture.Dir))
		log, err := manifest.CreateLog(fsys, fixture.Dir, 1, state)
		fixture.Must(t, err)
		fixture.Must(t, errors.Join(log.Close(), manifest.WriteCurrent(fsys, fixture.Dir, manifest.Current{Manifest: 1})))
		d, err := db.Open(fixture.Dir, fixture.On(fsys, db.Options{}))
		fixture.Must(t, err)
		var failed error
		stored := fixture.View{}
		for i := range 6 {
			key := fmt.Sprint("key", i)
			if err := d.Put([]byte(key), nil); err != nil {
				failed = err
				break
			}
			stored[key] = ""
		}
		t.Logf("next file %d, last sequence number %d: %d writes, then %v", state.NextFile, state.LastSeq, len(stored), firstLine(failed))
		if failed == nil {
			t.Errorf("next file %d, last sequence number %d: all writes succeed", state.NextFile, state.LastSeq)
		}
		fixture.Must(t, fixture.Differ(stored, fixture.Contents(t, d)))
		d.Close()
		d, err = db.Open(fixture.Dir, fixture.On(fsys, db.Options{ReadOnly: true}))
		if err != nil {
			t.Errorf("next file %d, last sequence number %d: %v", state.NextFile, state.LastSeq, err)
			continue
		}
		fixture.Must(t, fixture.Differ(stored, fixture.Contents(t, d)))
		fixture.Must(t, d.Close())
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	return line
}

// allocated runs a call and returns the bytes that were allocated meanwhile.
func allocated(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestCraftedLengths opens files of a few hundred bytes whose checksums hold and whose
// lengths claim as much as can be written. Memory stays in proportion to the files.
func TestCraftedLengths(t *testing.T) {
	f := fixture.NewClosed(t)
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	wide := binary.AppendUvarint(nil, math.MaxUint32)
	manifestName, walName, tableName := f.Manifest(t), f.Named(".wal")[0], f.Named(".sst")[0]
	logOf := func(name string, record ...[]byte) []byte {
		log := append([]byte(nil), f.Files[name][:27]...)
		chunk := append(make([]byte, 7), 0)
		for _, part := range record {
			chunk = append(chunk, part...)
		}
		binary.LittleEndian.PutUint16(chunk[4:], uint16(len(chunk)-7))
		chunk[6] = 1
		log = append(log, chunk...)
		sealChunk(log, fixture.NumberOf(name), 27)
		return log
	}
	group := func(count uint32, ops ...[]byte) []byte {
		first := f.Sequence - 9 // what the log holds begins there
		p := base.GroupHeader{First: base.Seq(first), Count: count}.AppendTo(nil)
		for _, op := range ops {
			p = append(p, op...)
		}
		return p
	}
	tableOf := func(kind sstable.BlockType, compression sstable.Compression, payload ...byte) []byte {
		identity := binary.LittleEndian.Uint64(f.Files[tableName][len(f.Files[tableName])-24:])
		pad := len(f.Files[tableName]) - len(payload) - 6 - 32 // the MANIFEST knows how long it is
		table := sealBlock(make([]byte, pad), payload, kind, compression, identity)
		footer := binary.LittleEndian.AppendUint64(nil, uint64(len(table)-pad))
		footer = append(binary.LittleEndian.AppendUint64(footer, identity), make([]byte, 8)...)
		return newerTable(append(append(table, footer...), "lsmdbsst"...), 1)
	}
	unclean := fmt.Appendf(nil, "lsmdb-current 1\nmanifest %d\n", fixture.NumberOf(manifestName))
	unclean = fmt.Appendf(unclean, "checksum %08x\n", base.Checksum(0, unclean))
	for name, c := range map[string]struct {
		file string
		data []byte
	}{
		"a long CURRENT":            {"CURRENT", make([]byte, 1<<20)},
		"field of an edit":          {manifestName, logOf(manifestName, []byte{6}, huge)},
		"key in an edit":            {manifestName, logOf(manifestName, []byte{6, 30, 1, 9, 100}, make([]byte, 8), huge, make([]byte, 9))},
		"operations of a commit":    {walName, logOf(walName, group(math.MaxUint32))},
		"key of an operation":       {walName, logOf(walName, group(1, []byte{1}, huge))},
		"key beyond the limit":      {walName, logOf(walName, group(1, []byte{1}, wide, make([]byte, 100)))},
		"value of an operation":     {walName, logOf(walName, group(1, []byte{1, 0}, huge))},
		"count of tiny operations":  {walName, logOf(walName, group(401, bytes.Repeat([]byte{2, 0}, 400)))},
		"compressed block":          {tableName, tableOf(sstable.BlockProperties, sstable.CompressionSnappy, 0xff, 0xff, 0xff, 0xff, 0x0f, 0)},
		"property":                  {tableName, tableOf(sstable.BlockProperties, sstable.CompressionNone, append([]byte{1}, huge...)...)},
		"properties block":          {tableName, tableOf(sstable.BlockProperties, sstable.CompressionNone)},
		"properties of another one": {tableName, tableOf(sstable.BlockData, sstable.CompressionNone, 0xff, 0xff, 0xff, 0xff)},
	} {
		changed := f.With("CURRENT", unclean).With(c.file, c.data)
		disk := changed.Disk(t)
		for _, readOnly := range []bool{true, false} {
			total := allocated(func() {
				d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 16 << 10, CacheBytes: -1, ReadOnly: readOnly}))
				if err == nil {
					err = scanBoth(t, d)
					d.Close()
				}
				if !errors.Is(err, db.ErrCorrupt) || !strings.Contains(err.Error(), c.file) {
					t.Errorf("%s: %v", name, err)
				}
			})
			if total > 8<<20 {
				t.Errorf("%s: %d bytes were allocated", name, total)
			}
		}
	}
}
